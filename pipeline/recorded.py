"""A video file's frames as the worker would take them, through its own reader and sampler."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.cadence import Cadence
from pipeline.clock import SystemClock
from pipeline.errors import SourceError
from pipeline.sources.decoder import GridOf
from pipeline.sources.file import FileSource
from pipeline.types import Frame


def sampled(path: Path, *, grid_of: GridOf, period_s: float = 1.0) -> Iterator[Frame]:
    """Yield a file's frames, as fast as they are taken.

    Args:
        path: in any container and codec libav reads.
        grid_of: the token grid for a picture's (height_px, width_px).
        period_s: stream time between two frames.

    Raises:
        SourceError: the file is not there or cannot be read; that it ends is no error.
    """
    cadence = Cadence(period_s)
    source = FileSource(
        "file",
        path,
        wanted=lambda _camera_id, pts_s: cadence.due(pts_s),
        grid_of=grid_of,
        clock=SystemClock(),
        live=False,
        loop=False,
        sample_period_s=period_s,
    )
    try:
        yield from source.frames()
    except SourceError as error:
        if error.reason != "ended":
            raise
