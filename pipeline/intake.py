"""The first half of a frame's way, from its source into its camera's lane.

`pipeline.runner` is the second half. Drops are counted here, and records of dropped frames settled.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from threading import Lock
from typing import Protocol

import structlog

from pipeline.admission_backlog import AdmissionBacklog
from pipeline.freeze_watch import FreezeWatch
from pipeline.load import Load
from pipeline.metrics import CAMERA_FAILURES, CAMERA_UP, FRAMES_DROPPED
from pipeline.observer import Observer
from pipeline.regions import Region, blacked_out
from pipeline.sampler import Sampler
from pipeline.sources.base import FrameSource
from pipeline.status import StatusBoard
from pipeline.tenures import Tenures
from pipeline.types import CameraState, Frame, StatusReason, Tell, Wanted

log = structlog.get_logger("vigil")


class Way(Protocol):
    """Where a camera's frames go from here: a lane."""

    def offer(self, frame: Frame) -> Frame | None:
        """Take a frame; return one that was dropped, this or another, or None."""
        ...

    def reset(self) -> None:
        """Begin anew with the next frame, as after a lost connection."""
        ...


class Settlements:
    """Remembers which source a camera's receipts go back to. Safe from any thread."""

    def __init__(self, tenures: Tenures | None = None) -> None:
        """Begin with none; `tenures` are told of cameras that a group gives and takes."""
        self._tenures = tenures
        self._sources: dict[str, FrameSource] = {}

    def expect(self, frame: Frame, source: FrameSource) -> None:
        """Note that the frame's receipt, if it has one, goes back to this source."""
        if frame.receipt is not None:
            self._sources[frame.camera_id] = source
        if self._tenures is not None:
            self._tenures.begin(frame.camera_id, frame.record)

    def end(self, camera_id: str) -> None:
        """Note that a camera has gone to another worker."""
        if self._tenures is not None:
            self._tenures.end(camera_id)

    def settle(self, frame: Frame) -> None:
        """Give a frame's receipt back: nothing more will come of the frame."""
        source = self._sources.get(frame.camera_id)
        if frame.receipt is not None and source is not None:
            source.settle(frame.receipt)


@dataclass(frozen=True, slots=True)
class Condition:
    """The state of a camera whose frames arrive: with a status reason, and words for people."""

    state: CameraState = "online"
    reason: StatusReason | None = None
    detail: str = ""


def condition_of(
    camera_id: str,
    *,
    load: Load,
    admission_backlog: AdmissionBacklog,
    outbox_trouble: Callable[[], str] = str,
    unknown: Callable[[str], str] = lambda _camera_id: "",
    is_paused: Callable[[str], bool] = lambda _camera_id: False,
) -> Condition:
    """Return whether less is done with a camera's frames than was asked, and why."""
    if unsure := unknown(camera_id):
        return Condition("degraded", "state_unknown", unsure)
    if is_paused(camera_id):
        return Condition("degraded", "paused", "paused by a command; resume goes on with it")
    why = admission_backlog.why(camera_id)
    if why is not None:
        return Condition("degraded", "no_memory", why)
    if trouble := outbox_trouble():
        return Condition("degraded", "outbox", trouble)
    if load.level:
        return Condition("degraded", load.step.name, f"level {load.level}: {load.reason}")
    return Condition()


_STATES: Mapping[StatusReason, CameraState] = {"stalled": "offline", "identical_frames": "frozen"}
"""The state of a camera of which its source tells this; `degraded` for other reasons."""


def _trouble(reason: StatusReason, detail: str) -> Condition:
    return Condition(_STATES.get(reason, "degraded"), reason, detail)


def masked(frame: Frame, private: Mapping[str, tuple[Region, ...]]) -> Frame:
    """Black out what is private, by camera id: nothing behind this line sees it."""
    regions = private.get(frame.camera_id)
    return replace(frame, pixels=blacked_out(frame.pixels, regions)) if regions else frame


