"""Windows of cameras that come from elsewhere: their past is shown beside their live frames.

A camera whose context has no past is answered at once, by what little the model has seen. Beside
it a *shadow*, a stream of its own with a pruner of its own, is shown what came before, while nobody
else needs the model. Once the shadow has seen every frame that the camera has, the camera goes on
with it, between two ticks.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Literal

import structlog

from model.errors import AdmissionError, DeviceMemoryError
from model.types import Window
from pipeline.camera_session import Shown
from pipeline.clock import Clock
from pipeline.engine import Contexts
from pipeline.errors import SourceError
from pipeline.lane import Lanes
from pipeline.metrics import WINDOW_REBUILD_FRAMES, WINDOW_REBUILD_SECONDS, WINDOW_REBUILDS
from pipeline.observer import Observer
from pipeline.pruner import Pruner
from pipeline.sources.base import Past, PastFrames, Seen
from pipeline.types import Frame, PrunedSample

REACH = 0.75
"""How far back, in windows. What a camera's window covers lies between a half and a whole one; a
context that began a whole one ago would retire as soon as it had caught up."""
MAX_TOGETHER = 4  # past frames of a camera in one pass; on a GPU its time is known only afterwards
TURN_S = 0.05  # for past frames where no live one waits, as one may come at any time
LOOK_S = 0.05  # how soon it is looked again for past frames that are read, replies that arrive
MAX_TAIL = 16  # live frames kept for the shadow; where more come, they are read again
MAX_TRIES = 3
RETRY_S = 5.0

NO_PAST_WORDS = "no older picture is to be had"

Outcome = Literal["rebuilt", "nothing", "no_room", "failed", "outgrown"]

log = structlog.get_logger("vigil")


@dataclass(slots=True)
class _Young:
    """A camera whose context has no past.

    Attributes:
        group: what its past is read together with.
        live: what the model was shown of it since.
        tries: how often its past was not to be had.
        from_s: not tried before, monotonic.
    """

    group: int
    live: list[Seen] = field(default_factory=list)
    tries: int = 0
    from_s: float = -inf


@dataclass(slots=True)
class _Shadow:
    """The stream that is to replace a camera's own.

    Attributes:
        camera_id: whose past it is.
        young: that camera as it is.
        pruner: knows what this stream was shown.
        frames: what is still to be shown.
        begun_s: since when it is being grown, monotonic.
        shown: what it was shown, as far as its window has it.
        tail: live frames after those; None where there were too many.
        num_frames: shown in all.
        num_pending: taken, to be shown in the next pass.
    """

    camera_id: str
    young: _Young
    pruner: Pruner
    frames: PastFrames
    begun_s: float
    shown: Shown = field(default_factory=Shown)
    tail: deque[Frame] | None = field(default_factory=deque)
    num_frames: int = 0
    num_pending: int = 0

    @property
    def stream_id(self) -> str:
        """No camera's id: those have no `+`."""
        return f"{self.camera_id}+past"


