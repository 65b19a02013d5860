"""How a checkpoint's pictures are prepared, in each layout, held against what is built in."""

import json
from pathlib import Path
from typing import Any

import pytest

from model.bundled import NANO
from model.errors import CheckpointError
from model.videollama3.preprocessor import check_preprocessor

Json = dict[str, Any]

REMOTE: Json = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "Videollama3ImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "max_tokens": 16384,
    "min_tokens": 16,
    "patch_size": 14,
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
}
REMOTE_PROCESSOR: Json = {
    "fps": 1,
    "image_merge_size": 1,
    "max_frames": 128,
    "processor_class": "Videollama3Qwen2Processor",
    "video_merge_size": 2,
}


def write(folder: Path, **files: Json) -> Path:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_the_bundled_models_is_as_built_in() -> None:
    check_preprocessor(NANO)


def test_the_released_checkpoints_is_as_built_in(tmp_path: Path) -> None:
    check_preprocessor(
        write(tmp_path, preprocessor_config=REMOTE, processor_config=REMOTE_PROCESSOR)
    )


def test_a_folder_without_one_is_taken_as_usual(tmp_path: Path) -> None:
    check_preprocessor(tmp_path)


def test_the_images_merge_size_is_not_the_videos(tmp_path: Path) -> None:
    check_preprocessor(write(tmp_path, preprocessor_config=REMOTE | {"merge_size": 1}))


DIFFERENT: list[tuple[str, Any, str]] = [
    ("image_mean", [0.48145466, 0.4578275, 0.40821073], "expected 3 times 0.5"),
    ("image_mean", [0.5, 0.5], "expected 3 times 0.5"),
    ("image_std", [0.26862954, 0.26130258, 0.27577711], "expected 3 times 0.5"),
    ("image_std", 1.0, "expected 3 times 0.5"),
    ("image_std", "half", "expected 3 times 0.5"),
    ("do_rescale", False, "expected true"),
    ("do_normalize", False, "expected true"),
    ("rescale_factor", 1.0, "expected 0.00392157"),
    ("rescale_factor", float("nan"), "expected 0.00392157"),
    ("patch_size", 16, "expected 14"),
    ("patch_size", {"height": 14}, "expected 14"),
    ("temporal_patch_size", 2, "expected 1"),
]


@pytest.mark.parametrize("name", ["preprocessor_config", "video_preprocessor_config"])
@pytest.mark.parametrize(("key", "value", "words"), DIFFERENT)
def test_a_difference_is_refused_by_file_and_key(
    tmp_path: Path, name: str, key: str, value: object, words: str
) -> None:
    write(tmp_path, **{name: REMOTE | {key: value}})
    with pytest.raises(CheckpointError, match=rf"/{name}\.json: {key}: {words}, got"):
        check_preprocessor(tmp_path)


@pytest.mark.parametrize("section", ["image_processor", "video_processor"])
@pytest.mark.parametrize(("key", "value", "words"), DIFFERENT[:3])
def test_a_section_of_transformers_5_is_read(
    tmp_path: Path, section: str, key: str, value: object, words: str
) -> None:
    write(tmp_path, processor_config={section: REMOTE | {key: value}})
    with pytest.raises(
        CheckpointError, match=rf"processor_config\.json: {section}: {key}: {words}"
    ):
        check_preprocessor(tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        {"processor_config": REMOTE_PROCESSOR | {"video_merge_size": 1}},
        {"video_preprocessor_config": REMOTE | {"merge_size": 1}},
        {"processor_config": {"video_processor": REMOTE | {"merge_size": 4}}},
    ],
)
def test_another_merge_of_videos_is_refused(tmp_path: Path, files: dict[str, Json]) -> None:
    write(tmp_path, **files)
    with pytest.raises(CheckpointError, match="merge_size: expected 2, got"):
        check_preprocessor(tmp_path)
