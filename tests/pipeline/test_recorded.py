"""Real encoded clips and pictures, whole and damaged, as training data."""

import json
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.errors import DataError
from model.training.conversation import MediaReader, read
from model.training.shown import sample_of
from model.training.stages import PAPER
from model.videollama3.grid import pin_grid
from pipeline.pruner import prune_clip
from pipeline.recorded import Media, duration_s
from pipeline.regions import Region
from tests.pipeline.sources.clips import clip, index_of, moment

MEDIA: MediaReader = Media(partial(pin_grid, max_tokens=24))
SAMPLED = partial(sample_of, media=MEDIA, prune=prune_clip, stage=PAPER[3])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip whose pictures come 10 a second, one that breaks off, and pictures."""
    folder = tmp_path_factory.mktemp("media")
    clip(folder / "gate.mkv", seconds=6.0, gop_s=2.0)
    whole = (folder / "gate.mkv").read_bytes()
    (folder / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    clip(folder / "gate.mp4", seconds=2.0, gop_s=1.0)
    (folder / "no_index.mp4").write_bytes((folder / "gate.mp4").read_bytes()[:2000])
    Image.fromarray(moment(30)).save(folder / "a.png")
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:-60])
    (folder / "text.png").write_text("no picture")
    return folder


def test_a_picture_lies_on_the_grid(folder: Path) -> None:
    pixels = MEDIA.image(folder / "a.png")
    assert pixels.dtype == np.uint8
    assert pixels.shape == (4 * 28, 5 * 28, 3)
    assert index_of(pixels) == 30


@pytest.mark.parametrize(
    ("start_s", "end_s", "expected_s"),
    [
        (None, None, [0, 1, 2, 3, 4, 5, 5.9]),
        (2.5, None, [2.5, 3.5, 4.5, 5.5]),
        (None, 2.0, [0, 1, 2]),
        (1.0, 3.4, [1, 2, 3]),
        (5.2, 6.5, [5.2]),
    ],
)
def test_a_video_is_read_once_a_second(
    folder: Path, start_s: float | None, end_s: float | None, expected_s: list[float]
) -> None:
    pictures, times_s = MEDIA.video(folder / "gate.mkv", start_s, end_s)
    # The sampler takes a picture up to a tenth of a second early.
    assert times_s == pytest.approx(expected_s, abs=0.11)
    assert [index_of(one) for one in pictures] == [round(10 * at_s) for at_s in times_s]
    assert {one.shape for one in pictures} == {(4 * 28, 5 * 28, 3)}


def test_another_container_is_read_the_same_way(folder: Path) -> None:
    pictures, times_s = MEDIA.video(folder / "gate.mp4", None, None)
    assert times_s == pytest.approx([0, 1], abs=0.11)
    assert [index_of(one) for one in pictures] == [round(10 * at_s) for at_s in times_s]


@pytest.mark.parametrize("name", ["cut.png", "text.png", "gone.png", "gate.mkv"])
def test_a_corrupt_picture_is_named(folder: Path, name: str) -> None:
    with pytest.raises(DataError, match=name):
        MEDIA.image(folder / name)


@pytest.mark.parametrize("name", ["no_index.mp4", "text.png", "gone.mp4"])
def test_a_corrupt_video_is_named(folder: Path, name: str) -> None:
    with pytest.raises(DataError, match=name):
        MEDIA.video(folder / name, None, None)


def test_a_stretch_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"expected a picture from 7 s on, got none: .* at 5\.9 s"):
        MEDIA.video(folder / "gate.mkv", 7.0, None)
    with pytest.raises(DataError, match=r"expected a video until 8 s, got one until 5\.9 s"):
        MEDIA.video(folder / "gate.mkv", 0.0, 8.0)
    with pytest.raises(DataError, match=r"expected a video until 6 s, got one until 1\.\d s"):
        MEDIA.video(folder / "cut.mkv", 0.0, 6.0)


def test_data_that_names_damage_is_refused_or_skipped_by_line(folder: Path) -> None:
    talk = [{"from": "human", "value": "Who is there?"}, {"from": "gpt", "value": "Nobody."}]
    named = [{"image": ["a.png"]}, {"image": ["cut.png"]}, {"video": ["no_index.mp4"]}]
    path = folder / "data.json"
    rows = ",\n".join(json.dumps({**one, "conversations": talk}) for one in named)
    path.write_text(f"[\n{rows}\n]\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"data\.json:3: .*cut\.png: expected a whole PNG image"):
        read(path, tried=SAMPLED)
    got = read(path, tried=SAMPLED, skip_bad=True)
    assert [one.source for one in got.conversations] == [f"{path}:2"]
    assert [one.source for one in got.skipped] == [f"{path}:3", f"{path}:4"]


def test_a_reader_goes_to_another_process(folder: Path) -> None:
    sent = pickle.loads(pickle.dumps(MEDIA))  # noqa: S301, its own
    assert index_of(sent.image(folder / "a.png")) == 30


def test_what_is_private_is_black_in_training_pictures(folder: Path) -> None:
    path = folder / "gate.mkv"
    private = {path.absolute(): (Region(0.0, 0.0, 0.5, 0.5),)}
    masked, _ = Media(partial(pin_grid, max_tokens=24), private=private).video(path, 0.0, 2.0)
    plain, _ = MEDIA.video(path, 0.0, 2.0)
    assert len(masked) == len(plain) == 3
    for one, other in zip(masked, plain, strict=True):
        half = np.zeros(one.shape[:2], dtype=np.bool_)
        half[: len(one) // 2, : one.shape[1] // 2] = True
        assert not one[half].any()
        assert np.array_equal(one[~half], other[~half])


def test_how_long_a_video_is_goes_by_its_last_picture(folder: Path) -> None:
    assert duration_s(folder / "gate.mkv") == pytest.approx(5.9, abs=0.11)
    with pytest.raises(DataError, match=r"text\.png: "):
        duration_s(folder / "text.png")