class Rebuilding:
    """Rebuilds windows, a few cameras at a time, on the thread that infers.

    Attributes:
        rebuilt: told of a camera that goes on with another context, and of which frames.
    """

    def __init__(
        self,
        engine: Contexts,
        lanes: Lanes,
        past: Past,
        *,
        window_s: float,
        together: int,
        clock: Clock,
        observer: Observer,
    ) -> None:
        """Begin with no camera.

        Args:
            engine: the model.
            lanes: have the cameras' pruners.
            past: where earlier frames come from.
            window_s: the longest window.
            together: cameras at a time; more than one pays where a pass over several costs hardly
                more than over one.
            clock: for the time that past frames take.
            observer: told what becomes of it.
        """
        self._engine = engine
        self._lanes = lanes
        self._past = past
        self._window_s = window_s
        self._together = together
        self.rebuilt: Callable[[str, Shown], None] = lambda _camera_id, _shown: None
        self._clock = clock
        self._observer = observer
        self._young: dict[str, _Young] = {}
        self._shadows: dict[str, _Shadow] = {}  # by camera
        self._full_until_s = -inf  # monotonic: for more than one there was no room
        self._cost_s = 0.0  # of a past frame, as they were lately

    @property
    def is_pending(self) -> bool:
        """Whether there is anything to rebuild."""
        return bool(self._young)

    def seen(self, frame: Frame, window: Window | None) -> None:
        """Note a live frame that the model was shown, with which its window is `window`."""
        camera_id = frame.camera_id
        if window is not None and window.start_pts_s == frame.pts_s:  # it has no past
            self.forget(camera_id)
            group = self._past.group(frame.receipt)
            if group is not None:
                self._young[camera_id] = _Young(group)
        young = self._young.get(camera_id)
        if young is None or window is None:
            return
        if window.end_pts_s - window.start_pts_s >= self._window_s / 2:
            self._give_up(camera_id, "outgrown", "its own window has grown to half its length")
            return
        young.live.append(Seen(frame.pts_s, frame.receipt))
        shadow = self._shadows.get(camera_id)
        if shadow is not None and shadow.tail is not None:
            shadow.tail.append(frame)
            if len(shadow.tail) > MAX_TAIL:
                shadow.tail = None

    def work(self, until_s: float | None = None) -> None:
        """Show past frames: as many as surely fit before `until_s`; without that, for one turn."""
        while self._young:
            self._begin()
            left_s = TURN_S if until_s is None else until_s - self._clock.monotonic_s()
            number = int(left_s / self._cost_s) if self._cost_s else 1
            if left_s <= 0 or (number < 1 and until_s is not None):
                return
            num_shadows = len(self._shadows)
            frames = self._next_of_all(max(1, number))
            if frames:
                self._show(frames)
                if until_s is None:
                    return
            elif len(self._shadows) == num_shadows:  # they wait to be read
                return

    def give_way(self) -> bool:
        """Free what is held for windows that are being rebuilt; say whether anything was."""
        given = [one for one in self._shadows.values() if one.num_frames]
        for shadow in given:
            self._give_up(shadow.camera_id, "no_room", "the memory is needed for live frames")
        return bool(given)

    def forget(self, camera_id: str) -> None:
        """Stop rebuilding a camera's window."""
        self._young.pop(camera_id, None)
        self._drop(camera_id)

    def close(self) -> None:
        """Stop for good."""
        for camera_id in list(self._young):
            self.forget(camera_id)
        self._past.close()

    def _begin(self) -> None:
        """Turn to the camera that has waited longest, and to others whose past is read with its."""
        now_s = self._clock.monotonic_s()
        due = [one for one in self._young.items() if one[1].from_s <= now_s]
        if self._shadows or not due:
            return
        first = due[0][1].group
        due.sort(key=lambda one: one[1].group != first)
        most = self._together if now_s >= self._full_until_s else 1
        for camera_id, young in due[:most]:
            since_s = young.live[-1].pts_s - REACH * self._window_s
            frames = self._open(camera_id, young, since_s)
            pruner = self._lanes.new_pruner(camera_id)
            shadow = _Shadow(camera_id, young, pruner, frames, begun_s=now_s)
            self._shadows[camera_id] = shadow

    def _open(self, camera_id: str, young: _Young, since_s: float) -> PastFrames:
        return self._past.open(camera_id, tuple(young.live), since_s=since_s)

    def _next_of_all(self, number: int) -> list[tuple[_Shadow, Frame]]:
        """Take the shadows' next frames, in turns, at most so many; end shadows that are done."""
        frames: list[tuple[_Shadow, Frame]] = []
        for _ in range(MAX_TOGETHER):
            before = len(frames)
            for shadow in list(self._shadows.values()):
                if len(frames) < number and (frame := self._next_or_end(shadow)) is not None:
                    frames.append((shadow, frame))
            if len(frames) == before:
                break
        return [one for one in frames if self._shadows.get(one[0].camera_id) is one[0]]

    def _next_or_end(self, shadow: _Shadow) -> Frame | None:
        """Take the next frame for a shadow that has room; without one, see whether it has all."""
        try:
            frame = self._next_one(shadow)
        except SourceError as error:
            self._failed(shadow, error)
            return None
        if frame is None:
            if not shadow.num_pending:
                self._end_if_done(shadow)
            return None
        if not shadow.num_frames and not shadow.num_pending:
            if frame.pts_s >= shadow.young.live[0].pts_s:
                self._give_up(shadow.camera_id, "nothing", NO_PAST_WORDS)
                return None
            if not self._has_room(shadow, frame):
                return None
        shadow.num_pending += 1
        return frame

    def _has_room(self, shadow: _Shadow, frame: Frame) -> bool:
        """Say whether the engine takes a shadow; where it does not, it waits for the others."""
        try:
            self._engine.admit(shadow.stream_id, frame.grid)
        except AdmissionError as error:
            if not any(one.num_frames for one in self._shadows.values()):
                self._give_up(shadow.camera_id, "no_room", str(error))
            else:
                self._full_until_s = self._clock.monotonic_s() + RETRY_S
                self._postpone(shadow)
            return False
        return True

    def _next_one(self, shadow: _Shadow) -> Frame | None:
        if not shadow.frames.is_over:
            return shadow.frames.take()
        if shadow.tail is not None:
            return shadow.tail.popleft() if shadow.tail else None
        end_pts_s = shadow.shown.end_pts_s
        shadow.tail = deque()  # read again what there was no room for
        since_s = shadow.young.live[0].pts_s if end_pts_s is None else end_pts_s
        shadow.frames.close()
        shadow.frames = self._open(shadow.camera_id, shadow.young, since_s)
        return None

    def _end_if_done(self, shadow: _Shadow) -> None:
        """Let a camera go on with its shadow once that has seen all that the camera has."""
        if not shadow.frames.is_over:
            return
        if shadow.num_frames:
            self._swap(shadow)
        else:
            self._give_up(shadow.camera_id, "nothing", NO_PAST_WORDS)

    def _show(self, frames: Sequence[tuple[_Shadow, Frame]]) -> None:
        """Let shadows see frames; without memory for that, their cameras go on as they are."""
        begun_s = self._clock.monotonic_s()
        samples = []
        for shadow, frame in frames:
            shadow.num_pending = 0
            pruned = shadow.pruner.prune(replace(frame, camera_id=shadow.stream_id))
            shadow.pruner.sent(pruned)
            samples.append((shadow, PrunedSample(frame, pruned, begun_s, is_live=False)))
        try:
            self._engine.append([one.pruned for _, one in samples], may_shed=False)
        except (AdmissionError, DeviceMemoryError) as error:
            for camera_id in {shadow.camera_id for shadow, _ in samples}:
                self._give_up(camera_id, "no_room", str(error))
            return
        for shadow, one in samples:
            shadow.shown.note(one, self._engine.window(shadow.stream_id))
            shadow.num_frames += 1
        self._observer.count(WINDOW_REBUILD_FRAMES, len(samples))
        cost_s = (self._clock.monotonic_s() - begun_s) / len(samples)
        self._cost_s += (cost_s - self._cost_s) / 4 if self._cost_s else cost_s

    def _swap(self, shadow: _Shadow) -> None:
        """Let the camera go on with what the shadow was shown."""
        camera_id = shadow.camera_id
        self._engine.take_over(camera_id, shadow.stream_id)
        self._lanes.adopt(camera_id, shadow.pruner)
        self.rebuilt(camera_id, shadow.shown)
        window = self._engine.window(camera_id)
        took_s = self._clock.monotonic_s() - shadow.begun_s
        log.info(
            "window_rebuilt",
            camera=camera_id,
            reaches_back_s=round(window.end_pts_s - window.start_pts_s, 1) if window else 0.0,
            frames=shadow.num_frames,
            took_s=round(took_s, 2),
        )
        self._observer.count(WINDOW_REBUILDS, outcome="rebuilt")
        self._observer.observe(WINDOW_REBUILD_SECONDS, took_s)
        shadow.frames.close()
        del self._shadows[camera_id], self._young[camera_id]

    def _failed(self, shadow: _Shadow, error: SourceError) -> None:
        young = shadow.young
        young.tries += 1
        if young.tries >= MAX_TRIES:
            self._give_up(shadow.camera_id, "failed", f"{error.reason}: {error}")
            return
        self._postpone(shadow)

    def _postpone(self, shadow: _Shadow) -> None:
        """Try a camera again later, after the others."""
        self._drop(shadow.camera_id)
        shadow.young.from_s = self._clock.monotonic_s() + RETRY_S
        self._young[shadow.camera_id] = self._young.pop(shadow.camera_id)

    def _give_up(self, camera_id: str, outcome: Outcome, detail: str) -> None:
        self.forget(camera_id)
        self._observer.count(WINDOW_REBUILDS, outcome=outcome)
        log.info("window_not_rebuilt", camera=camera_id, reason=outcome, detail=detail)

    def _drop(self, camera_id: str) -> None:
        shadow = self._shadows.pop(camera_id, None)
        if shadow is not None:
            shadow.frames.close()
            self._engine.remove(shadow.stream_id)
