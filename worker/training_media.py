"""Pictures and videos that training data names, read as the worker reads a camera's."""

import functools
import math
from dataclasses import dataclass
from pathlib import Path

from model.errors import DataError
from model.training.conversation import Pixels
from model.videollama3.patches import pin_grid
from pipeline.cadence import Cadence
from pipeline.clock import SystemClock
from pipeline.errors import FrameError, SourceError
from pipeline.sources.decoder import GridOf
from pipeline.sources.file import FileSource
from pipeline.sources.image import decode_image

PERIOD_S = 1.0


@dataclass(frozen=True, slots=True)
class Media:
    """Reads what a data file names; a `MediaReader`.

    Attributes:
        max_tokens_per_frame: budget of a whole picture, at least 16.
    """

    max_tokens_per_frame: int

    def image(self, path: Path) -> Pixels:
        try:
            return decode_image(path.read_bytes(), grid_of=self._grid_of).pixels
        except (OSError, FrameError) as exc:
            raise DataError(f"{path}: {exc}") from exc

    def video(
        self, path: Path, start_s: float | None, end_s: float | None
    ) -> tuple[list[Pixels], list[float]]:
        begin_s, until_s = start_s or 0.0, math.inf if end_s is None else end_s
        cadence = Cadence(PERIOD_S)
        newest_s = 0.0

        def wanted(_camera_id: str, pts_s: float) -> bool:
            nonlocal newest_s
            newest_s = max(newest_s, pts_s)
            if pts_s > until_s:
                source.close()
            return begin_s <= pts_s <= until_s and cadence.due(pts_s)

        source = FileSource(
            "file",
            path,
            wanted=wanted,
            grid_of=self._grid_of,
            clock=SystemClock(),
            live=False,
            loop=False,
            sample_period_s=PERIOD_S,
        )
        pictures: list[Pixels] = []
        times_s: list[float] = []
        try:
            for frame in source.frames():
                pictures.append(frame.pixels)
                times_s.append(frame.pts_s)
        except SourceError as exc:
            if exc.reason != "ended":
                raise DataError(f"{path}: {exc}") from exc
        if not pictures:
            raise DataError(
                f"{path}: expected a picture from {begin_s:g} s on, got none: the last is at "
                f"{newest_s:.1f} s"
            )
        if end_s is not None and newest_s < end_s - PERIOD_S:
            raise DataError(
                f"{path}: expected a video until {end_s:g} s, got one until {newest_s:.1f} s"
            )
        return pictures, times_s

    @property
    def _grid_of(self) -> GridOf:
        return functools.partial(pin_grid, max_tokens=self.max_tokens_per_frame)
