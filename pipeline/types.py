"""Values that pass between stages."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.types import PatchGrid, PrunedFrame

CameraState = Literal["connecting", "online", "offline", "frozen", "degraded"]
Phase = Literal["start", "update", "end"]
"""What an event message announces of its event."""

Wanted = Callable[[str, float], bool]
"""(camera_id, pts_s) -> whether the sampler takes this frame. Asked before a frame is scaled, since
scaling a 1080p picture costs as much as decoding it."""


class Overflow(Enum):
    """What a full lane does with the next frame."""

    LATEST = "latest"  # the newest frame replaces the waiting one, which is counted as dropped
    WAIT = "wait"  # the source is held back


@dataclass(frozen=True, slots=True)
class Receipt:
    """A Kafka record's place, handed back once the replies that depend on it are in the outbox."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Frame:
    """One sampled picture.

    Attributes:
        camera_id: lower-case slug.
        pixels: (grid.height_px, grid.width_px, 3) uint8 RGB, C-contiguous, at the pinned size.
        grid: the token grid, pinned for as long as the camera's picture keeps its size.
        pts_s: stream time in seconds; may jump when a camera reconnects.
        captured_at: wall-clock time of capture, aware UTC.
        receipt: where a broker's record stood, or None.
    """

    camera_id: str
    pixels: NDArray[np.uint8]
    grid: PatchGrid
    pts_s: float
    captured_at: datetime
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True)
class PrunedSample:
    """A frame on its way into the model.

    Attributes:
        frame: what was captured.
        pruned: what of it is sent.
        arrived_s: when it came from its source, monotonic.
        is_live: whether a newer frame would have replaced it; else its source is held back.
    """

    frame: Frame
    pruned: PrunedFrame
    arrived_s: float
    is_live: bool


Settle = Callable[[Frame], None]
"""Told of a frame that nothing more will come of: its broker may forget the record."""