class Intake:
    """Takes the frames of one feed's connections to the lanes, and says how the cameras are.

    Used by the thread that iterates the source; `lost` may be called by another, once that thread
    is given up, and `told` by one of the source's own, of a camera that has moved.
    """

    def __init__(
        self,
        lane_of: Callable[[str], Way],
        status: StatusBoard,
        *,
        sampler: Sampler,
        private: Mapping[str, tuple[Region, ...]],
        freeze_watch: FreezeWatch,
        condition_of: Callable[[str], Condition],
        settlements: Settlements,
        observer: Observer,
    ) -> None:
        """Begin without a connection.

        Args:
            lane_of: a camera's lane, by its id.
            status: told of every camera that comes, goes, freezes or gets less than was asked.
            sampler: asked by the source which frames are taken.
            private: regions that are blacked out, by camera id.
            freeze_watch: tells when a camera repeats one picture.
            condition_of: says of a camera whose frames arrive, by its id, what becomes of them.
            settlements: where records of dropped frames are settled.
            observer: told of drops, and of cameras that come and go.
        """
        self._lane_of = lane_of
        self._status = status
        self._sampler = sampler
        self._private = private
        self._freeze_watch = freeze_watch
        self._condition_of = condition_of
        self._settlements = settlements
        self._observer = observer
        self._coming = Lock()  # of a camera that moves meanwhile, nothing is said after that
        self._cameras: set[str] = set()
        self._troubles: dict[
            str, dict[StatusReason, str]
        ] = {}  # by camera and reason: what was seen

    @property
    def has_cameras(self) -> bool:
        """Whether any camera is expected or was seen; a topic may have none so far."""
        return bool(self._cameras)

    def expect(self, camera_ids: Iterable[str]) -> None:
        """Say of cameras that are known beforehand that they are being connected to."""
        for camera_id in camera_ids:
            self._cameras.add(camera_id)
            if self._status.state(camera_id) is None:
                self._status.set(camera_id, "connecting")

    def connect(self, build: Callable[[Wanted, Tell], FrameSource]) -> FrameSource:
        """Build the next connection, whose cameras are sampled anew."""
        self._sampler.reset()
        return build(self._sampler.wanted, self.told)

    def told(self, camera_id: str, reason: StatusReason, detail: str | None) -> None:
        """Say of a camera that its source finds it so; with None, that this is over.

        Raises:
            OutboxError: a change of the camera's state could not be stored.
        """
        if reason == "moved":
            with self._coming:
                self._moved(camera_id, detail or "")
            return
        troubles = self._troubles.setdefault(camera_id, {})
        if detail is None:  # which its next frame will show
            troubles.pop(reason, None)
        else:
            self._cameras.add(camera_id)
            troubles[reason] = detail
            self._tell_condition(camera_id)

    def take(self, frame: Frame, source: FrameSource) -> None:
        """Take a frame that `source` has yielded; blocks while its lane holds the source back.

        Raises:
            OutboxError: a change of the camera's state could not be stored.
        """
        with self._coming:
            if frame.has_moved:  # its record comes again, here or elsewhere
                return
            self._cameras.add(frame.camera_id)
            self._settlements.expect(frame, source)
            frame = masked(frame, self._private)
            self._status.seen(frame)
            self._tell_state(frame)
        dropped = self._lane_of(frame.camera_id).offer(frame)
        if dropped is not None:
            self._observer.count(FRAMES_DROPPED, camera=dropped.camera_id)
            self._settlements.settle(dropped)

    def lost(
        self,
        reason: StatusReason,
        detail: str,
        *,
        is_over: bool = False,
        next_try_s: float | None = None,
    ) -> None:
        """Say of all cameras that they are offline; the next frame of each is a refresh.

        Args:
            reason: why, in one word.
            detail: for people.
            is_over: they do not come back, as a file that has been played.
            next_try_s: seconds until they are connected to again.

        Raises:
            OutboxError: a change of a camera's state could not be stored.
        """
        self._freeze_watch.reset()
        self._troubles.clear()
        for camera_id in sorted(self._cameras):
            self._lane_of(camera_id).reset()
            self._observer.set(CAMERA_UP, 0, camera=camera_id)
            self._observer.count(CAMERA_FAILURES, camera=camera_id, reason=reason)
            if self._status.set(
                camera_id,
                "offline",
                reason=reason,
                detail=detail,
                is_over=is_over,
                next_try_s=next_try_s,
            ):
                log.warning("camera_offline", camera=camera_id, reason=reason, detail=detail)

    def _moved(self, camera_id: str, detail: str) -> None:
        """Say that another worker has a camera now, and speak of it no more."""
        self._cameras.discard(camera_id)
        self._troubles.pop(camera_id, None)
        self._freeze_watch.forget(camera_id)
        is_told_of = self._status.state(camera_id) is not None
        if is_told_of and self._status.set(camera_id, "offline", reason="moved", detail=detail):
            log.info("camera_moved", camera=camera_id, detail=detail)
        self._status.remove(camera_id)
        self._observer.forget(camera=camera_id)
        self._settlements.end(camera_id)

    def _tell_state(self, frame: Frame) -> None:
        """Publish that frames arrive, and what becomes of them if that is less than was asked."""
        camera_id = frame.camera_id
        if self._freeze_watch.is_frozen(frame):
            if self._status.set(camera_id, "frozen", reason="identical_frames"):
                log.warning("camera_frozen", camera=camera_id)
            return
        self._tell_condition(camera_id)

    def _tell_condition(self, camera_id: str) -> None:
        first = next(iter(self._troubles.get(camera_id, {}).items()), None)
        now = _trouble(*first) if first else self._condition_of(camera_id)
        if self._status.set(camera_id, now.state, reason=now.reason, detail=now.detail):
            if now.state == "online":
                log.info("camera_online", camera=camera_id)
            else:
                said = f"camera_{now.state}"
                log.warning(said, camera=camera_id, reason=now.reason, detail=now.detail)
            self._observer.set(CAMERA_UP, now.state != "offline", camera=camera_id)
            if now.state == "offline" and now.reason:
                self._observer.count(CAMERA_FAILURES, camera=camera_id, reason=now.reason)
