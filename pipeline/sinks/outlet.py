"""From a camera's frames to records: whole pictures, and word of those that are the last again."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.clock import Clock
from pipeline.metrics import INGEST_RECORDS
from pipeline.observer import Observer
from pipeline.sources.record import STATED, CameraStated
from pipeline.status import StatusBoard
from pipeline.types import Frame, StatusReason

PictureFormat = Literal["jpeg", "webp"]
Encode = Callable[[NDArray[np.uint8]], bytes]
Kind = Literal["picture", "unchanged", "state"]

_STATES: dict[StatusReason | None, CameraStated] = {
    reason: state for state, reason in STATED.items()
}


@dataclass(frozen=True, slots=True)
class OutRecord:
    """What is sent of a camera for one moment.

    Attributes:
        camera_id: whose.
        captured_at: the moment, aware UTC.
        state: how the camera is.
        value: the encoded picture; empty where nothing has changed since the camera's last one.
    """

    camera_id: str
    captured_at: datetime
    state: CameraStated
    value: bytes = b""


Put = Callable[[OutRecord], bool]
"""Let a record wait; False for one without a picture whose camera's last one is gone."""


def encoder(format_: PictureFormat, *, quality: int) -> Encode:
    """Return what makes an image file of (H, W, 3) uint8 RGB."""
    options = {"subsampling": 0} if format_ == "jpeg" else {"method": 2}

    def encode(pixels: NDArray[np.uint8]) -> bytes:
        file = BytesIO()
        Image.fromarray(pixels).save(file, format_, quality=quality, **options)
        return file.getvalue()

    return encode


class Outlet:
    """One camera's way out. For the thread of its source; has what `Intake` asks of a lane.

    A picture is left out only where it is the last one bit for bit: what counts as a change is the
    pruner's to say, and two thresholds would add up.
    """

    def __init__(
        self,
        camera_id: str,
        put: Put,
        *,
        encode: Encode,
        status: StatusBoard,
        whole_every_s: float,
        clock: Clock,
        observer: Observer,
    ) -> None:
        """Begin with a whole picture.

        Args:
            camera_id: whose.
            put: takes the records.
            encode: makes a picture's file.
            status: knows how the camera is; asked after it was told of the frame.
            whole_every_s: stream time after which a picture is sent whole, changed or not.
            clock: the moment of records that no picture belongs to.
            observer: told of the records.
        """
        self.camera_id = camera_id
        self.num_offered = 0
        self._put = put
        self._encode = encode
        self._status = status
        self._whole_every_s = whole_every_s
        self._clock = clock
        self._observer = observer
        self._last: NDArray[np.uint8] | None = None
        self._whole_s = 0.0
        for kind in get_args(Kind):
            observer.count(INGEST_RECORDS, 0, camera=camera_id, kind=kind)

    def offer(self, frame: Frame) -> Frame | None:
        """Send a frame on; none is ever dropped here. Its pixels must not be changed any more."""
        self.num_offered += 1
        state = _STATES.get(self._status.reason(self.camera_id), "online")
        is_same = self._last is not None and np.array_equal(self._last, frame.pixels)
        is_due = not 0 <= frame.pts_s - self._whole_s < self._whole_every_s
        record = OutRecord(self.camera_id, frame.captured_at, state)
        if is_same and not is_due and self._put(record):
            self._observer.count(INGEST_RECORDS, camera=self.camera_id, kind="unchanged")
            return None
        value = self._encode(frame.pixels)
        self._put(OutRecord(self.camera_id, frame.captured_at, state, value))
        self._observer.count(INGEST_RECORDS, camera=self.camera_id, kind="picture")
        self._last, self._whole_s = frame.pixels, frame.pts_s
        return None

    def told(self, reason: StatusReason) -> None:
        """Send on what the camera's source says while no picture comes, if it is damage."""
        if reason == "damaged" and self._put(
            OutRecord(self.camera_id, self._clock.now(), "damaged")
        ):
            self._observer.count(INGEST_RECORDS, camera=self.camera_id, kind="state")

    def reset(self) -> None:
        """Send the next picture whole, as after a lost connection."""
        self._last = None
