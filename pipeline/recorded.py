"""A video file's frames as the worker would take them, through its own reader and sampler."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.errors import DataError
from model.types import PatchGrid
from pipeline.cadence import Cadence
from pipeline.clock import SystemClock
from pipeline.errors import FrameError, SourceError
from pipeline.regions import Region, blacked_out
from pipeline.sources.file import FileSource
from pipeline.sources.image import decode_image
from pipeline.sources.scaler import GridOf
from pipeline.types import Frame, Wanted

Pixels = NDArray[np.uint8]
PERIOD_S = 1.0
MAX_PIXELS = 64 * 2**20  # of a training picture: one is decoded at a time, on a large machine


def sampled(path: Path, *, grid_of: GridOf, period_s: float = PERIOD_S) -> Iterator[Frame]:
    """Yield a file's frames, as fast as they are taken.

    Args:
        path: in any container and codec libav reads.
        grid_of: the token grid for a picture's (height_px, width_px).
        period_s: stream time between two frames.

    Raises:
        SourceError: the file is not there or cannot be read; that it ends is no error.
    """
    cadence = Cadence(period_s)
    source = _source(
        path, lambda _camera_id, pts_s: cadence.due(pts_s), grid_of=grid_of, period_s=period_s
    )
    yield from _until_its_end(source)


@dataclass(frozen=True, slots=True)
class Media:
    """Reads the pictures and videos that training data names, as a camera's frames are read.

    Attributes:
        grid_of: the token grid for a picture's (height_px, width_px).
        private: areas of a file's pictures that are blacked out, by its absolute path.
    """

    grid_of: GridOf
    private: Mapping[Path, Sequence[Region]] = field(default_factory=dict)

    def image(self, path: Path) -> Pixels:
        """Return a picture on its grid.

        Raises:
            DataError: it is missing or corrupt.
        """
        try:
            return decode_image(
                path.read_bytes(), grid_of=self.grid_of, max_pixels=MAX_PIXELS
            ).pixels
        except (OSError, FrameError) as exc:
            raise DataError(f"{path}: {exc}") from exc

    def video(
        self, path: Path, start_s: float | None, end_s: float | None
    ) -> tuple[list[Pixels], list[float]]:
        """Return the pictures of a stretch of a video, one a second, and their times.

        Raises:
            DataError: it is missing or corrupt, or ends before the stretch does.
        """
        begin_s, until_s = start_s or 0.0, math.inf if end_s is None else end_s
        cadence = Cadence(PERIOD_S)
        newest_s = 0.0

        def wanted(_camera_id: str, pts_s: float) -> bool:
            nonlocal newest_s
            newest_s = max(newest_s, pts_s)
            if pts_s > until_s:
                source.close()
            return begin_s <= pts_s <= until_s and cadence.due(pts_s)

        source = _source(path, wanted, grid_of=self.grid_of, period_s=PERIOD_S)
        try:
            frames = list(_until_its_end(source))
        except SourceError as exc:
            raise DataError(f"{path}: {exc}") from exc
        if not frames:
            raise DataError(
                f"{path}: expected a picture from {begin_s:g} s on, got none: the last is at "
                f"{newest_s:.1f} s"
            )
        if end_s is not None and newest_s < end_s - PERIOD_S:
            raise DataError(
                f"{path}: expected a video until {end_s:g} s, got one until {newest_s:.1f} s"
            )
        regions = self.private.get(path.absolute(), ())
        pictures = [blacked_out(frame.pixels, regions) for frame in frames]
        return pictures, [frame.pts_s for frame in frames]


def duration_s(path: Path) -> float:
    """Return how long a video lasts, by its last picture.

    Raises:
        DataError: it is missing or corrupt, or holds no picture.
    """
    newest_s = -1.0

    def wanted(_camera_id: str, pts_s: float) -> bool:
        nonlocal newest_s
        newest_s = max(newest_s, pts_s)
        return False

    source = _source(path, wanted, grid_of=lambda *_: PatchGrid(1, 1), period_s=PERIOD_S)
    try:
        for _ in _until_its_end(source):
            pass
    except SourceError as exc:
        raise DataError(f"{path}: {exc}") from exc
    if newest_s < 0:
        raise DataError(f"{path}: expected a video with pictures, got none")
    return newest_s


def _source(path: Path, wanted: Wanted, *, grid_of: GridOf, period_s: float) -> FileSource:
    return FileSource(
        "file",
        path,
        wanted=wanted,
        grid_of=grid_of,
        clock=SystemClock(),
        live=False,
        loop=False,
        sample_period_s=period_s,
    )


def _until_its_end(source: FileSource) -> Iterator[Frame]:
    try:
        yield from source.frames()
    except SourceError as error:
        if error.reason != "ended":
            raise
