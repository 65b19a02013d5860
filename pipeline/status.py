"""What state each camera is in, published whenever it changes."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import inf
from threading import Lock
from typing import Any

from model.kinds.base import Reason
from pipeline.clock import Clock
from pipeline.messages import Message, said_again, status_message
from pipeline.types import CameraState

_UNSOUND_STATES: Mapping[CameraState, Reason] = {"frozen": "frozen", "offline": "stalled"}
_UNSOUND_REASONS: Mapping[str, Reason] = {"damaged": "damaged", "no_memory": "no_memory"}
"""Of a camera that is degraded."""


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
        self._lost_s: dict[str, float] = {}
        self._over: set[str] = set()
        self._said: dict[str, Message] = {}

    def set(
        self,
        camera_id: str,
        state: CameraState,
        *,
        reason: str = "",
        detail: str = "",
        is_over: bool = False,
    ) -> bool:
        """Note a camera's state; publish it and return True when state or reason is new.

        Args:
            camera_id: whose.
            state: what it is now.
            reason: why, in one word.
            detail: for people.
            is_over: its stream has ended for good.
        """
        with self._lock:
            (self._over.add if is_over else self._over.discard)(camera_id)
            if state == "offline":
                self._lost_s[camera_id] = self._clock.monotonic_s()
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

    def unsound(self, camera_id: str) -> Reason | None:
        """Return why an answer about a camera is worth nothing now; None where it is sound."""
        with self._lock:
            known = self._cameras.get(camera_id)
            if known is None:
                return None
            return _UNSOUND_STATES.get(known.state) or (
                _UNSOUND_REASONS.get(known.reason) if known.state == "degraded" else None
            )

    def lost_s(self, camera_id: str) -> float:
        """Return when a camera was last found offline, monotonic; -inf where it never was."""
        with self._lock:
            return self._lost_s.get(camera_id, -inf)

    def is_over(self, camera_id: str) -> bool:
        """Say whether a camera's stream has ended for good, as a file does."""
        with self._lock:
            return camera_id in self._over

    def snapshot(self) -> dict[str, dict[str, str]]:
        """Return every camera's status as plain values."""
        with self._lock:
            return {camera_id: asdict(status) for camera_id, status in self._cameras.items()}
