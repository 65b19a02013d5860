"""What a source says of its cameras: who is silent, and whose pictures come late."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.clock import Clock
from pipeline.metrics import CAMERA_LAG
from pipeline.observer import Observer
from pipeline.sources.record import STATED, CameraStated
from pipeline.types import Frame, StatusReason, Tell

LOOK_S = 0.5  # how often it is looked who is silent


@dataclass(frozen=True, slots=True)
class Bounds:
    """A camera lags from one lag on, until it has been below the other for a while."""

    lagging_s: float
    in_time_s: float
    for_s: float = 0.0


OF_A_TOPIC = Bounds(lagging_s=10.0, in_time_s=5.0)

_STATED = "as vigil ingest says, which takes its pictures"


class CameraHealth:
    """Tells when a camera stops, comes late, and is back. For the thread that yields frames."""

    def __init__(
        self,
        stall_after_s: float | None,
        *,
        tell: Tell,
        clock: Clock,
        observer: Observer,
        bounds: Bounds = OF_A_TOPIC,
    ) -> None:
        """Begin with cameras of which nothing is said; None: nobody is ever silent."""
        self._stall_after_s = stall_after_s
        self._tell = tell
        self._clock = clock
        self._observer = observer
        self._bounds = bounds
        self._looked_s = clock.monotonic_s()
        self._stalled: set[str] = set()
        self._lagging: dict[str, float | None] = {}  # since when they are in time again, if so
        self._stated: dict[str, StatusReason] = {}  # the reason that is told

    def look(self, silent: Callable[[float], frozenset[str]]) -> None:
        """Tell, now and then, which cameras have been silent for too long."""
        now_s = self._clock.monotonic_s()
        if self._stall_after_s is None or now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        for camera_id in silent(self._stall_after_s) - self._stalled:
            self._take_back(camera_id)
            self._says(camera_id, None)
            self._stalled.add(camera_id)
            detail = f"no readable picture has come for {self._stall_after_s:g} s"
            self._tell(camera_id, "stalled", detail)

    def heard(self, camera_id: str, state: CameraStated | None) -> None:
        """Note a camera's good record, and how it says that its camera is."""
        if camera_id in self._stalled:
            self._stalled.discard(camera_id)
            self._tell(camera_id, "stalled", None)
        # that it lags, `lags` says
        self._says(camera_id, STATED.get(state) if state and state != "lagging" else None)

    def came(self, frame: Frame, state: CameraStated | None = None) -> None:
        """Note a camera's good picture; what was told is taken back where it is over."""
        self.heard(frame.camera_id, state)
        lag_s = (self._clock.now() - frame.captured_at).total_seconds()
        self.lags(frame.camera_id, lag_s, is_stated=state == "lagging")

    def lags(self, camera_id: str, lag_s: float, *, is_stated: bool = False) -> None:
        """Note how long after its capture a camera's picture, or a packet of one, was read.

        Args:
            camera_id: whose.
            lag_s: that time.
            is_stated: its record says that it lags, however long that was.
        """
        lag_s = max(0.0, lag_s)
        self._observer.set(CAMERA_LAG, lag_s, camera=camera_id)
        bounds = self._bounds
        limit_s = bounds.in_time_s if camera_id in self._lagging else bounds.lagging_s
        if is_stated or lag_s > limit_s:
            self._lagging[camera_id] = None
            self._tell(camera_id, "lagging", f"its pictures are {lag_s:.0f} s old when they come")
        elif camera_id in self._lagging:
            now_s = self._clock.monotonic_s()
            since_s = self._lagging[camera_id]
            since_s = self._lagging[camera_id] = now_s if since_s is None else since_s
            if now_s - since_s >= bounds.for_s:
                self._take_back(camera_id)

    def _says(self, camera_id: str, reason: StatusReason | None) -> None:
        before = self._stated.pop(camera_id, None)
        if before is not None and before != reason:
            self._tell(camera_id, before, None)
        if reason is not None:
            self._stated[camera_id] = reason
            self._tell(camera_id, reason, _STATED)

    def _take_back(self, camera_id: str) -> None:
        if camera_id in self._lagging:
            del self._lagging[camera_id]
            self._tell(camera_id, "lagging", None)
