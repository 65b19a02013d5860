"""What state each camera is in, published whenever it changes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from threading import Lock
from typing import Any

from model.kinds.base import Reason
from model.types import PatchGrid
from pipeline.clock import Clock
from pipeline.messages import Message, rfc3339, said_again, status_message
from pipeline.types import CameraState, Frame, StatusReason, Video

_UNSOUND_STATES: Mapping[CameraState, Reason] = {"frozen": "frozen", "offline": "stalled"}
_UNSOUND_REASONS: Mapping[StatusReason | None, Reason] = {
    "damaged": "damaged",
    "no_memory": "no_memory",
    "paused": "stalled",
}
"""Of a camera that is degraded."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a camera's last frame tells.

    Attributes:
        captured_at: when it was captured.
        lag_ms: how long before it came.
        video: what it was taken from.
        grid: what it lies on.
    """

    captured_at: datetime | None = None
    lag_ms: int | None = None
    video: Video | None = None
    grid: PatchGrid | None = None

    @property
    def about(self) -> tuple[object, ...]:
        """What is worth a message where it changes; figures are, once all of them are known."""
        video = self.video
        if video is None:
            return ()
        size_px = video.width_px, video.height_px
        is_known = None not in (video.fps, video.keyframe_every_s)
        return video.codec, size_px, is_known, video.remark


@dataclass(frozen=True, slots=True)
class _Status:
    """A camera's state, why it is in it, since when, and what was known of its video then."""

    state: CameraState
    reason: StatusReason | None
    since: datetime
    about: tuple[object, ...]


class StatusBoard:
    """The cameras' states; every change becomes one message. Safe from any thread."""

    def __init__(self, put: Callable[[Message], None], *, clock: Clock) -> None:
        self._put = put
        self._clock = clock
        self._lock = Lock()
        self._cameras: dict[str, _Status] = {}
        self._seen: dict[str, _Seen] = {}
        self._lost_s: dict[str, float] = {}
        self._over: set[str] = set()
        self._said: dict[str, Message] = {}

    def seen(self, frame: Frame) -> None:
        """Note a camera's frame, which has come now; `set` says what it tells."""
        lag = self._clock.now() - frame.captured_at
        lag_ms = max(0, lag // timedelta(milliseconds=1))
        with self._lock:
            self._seen[frame.camera_id] = _Seen(frame.captured_at, lag_ms, frame.video, frame.grid)

    def set(
        self,
        camera_id: str,
        state: CameraState,
        *,
        reason: StatusReason | None = None,
        detail: str = "",
        is_over: bool = False,
        next_try_s: float | None = None,
    ) -> bool:
        """Note a camera's state; publish it where it, or what is known of its video, is new.

        Args:
            camera_id: whose.
            state: what it is now.
            reason: why, in one word.
            detail: for people.
            is_over: its stream has ended for good.
            next_try_s: seconds until it is connected to again.

        Returns:
            Whether state or reason is new.
        """
        with self._lock:
            (self._over.add if is_over else self._over.discard)(camera_id)
            if state == "offline":
                self._lost_s[camera_id] = self._clock.monotonic_s()
            known, seen = self._cameras.get(camera_id), self._seen.get(camera_id, _Seen())
            is_same = known is not None and (known.state, known.reason) == (state, reason)
            if known is not None and is_same and known.about == seen.about:
                return False
            at = self._clock.now()
            since = known.since if known is not None and is_same else at
            self._cameras[camera_id] = _Status(state, reason, since, seen.about)
            said = self._said[camera_id] = status_message(
                camera_id,
                at=at,
                state=state,
                since=since,
                reason=reason,
                detail=detail or (seen.video.remark if seen.video else "") or None,
                video=seen.video,
                lag_ms=seen.lag_ms,
                next_try_at=None if next_try_s is None else at + timedelta(seconds=next_try_s),
            )
            self._put(said)
            return not is_same

    def said(self) -> dict[str, Mapping[str, Any]]:
        """Return, by camera, the `data` of the last message."""
        with self._lock:
            return {camera_id: said.body["data"] for camera_id, said in self._said.items()}

    def grid(self, camera_id: str) -> PatchGrid | None:
        """Return what a camera's last frame lies on; None before the first."""
        with self._lock:
            return self._seen.get(camera_id, _Seen()).grid

    def say_again(self, lost: Mapping[str, Mapping[str, Any]]) -> None:
        """Publish messages of `said` again, but for those that another has followed since."""
        with self._lock:
            for camera_id, data in lost.items():
                said = self._said.get(camera_id)
                if said is not None and said.body["data"] is data:
                    self._put(said_again(said, at=self._clock.now()))

    def tell(self, camera_id: str) -> None:
        """Publish again how a camera stands, if that is known."""
        with self._lock:
            if (said := self._said.get(camera_id)) is not None:
                self._put(said_again(said, at=self._clock.now()))

    def remove(self, camera_id: str) -> None:
        """Forget a camera that another worker tells of."""
        with self._lock:
            self._over.discard(camera_id)
            for known in (self._cameras, self._seen, self._lost_s, self._said):
                known.pop(camera_id, None)

    def state(self, camera_id: str) -> CameraState | None:
        """Return a camera's state, or None when it was never heard of."""
        with self._lock:
            known = self._cameras.get(camera_id)
            return known.state if known else None

    def reason(self, camera_id: str) -> StatusReason | None:
        """Return why a camera is in its state; None where there is no reason."""
        with self._lock:
            known = self._cameras.get(camera_id)
            return known.reason if known else None

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

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """Return every camera's status as plain values: the last message's, and its last frame."""
        with self._lock:
            return {
                camera_id: {**said.body["data"], **self._last_frame(camera_id)}
                for camera_id, said in self._said.items()
            }

    def _last_frame(self, camera_id: str) -> dict[str, Any]:
        seen = self._seen.get(camera_id, _Seen())
        at = None if seen.captured_at is None else rfc3339(seen.captured_at)
        return {"last_frame_at": at, "lag_ms": seen.lag_ms}
