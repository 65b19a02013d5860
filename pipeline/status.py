"""What state each camera is in, published whenever it changes."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from threading import Lock
from typing import Any

from pipeline.clock import Clock
from pipeline.messages import Message, said_again, status_message
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
        self._said: dict[str, Message] = {}

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
            said = self._said[camera_id] = status_message(
                camera_id, at=at, state=state, reason=reason or None, detail=detail or None
            )
            self._put(said)
            return True

    def said(self) -> dict[str, Mapping[str, Any]]:
        """Return, by camera, the `data` of the last message."""
        with self._lock:
            return {camera_id: said.body["data"] for camera_id, said in self._said.items()}

    def say_again(self, lost: Mapping[str, Mapping[str, Any]]) -> None:
        """Publish messages of `said` again, but for those that another has followed since."""
        with self._lock:
            for camera_id, data in lost.items():
                said = self._said[camera_id]
                if said.body["data"] is data:
                    self._put(said_again(said, at=self._clock.now()))

    def state(self, camera_id: str) -> CameraState | None:
        """Return a camera's state, or None when it was never heard of."""
        with self._lock:
            known = self._cameras.get(camera_id)
            return known.state if known else None

    def snapshot(self) -> dict[str, dict[str, str]]:
        """Return every camera's status as plain values."""
        with self._lock:
            return {camera_id: asdict(status) for camera_id, status in self._cameras.items()}
