"""Values that pass between stages."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Literal, NewType

import numpy as np
from numpy.typing import NDArray

from model.types import PatchGrid, PrunedFrame
from pipeline.errors import SourceReason

CameraState = Literal["connecting", "online", "offline", "frozen", "degraded"]
Phase = Literal["start", "update", "end"]
"""What an event message announces of its event."""

Wanted = Callable[[str, float], bool]
"""(camera_id, pts_s) -> whether the sampler takes this frame. Asked before a frame is scaled, since
scaling a 1080p picture costs as much as decoding it."""


StatusReason = Literal[
    SourceReason,
    "outbox",
    "worker_stopped",
    "identical_frames",
    "damaged",
    "damaged_shown",
    "lagging",
    "no_memory",
    "moved",
    "state_unknown",
    "paused",
    "load_captions",
    "load_threshold",
    "load_frame_rate",
]
"""Why a camera is in the state that it is in. The run-book has a row for each."""

Tell = Callable[[str, StatusReason, str | None], None]
"""(camera_id, reason, detail): a source says that a camera whose pictures may not come is degraded,
or offline if the reason is `stalled`, or frozen if it is `identical_frames`, again and again while
it is; a detail of None takes it back.
"""


def tell_nobody(_camera_id: str, _reason: StatusReason, _detail: str | None) -> None:
    """Be told, and do nothing."""


class Overflow(Enum):
    """What a full lane does with the next frame."""

    LATEST = "latest"  # the newest frame replaces the waiting one, which is counted as dropped
    WAIT = "wait"  # the source is held back


@dataclass(frozen=True, slots=True)
class Video:
    """What is known of the video that a camera sends.

    Attributes:
        codec: as FFmpeg calls it, such as `h264`.
        width_px: of the picture as it is coded.
        height_px: the same.
        fps: pictures a second, as they come; None until that is known.
        keyframe_every_s: seconds between two key frames, as they come; None until that is known.
        remark: what else an operator should know, in words; "" where there is nothing.
    """

    codec: str
    width_px: int
    height_px: int
    fps: float | None = None
    keyframe_every_s: float | None = None
    remark: str = ""


Receipt = NewType("Receipt", object)
"""Whatever a source needs to know its own record again. It is opaque to everything else, and handed
back to `FrameSource.settle` once the replies that depend on its frame have arrived."""


@dataclass(slots=True, eq=False)
class Tenure:
    """The time that a partition stays at this worker, from one assignment of it to its loss.

    Compared by identity: of two of one generation each is another.

    Attributes:
        group: the consumer group that assigned it.
        generation: which of the group's assignments it was; 0 where no group has assigned anything.
        is_over: the partition is here no more.
    """

    group: str
    generation: int
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class RecordPlace:
    """Where a record stands in Kafka; the receipt of its frame.

    Attributes:
        topic: its topic.
        partition: of that topic.
        offset: in that partition.
        tenure: in which the record was read; None where nobody tells. No part of the place.
        made_ms: the record's own time, since 1970. No part of the place.
    """

    topic: str
    partition: int
    offset: int
    tenure: Tenure | None = field(default=None, compare=False)
    made_ms: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Frame:
    """One sampled picture.

    Attributes:
        camera_id: lower-case slug; see `pipeline.camera_id`.
        pixels: (grid.height_px, grid.width_px, 3) uint8 RGB, C-contiguous, at the pinned size.
        grid: the token grid, pinned for as long as the camera's picture keeps its size.
        pts_s: stream time in seconds; may jump when a camera reconnects.
        captured_at: wall-clock time of capture, aware UTC.
        receipt: goes back to the source that made the frame; None where there is nothing to settle.
        video: what it was taken from; None where nobody tells.
        is_damaged: whether it shows what no camera saw.
        is_coded_anew: whether it, or one since the camera's last frame, was coded without reference
            to any before: what is the same then was the same before the camera.
        lag_s: the longest that a packet since the camera's last frame waited to be read; 0 where
            that is not judged.
        record: the record of a topic that it was made from; None where it comes another way.
    """

    camera_id: str
    pixels: NDArray[np.uint8]
    grid: PatchGrid
    pts_s: float
    captured_at: datetime
    receipt: Receipt | None = None
    video: Video | None = None
    is_damaged: bool = False
    is_coded_anew: bool = True
    lag_s: float = 0.0
    record: RecordPlace | None = None

    @property
    def has_moved(self) -> bool:
        """Whether its partition is here no more; its record comes again, here or elsewhere."""
        tenure = self.record.tenure if self.record else None
        return tenure is not None and tenure.is_over


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
"""Called with a frame that is done with: what depends on it has arrived, or it was dropped."""
