"""What a checkpoint says of its pictures, held against what is built in.

Three layouts: the original repository's `preprocessor_config.json` with the merge sizes in
`processor_config.json`; transformers' `preprocessor_config.json` for pictures and
`video_preprocessor_config.json` for videos; and transformers 5's sections within
`processor_config.json`. What a file does not say is taken to be as usual.
"""

from collections.abc import Iterator, Mapping
from math import isclose
from pathlib import Path
from typing import Any

from model.errors import CheckpointError
from model.videollama3.config import MERGE_SIZE, PATCH_PX
from model.videollama3.files import read_json_if_there

MEAN = STD = 0.5  # of pixels from 0 to 1: see `patches.patchify`
RESCALE = 1 / 255


def check_preprocessor(folder: Path) -> None:
    """Refuse a checkpoint whose pictures are prepared otherwise than `patches.patchify` does.

    Raises:
        CheckpointError: a file cannot be read, or differs; it names file, key and both values.
    """
    for file, section, is_video in _sections(folder):
        for key in ("do_rescale", "do_normalize"):
            if section.get(key) not in (None, True):
                raise CheckpointError(f"{file}: {key}: expected true, got {section[key]!r}")
        for key, expected in (("image_mean", MEAN), ("image_std", STD)):
            _require(file, section, key, expected=expected, num=3)
        _require(file, section, "rescale_factor", expected=RESCALE)
        _require(file, section, "patch_size", expected=PATCH_PX)
        _require(file, section, "temporal_patch_size", expected=1)
        if is_video:
            _require(file, section, "merge_size", expected=MERGE_SIZE)


def _sections(folder: Path) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """Yield (where, what is said there, whether it is about videos)."""
    for name, is_video in (
        ("preprocessor_config.json", False),
        ("video_preprocessor_config.json", True),
    ):
        section = read_json_if_there(folder / name)
        if section is not None:
            yield str(folder / name), section, is_video
    file = folder / "processor_config.json"
    processor = read_json_if_there(file)
    if processor is None:
        return
    yield str(file), {"merge_size": processor.get("video_merge_size")}, True
    for key, is_video in (("image_processor", False), ("video_processor", True)):
        section = processor.get(key)
        if isinstance(section, Mapping):
            yield f"{file}: {key}", section, is_video


def _require(
    file: str, section: Mapping[str, Any], key: str, *, expected: float, num: int = 1
) -> None:
    """Refuse any value but this one, or a list of `num` of it; absent is as expected."""
    got = section.get(key)
    if got is None:
        return
    values = got if isinstance(got, list) else [got] * num
    if len(values) != num or not all(_is_near(value, expected) for value in values):
        wanted = f"{expected:g}" if num == 1 else f"{num} times {expected:g}"
        raise CheckpointError(f"{file}: {key}: expected {wanted}, got {got!r:.80}")


def _is_near(value: object, expected: float) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and isclose(float(value), expected, rel_tol=1e-4)  # type: ignore[arg-type]  # a number: see above
