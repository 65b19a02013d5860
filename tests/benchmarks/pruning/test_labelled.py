"""The scenes of known truth: the same every time, and degraded as said."""

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipeline.sources.encoder import as_coded
from pipeline.sources.scaler import Scaler
from tests.benchmarks.pruning import labelled
from tests.benchmarks.pruning.labelled import (
    CELLS,
    Cell,
    SensorNoise,
    clean,
    clip,
    frames_of,
    truth_of,
)
from worker.benchmarks.street import Street, Way

STILL = Cell("libx264", 1, "noise0", moves=False)
MOVING = Cell("libx264", 1, "noise0", moves=True)


@pytest.fixture
def short_clips(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Clips of three seconds, in a folder of their own."""
    monkeypatch.setattr(labelled, "CLIP_S", 3)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / "vigil-bench"


def test_every_codec_gop_and_light_is_there_moving_and_still() -> None:
    assert len(CELLS) == 2 * 3 * 4 * 2
    assert len({cell.name for cell in CELLS}) == len(CELLS)
    assert Cell("libx265", 10, "low", moves=False).name == "h265_gop10s_low_static"


def test_a_street_looks_the_same_every_time() -> None:
    assert np.array_equal(Street(3).at(12.5), Street(3).at(12.5))
    assert not np.array_equal(Street(3).still, Street(4).still)


def test_something_moves_in_every_second() -> None:
    street = Street(3)
    pictures = [street.at(float(t_s)) for t_s in range(40)]
    for before, after in pairwise(pictures):
        assert 500 < np.count_nonzero((before != after).any(axis=2)) < before.size / 6


def test_a_way_is_nowhere_before_and_after() -> None:
    way = Way((1.0, 3.0, 5.0), (0.0, 100.0, 100.0), (7.0, 7.0, 7.0))
    assert [way.at(t_s) for t_s in (0.9, 2.0, 4.0, 5.1)] == [None, (50.0, 7.0), (100.0, 7.0), None]
    assert way.moves_at(2.0)
    assert not way.moves_at(4.0)


def test_a_still_scene_does_not_move() -> None:
    assert np.array_equal(clean("noise2", 0, moves=False), clean("noise2", 100, moves=False))


def test_noise_is_as_strong_as_said_and_new_in_every_picture() -> None:
    picture, noise = np.full((504, 896, 3), 128, np.uint8), SensorNoise("noise5")
    first, second = noise.on(picture).astype(float), noise.on(picture).astype(float)
    assert first.std() == pytest.approx(5.0, rel=0.05)
    assert (first - second).std() > 5.0
    again = SensorNoise("noise5")
    assert np.array_equal(again.on(picture), first)


def test_low_light_is_darker_and_its_noise_grows_with_the_signal() -> None:
    assert clean("low", 0, moves=False).mean() < 80
    dark, light = (np.full((504, 896, 3), level, np.uint8) for level in (30, 120))
    dark_levels, light_levels = (SensorNoise("low").on(one).std() for one in (dark, light))
    assert 4.0 < dark_levels < 6.0 < light_levels


def test_the_truth_is_the_picture_a_codec_without_loss_would_give(short_clips: Path) -> None:
    frames = frames_of(MOVING)
    truth = truth_of(MOVING, frames)
    assert [frame.pts_s for frame in frames] == [0.0, 1.0, 2.0]
    for frame, true in zip(frames, truth, strict=True):
        difference = frame.pixels.astype(float) - true
        assert abs(difference.mean()) < 0.5
        assert np.abs(difference).mean() < 2.0
    assert len(list(short_clips.iterdir())) == 1


def test_a_clip_is_made_once(short_clips: Path) -> None:
    said: list[str] = []
    first = clip(STILL, said.append)
    made_at = first.stat().st_mtime_ns
    assert clip(STILL, said.append) == first
    assert first.stat().st_mtime_ns == made_at
    assert len(said) == 1
    assert first.parent == short_clips


def test_a_picture_as_coded_keeps_its_grey_levels() -> None:
    picture = np.full((504, 896, 3), 77, np.uint8)
    scaler = Scaler(lambda _height_px, _width_px: labelled.GRID)
    pixels, grid = scaler.scaled(as_coded(picture), aspect=None)
    assert pixels.shape == (grid.height_px, grid.width_px, 3)
    assert np.abs(pixels.astype(int) - 77).max() <= 1
