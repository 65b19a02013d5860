"""What a topic's source says of its cameras: who is silent, and whose pictures come late."""

from collections.abc import Callable, Mapping

from pipeline.clock import Clock
from pipeline.observer import CAMERA_LAG, Observer
from pipeline.sources.record import CameraStated
from pipeline.types import Frame, Tell

LOOK_S = 0.5  # how often it is looked who is silent
LAGGING_S = 10.0  # pictures that are read so long after their capture come late
IN_TIME_S = 5.0  # until they come in less than this

_REASONS: Mapping[CameraStated | None, str] = {
    "frozen": "identical_frames",
    "damaged": "damaged",
    "damaged_shown": "damaged_shown",
}
"""What is said of a camera whose state came with its record."""
_STATED = "as vigil ingest says, which takes its pictures"


class CameraHealth:
    """Tells when a camera stops, comes late, and is back. For the thread that yields frames."""

    def __init__(
        self, stall_after_s: float | None, *, tell: Tell, clock: Clock, observer: Observer
    ) -> None:
        """Begin with cameras of which nothing is said; None: nobody is ever silent."""
        self._stall_after_s = stall_after_s
        self._tell = tell
        self._clock = clock
        self._observer = observer
        self._looked_s = clock.monotonic_s()
        self._stalled: set[str] = set()
        self._lagging: set[str] = set()
        self._stated: dict[str, str] = {}  # the reason that is told

    def look(self, silent: Callable[[float], frozenset[str]]) -> None:
        """Tell, now and then, which cameras have been silent for too long."""
        now_s = self._clock.monotonic_s()
        if self._stall_after_s is None or now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        for camera_id in silent(self._stall_after_s) - self._stalled:
            self._in_time(camera_id)
            self._says(camera_id, None)
            self._stalled.add(camera_id)
            detail = f"no readable picture has come for {self._stall_after_s:g} s"
            self._tell(camera_id, "stalled", detail)

    def heard(self, camera_id: str, state: CameraStated | None) -> None:
        """Note a camera's good record, and how it says that its camera is."""
        if camera_id in self._stalled:
            self._stalled.discard(camera_id)
            self._tell(camera_id, "stalled", None)
        self._says(camera_id, _REASONS.get(state))

    def came(self, frame: Frame, state: CameraStated | None = None) -> None:
        """Note a camera's good picture; what was told is taken back where it is over."""
        camera_id = frame.camera_id
        self.heard(camera_id, state)
        lag_s = max(0.0, (self._clock.now() - frame.captured_at).total_seconds())
        self._observer.set(CAMERA_LAG, lag_s, camera=camera_id)
        is_late = lag_s > (IN_TIME_S if camera_id in self._lagging else LAGGING_S)
        if is_late or state == "lagging":
            self._lagging.add(camera_id)
            self._tell(camera_id, "lagging", f"its pictures are {lag_s:.0f} s old when they come")
        else:
            self._in_time(camera_id)

    def _says(self, camera_id: str, reason: str | None) -> None:
        before = self._stated.pop(camera_id, None)
        if before not in (None, reason):
            self._tell(camera_id, before or "", None)
        if reason is not None:
            self._stated[camera_id] = reason
            self._tell(camera_id, reason, _STATED)

    def _in_time(self, camera_id: str) -> None:
        if camera_id in self._lagging:
            self._lagging.discard(camera_id)
            self._tell(camera_id, "lagging", None)
