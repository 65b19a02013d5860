"""What state each camera is in, published whenever it changes."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from threading import Lock

from pipeline.clock import Clock
from pipeline.messages import Message, status_message
from pipeline.types import CameraState


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """A camera's state, why it is in it, and since when (RFC 3339)."""

    state: CameraState
    reason: str
    since: str


class StatusBoard:
    """The cameras' states; every change becomes one message. Safe from any thread."""

    def __init__(self, put: Callable[[Message], None], *, clock: Clock) -> None:
        self._put = put
        self._clock = clock
        self._lock = Lock()
        self._cameras: dict[str, CameraStatus] = {}

    def set(
        self, camera_id: str, state: CameraState, *, reason: str = "", detail: str = ""
    ) -> bool:
        """Note a camera's state; publish it and return True when state or reason is new."""
        with self._lock:
            known = self._cameras.get(camera_id)
            if known and (known.state, known.reason) == (state, reason):
                return False
            at = self._clock.now()
            self._cameras[camera_id] = CameraStatus(state, reason, at.isoformat())
            self._put(
                status_message(
                    camera_id, at=at, state=state, reason=reason or None, detail=detail or None
                )
            )
            return True

    def state(self, camera_id: str) -> CameraState | None:
        """Return a camera's state, or None when it was never heard of."""
        with self._lock:
            known = self._cameras.get(camera_id)
            return known.state if known else None

    def snapshot(self) -> dict[str, dict[str, str]]:
        """Return every camera's status as plain values."""
        with self._lock:
            return {camera_id: asdict(status) for camera_id, status in self._cameras.items()}
