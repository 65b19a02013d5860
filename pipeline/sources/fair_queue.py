"""Where records wait to be decoded: by camera, so that heavy pictures delay their own camera only.

The camera that has used the least decoding time goes first. Every camera has a few places; what
happens when they are full is its policy: `Overflow.WAIT` holds the camera's partition back, but
where its pictures are heavy and others share the topic its oldest one gives way; under
`Overflow.LATEST` the newest replaces the one that waits. A camera that is held keeps its places,
and nobody waits behind it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from threading import Condition
from typing import Any, Literal

from pipeline.errors import SourceError
from pipeline.sources.record import CameraStated
from pipeline.types import Overflow, Tenure

MAX_WAITING_OF_A_CAMERA = 4
MAX_WAITING_BYTES = 64 * 2**20  # of all cameras; one more record may lie on top of it
HEAVY_S = 0.25  # a picture that takes more of a processor to decode is heavy

GaveWay = Literal["heavy", "replaced"]


@dataclass(frozen=True, slots=True)
class Taken:
    """A record on its way to be decoded.

    Attributes:
        record: as the driver gave it.
        camera_id: its key.
        captured_at: aware UTC, never later than now.
        picture: the record whose picture is shown: itself, or an earlier one where nothing has
            changed since; None where nothing is to be shown.
        state: how its camera is, as the record says; None where it does not.
        tenure: in which it was read; None before it is put.
    """

    record: Any
    camera_id: str
    captured_at: datetime
    picture: Any | None = None
    state: CameraStated | None = None
    tenure: Tenure | None = None

    @property
    def num_bytes(self) -> int:
        """The encoded picture's size."""
        return len(self.record.value or b"")


class FairQueue:
    """Records between the thread that polls, which alone puts, and the one that decodes."""

    def __init__(
        self,
        overflow: Overflow,
        *,
        is_held: Callable[[str], bool] = lambda _camera_id: False,
    ) -> None:
        """Begin empty.

        Args:
            overflow: what a camera's full places mean.
            is_held: whether a camera's records are not to be decoded yet.
        """
        self._is_held = is_held
        self._is_latest = overflow is Overflow.LATEST
        self._changed = Condition()
        self._waiting: dict[str, deque[Taken]] = {}
        self._num_bytes = 0
        self._used_s: dict[str, float] = {}  # decoding time, level with the others after a pause
        self._decode_s: dict[str, float] = {}  # of one picture, lately
        self._level_s = 0.0
        self._failure: SourceError | None = None
        self._is_closed = False

    def has_room(self, taken: Taken) -> bool:
        """Say whether `put` would take a record."""
        with self._changed:
            waiting = self._waiting.get(taken.camera_id, ())
            if self._gives_way(taken.camera_id):
                return True
            if self._is_held(taken.camera_id):
                return False
            return len(waiting) < MAX_WAITING_OF_A_CAMERA and self._num_bytes < MAX_WAITING_BYTES

    def put(self, taken: Taken) -> tuple[Taken, GaveWay] | None:
        """Let a record wait; return the one that gave way to it, and by which policy."""
        camera_id = taken.camera_id
        with self._changed:
            reason = self._gives_way(camera_id)
            oldest = self._removed(camera_id) if reason else None
            if camera_id not in self._waiting:
                used_s = self._used_s.get(camera_id, 0.0)
                self._used_s[camera_id] = max(used_s, self._level_s)
            self._waiting.setdefault(camera_id, deque()).append(taken)
            self._num_bytes += taken.num_bytes
            self._changed.notify_all()
        return (oldest, reason) if oldest is not None and reason is not None else None

    def take(self, timeout_s: float) -> Taken | None:
        """Return the record whose turn it is; None where none comes in time, or any more.

        Raises:
            SourceError: nothing more will come.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_closed or self._failure or self._free(), timeout_s
            )
            if self._is_closed:
                return None
            if self._failure is not None:
                raise self._failure
            free = self._free()
            if not free:
                return None
            camera_id = min(free, key=lambda one: self._used_s[one])
            self._level_s = self._used_s[camera_id]
            return self._removed(camera_id)

    def decoded(self, camera_id: str, *, spent_s: float) -> None:
        """Note what a camera's picture has cost of a processor."""
        with self._changed:
            self._used_s[camera_id] = self._used_s.get(camera_id, self._level_s) + spent_s
            before_s = self._decode_s.get(camera_id, spent_s)
            self._decode_s[camera_id] = before_s + (spent_s - before_s) / 4

    def waits(self, camera_id: str) -> bool:
        """Say whether a record of the camera waits."""
        with self._changed:
            return camera_id in self._waiting

    def fail(self, error: SourceError) -> None:
        """Make `take` raise, from now on."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def close(self) -> None:
        """Make `take` return None, from now on."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _free(self) -> list[str]:
        """Return the cameras of which a record may be decoded now."""
        return [one for one in self._waiting if not self._is_held(one)]

    def _gives_way(self, camera_id: str) -> GaveWay | None:
        waiting = self._waiting.get(camera_id, ())
        if self._is_latest and waiting:
            return "replaced"
        has_company = len(self._used_s) > 1
        is_heavy = has_company and self._decode_s.get(camera_id, 0.0) > HEAVY_S
        return "heavy" if is_heavy and len(waiting) >= MAX_WAITING_OF_A_CAMERA else None

    def _removed(self, camera_id: str) -> Taken:
        waiting = self._waiting[camera_id]
        taken = waiting.popleft()
        if not waiting:
            del self._waiting[camera_id]
        self._num_bytes -= taken.num_bytes
        return taken
