"""What every FrameSource promises, of the fake and of a real one."""

from collections.abc import Callable
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from model.types import PatchGrid
from pipeline.clock import SystemClock
from pipeline.errors import SourceError
from pipeline.sources.base import FrameSource
from pipeline.sources.encoder import encode_clip
from pipeline.sources.file import FileSource
from pipeline.types import Frame, Receipt
from tests.fakes import SMALL, ScriptedSource, frame_at

Make = Callable[[], FrameSource]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    pictures = (rng.integers(0, 256, (96, 128, 3), dtype=np.uint8) for _ in range(50))
    return encode_clip(path, pictures, fps=10, gop_s=1, bits_per_s=500_000)


@pytest.fixture(params=["scripted", "file"])
def make(request: pytest.FixtureRequest, clip: Path) -> Make:
    def scripted() -> FrameSource:
        frames = [frame_at(float(index)) for index in range(5)]
        return ScriptedSource(frames, SourceError("ended", "played"))

    def file() -> FrameSource:
        def grid_of(_height_px: int, _width_px: int) -> PatchGrid:
            return SMALL

        taken: set[int] = set()

        def wanted(_camera_id: str, pts_s: float) -> bool:
            is_new = int(pts_s) not in taken
            taken.add(int(pts_s))
            return is_new

        return FileSource(
            "yard",
            clip,
            wanted=wanted,
            grid_of=grid_of,
            clock=SystemClock(),
            live=False,
            loop=False,
        )

    return scripted if request.param == "scripted" else file


def test_frames_come_oldest_first_on_their_grid_with_both_clocks(make: Make) -> None:
    seen: list[Frame] = []
    with pytest.raises(SourceError) as ended:
        seen.extend(make().frames())
    assert ended.value.reason == "ended"
    assert len(seen) == 5
    assert [frame.pts_s for frame in seen] == sorted(frame.pts_s for frame in seen)
    for frame in seen:
        assert frame.camera_id == "yard"
        assert frame.pixels.shape == (frame.grid.height_px, frame.grid.width_px, 3)
        assert frame.pixels.dtype == np.uint8
        assert frame.pixels.flags.c_contiguous
        assert frame.captured_at.tzinfo is not None


def test_close_from_another_thread_ends_frames_without_an_error(make: Make) -> None:
    source = make()
    iterator = source.frames()
    next(iterator)
    closing = Thread(target=source.close)
    closing.start()
    closing.join(timeout=5)
    assert len(list(iterator)) <= 1


def test_settle_may_be_called_with_anything_at_any_time(make: Make) -> None:
    source = make()
    source.settle(Receipt("elsewhere", 3, 9))
    source.close()
    source.settle(Receipt("elsewhere", 3, 10))
