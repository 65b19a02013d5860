from functools import partial
from pathlib import Path

import numpy as np
import pytest

from model.errors import DataError
from model.training.conversation import Pixels
from model.videollama3.grid import pin_grid
from pipeline.recorded import Media
from tests.pipeline.sources.clips import clip
from worker.training.remembered import Remembered


class Counting:
    """Media that counts how often a video is read."""

    def __init__(self) -> None:
        self.media = Media(partial(pin_grid, max_tokens=24))
        self.read: list[str] = []

    def image(self, path: Path) -> Pixels:
        return self.media.image(path)

    def video(
        self, path: Path, start_s: float | None, end_s: float | None
    ) -> tuple[list[Pixels], list[float]]:
        self.read.append(path.name)
        return self.media.video(path, start_s, end_s)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    for name in ("a", "b"):
        clip(folder / f"{name}.mkv", seconds=6.0, gop_s=2.0)
    return folder


def test_stretches_are_those_of_the_file_and_it_is_read_once(folder: Path) -> None:
    counting = Counting()
    path = folder / "a.mkv"
    remembered = Remembered(counting, paths=[path.absolute()])
    for start_s, end_s in ((None, None), (0.0, 2.0), (1.0, 4.0), (3.0, None)):
        pictures, times_s = remembered.video(path, start_s, end_s)
        expected, expected_s = counting.media.video(path, start_s, end_s)
        assert times_s == pytest.approx(expected_s, abs=0.11)
        assert len(pictures) == len(expected)
    assert np.array_equal(pictures[0], expected[0])
    assert counting.read == ["a.mkv"]
    with pytest.raises(DataError, match="expected a picture from 9 s on"):
        remembered.video(path, 9.0, None)


def test_others_are_read_as_they_come_and_the_oldest_is_given_up(folder: Path) -> None:
    counting = Counting()
    paths = [(folder / f"{name}.mkv").absolute() for name in "ab"]
    plain = Remembered(counting, paths=[])
    for _ in range(2):
        plain.video(paths[0], 0.0, 1.0)
    assert counting.read == ["a.mkv"] * 2
    small = Remembered(counting, paths=paths, most_bytes=1)
    for path in (paths[0], paths[0], paths[1], paths[0]):
        small.video(path, 0.0, 1.0)
    assert counting.read[2:] == ["a.mkv", "b.mkv", "a.mkv"]
