"""What a topic's source says of its cameras: who is silent, and whose pictures come late."""

from collections.abc import Callable

from pipeline.clock import Clock
from pipeline.observer import CAMERA_LAG, Observer
from pipeline.types import Frame, Tell

LOOK_S = 0.5  # how often it is looked who is silent
LAGGING_S = 10.0  # pictures that are read so long after their capture come late
IN_TIME_S = 5.0  # until they come in less than this


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

    def look(self, silent: Callable[[float], frozenset[str]]) -> None:
        """Tell, now and then, which cameras have been silent for too long."""
        now_s = self._clock.monotonic_s()
        if self._stall_after_s is None or now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        for camera_id in silent(self._stall_after_s) - self._stalled:
            self._in_time(camera_id)
            self._stalled.add(camera_id)
            detail = f"no readable picture has come for {self._stall_after_s:g} s"
            self._tell(camera_id, "stalled", detail)

    def came(self, frame: Frame) -> None:
        """Note a camera's good picture; what was told is taken back where it is over."""
        camera_id = frame.camera_id
        if camera_id in self._stalled:
            self._stalled.discard(camera_id)
            self._tell(camera_id, "stalled", None)
        lag_s = max(0.0, (self._clock.now() - frame.captured_at).total_seconds())
        self._observer.set(CAMERA_LAG, lag_s, camera=camera_id)
        if lag_s > (IN_TIME_S if camera_id in self._lagging else LAGGING_S):
            self._lagging.add(camera_id)
            self._tell(camera_id, "lagging", f"its pictures are {lag_s:.0f} s old when they come")
        else:
            self._in_time(camera_id)

    def _in_time(self, camera_id: str) -> None:
        if camera_id in self._lagging:
            self._lagging.discard(camera_id)
            self._tell(camera_id, "lagging", None)
