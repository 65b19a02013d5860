"""What `vigil inspect` writes, and what it refuses."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.types import PatchGrid
from pipeline.overlay import DIM, KEPT, REFRESH, Overlay, drawn_by
from pipeline.pruner import Pruner
from pipeline.recorded import sampled
from pipeline.sources.encoder import encode_clip
from pipeline.types import Frame
from worker.__main__ import REFUSED, main

GRID = PatchGrid(rows=5, cols=8)


def scene(square_px: int | None) -> NDArray[np.uint8]:
    """A textured picture with a white square in token (2, 3), or nowhere."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(90, 110, (GRID.height_px, GRID.width_px, 3), dtype=np.uint8)
    if square_px is not None:
        pixels[60 : 60 + square_px, 88 : 88 + square_px] = 255
    return pixels


def frame(pixels: NDArray[np.uint8], pts_s: float) -> Frame:
    return Frame("gate", pixels, GRID, pts_s, datetime.now(UTC))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    pictures = (scene(20 if index > 25 else None) for index in range(40))
    return encode_clip(tmp_path / "in.mp4", pictures, fps=5, gop_s=1, bits_per_s=2_000_000)


def test_a_refresh_is_framed_and_what_changes_after_it_is_outlined() -> None:
    frames = [frame(scene(None), 0.0), frame(scene(None), 1.0), frame(scene(20), 2.0)]
    whole, still, moved = drawn_by(Pruner(mode="last_seen"), frames, Overlay(title="gate"))
    assert whole.shape[1] == 2 * GRID.width_px
    assert whole.shape == still.shape == moved.shape
    assert tuple(whole[0, 0]) == REFRESH
    assert tuple(still[0, 0]) != REFRESH
    picture = moved[: 2 * GRID.height_px]
    outline = np.argwhere((picture == KEPT).all(axis=2))
    token = np.array([2, 3]) * 56
    assert (outline.min(axis=0) >= token - 2).all()
    assert (outline.max(axis=0) <= token + 58).all()
    assert picture[:100].mean() == pytest.approx(DIM * scene(None).mean(), rel=0.05)


def test_the_ratio_sent_so_far_is_counted() -> None:
    overlay = Overlay(title="gate")
    frames = (frame(scene(None), float(pts_s)) for pts_s in range(4))
    assert len(list(drawn_by(Pruner(mode="last_seen"), frames, overlay))) == 4
    assert overlay.num_frames == 4
    assert overlay.kept_ratio == pytest.approx(0.25)


def test_the_strip_forgets_what_no_longer_fits() -> None:
    frames = (frame(scene(None), float(pts_s)) for pts_s in range(100))
    pictures = list(drawn_by(Pruner(mode="paper"), frames, Overlay(title="gate")))
    assert {picture.shape for picture in pictures} == {pictures[0].shape}


def test_a_video_is_written_a_picture_for_each_sample(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "overlay.mp4"
    assert main(["inspect", str(video), "--out", str(out), "--mode", "last_seen"]) == 0
    assert "8 frames" in capsys.readouterr().err
    written = list(sampled(out, grid_of=lambda _height, _width: GRID, period_s=0.25))
    assert len(written) == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "overlay.mp4"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.mp4", "--out", "o.mp4"], "expected a video file at missing.mp4"),
        (["in.mp4", "--out", "o.txt"], "expected a file name ending in .mp4"),
        (["in.mp4", "--out", "no/such/o.mp4"], "expected a folder at no/such"),
        (["in.mp4", "--out", "in.mp4"], "expected another file"),
        (["p.part.mp4", "--out", "p.mp4"], "than the video itself, got p.part.mp4"),
        (["in.mp4", "--out", "folder.mp4"], "expected a file that can be written, got folder.mp4"),
        (["in.mp4", "--out", "o.mp4", "--fps", "0"], "expected more than 0"),
        (["in.mp4", "--out", "o.mp4", "--fps", "nan"], "expected more than 0"),
        (["words.mp4", "--out", "o.mp4"], "words.mp4: corrupt"),
    ],
)
def test_what_cannot_be_inspected_is_refused(
    arguments: list[str],
    said: str,
    video: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(video.parent)
    Path("words.mp4").write_text("no video at all")
    Path("folder.mp4").mkdir()
    Path("p.part.mp4").hardlink_to(video)
    recording = video.read_bytes()
    assert main(["inspect", *arguments]) == REFUSED
    assert said in capsys.readouterr().err
    assert not Path("o.mp4").exists()
    assert video.read_bytes() == recording
