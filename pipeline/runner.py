"""The way of a frame, from the lanes to the outbox. The only file that sees every stage."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event
from typing import Protocol, TypeVar

from model.types import Answer, PrunedFrame, Question, Window
from pipeline.clock import Clock
from pipeline.events import EventMachine
from pipeline.lane import Lanes
from pipeline.messages import (
    Circumstances,
    Message,
    answer_message,
    caption_message,
    event_message,
)
from pipeline.questions import Schedule, StandingQuestion
from pipeline.types import Frame, SentFrame

T = TypeVar("T")

IDLE_S = 0.5  # how long the loop sleeps without a frame before it looks at `stop` again


class Engine(Protocol):
    """What the runner asks of the model. Not guaranteed: that two calls may run at once."""

    @property
    def model_name(self) -> str:
        """Its name, as messages give it."""
        ...

    def append(self, frames: Sequence[PrunedFrame]) -> None:
        """Encode frames of several cameras and grow their contexts."""
        ...

    def ask(self, asks: Sequence[tuple[str, Question]]) -> list[Answer]:
        """Answer questions over the cameras' contexts, in the order given."""
        ...

    def window(self, stream_id: str) -> Window | None:
        """Return what a camera's context covers, or None before its first frame."""
        ...


class Replies(Protocol):
    """Where messages are safe: `put` returns once they are, and gives them their numbers."""

    def put(
        self, messages: Sequence[Message], *, states: Mapping[str, str] | None = None
    ) -> None: ...


class Observer(Protocol):
    """What the metrics want to know. Must return at once."""

    def frame_sent(self, sent: SentFrame, *, age_s: float) -> None: ...

    def stage_done(self, stage: str, seconds: float) -> None: ...

    def reply_made(self, message: Message) -> None: ...


@dataclass(frozen=True, slots=True)
class _Ask:
    """A question due on a camera's newest frame; `answer` is filled when the old one stands."""

    sent: SentFrame
    standing: StandingQuestion
    answer: Answer | None


@dataclass(slots=True)
class _Camera:
    """What the runner remembers of one camera."""

    schedule: Schedule
    machines: dict[str, EventMachine]
    version: int = 0  # grows with every frame that added a token to the context
    answered: dict[str, tuple[int, Answer]] = field(default_factory=dict)  # by question: version
    kept: deque[tuple[float, int, int]] = field(default_factory=deque)  # (pts_s, kept, total)


class Runner:
    """Grow contexts by what the cameras sent, answer what is due, hand the replies over."""

    def __init__(
        self,
        lanes: Lanes,
        engine: Engine,
        *,
        questions: Sequence[StandingQuestion],
        replies: Replies,
        settle: Callable[[Frame], None],
        clock: Clock,
        observer: Observer,
        new_machine: Callable[[str, StandingQuestion], EventMachine | None],
    ) -> None:
        """Begin with no camera; each comes with its first frame.

        Args:
            lanes: where frames come from.
            engine: the model.
            questions: standing questions, the caption among them.
            replies: the outbox.
            settle: told of every frame whose replies are in the outbox.
            clock: for inference times.
            observer: metrics.
            new_machine: (camera_id, question) -> its event machine, where it was left by the
                process before this one; None for a question that makes no events.
        """
        self._lanes = lanes
        self._engine = engine
        self._questions = questions
        self._replies = replies
        self._settle = settle
        self._clock = clock
        self._observer = observer
        self._new_machine = new_machine
        self._cameras: dict[str, _Camera] = {}

    def run(self, stop: Event, *, beat: Callable[[], None]) -> None:
        """Step until `stop`; call `beat` after every step."""
        while not stop.is_set():
            self.step(timeout_s=IDLE_S)
            beat()

    def step(self, *, timeout_s: float) -> int:
        """Take the waiting frames through to the outbox; return how many there were."""
        # 1. take: from here on the pruner counts these frames as seen by the model
        sent = self._lanes.take(timeout_s)
        if not sent:
            return 0
        # 2. grow the contexts by what changed
        changed = [one.pruned for one in sent if one.pruned.num_kept]
        if changed:
            self._timed("append", lambda: self._engine.append(changed))
        for one in sent:
            self._note(one)
        # 3. answer what is due; where no token was added since, the answer stands
        asks = [ask for one in sent for ask in self._due(one)]
        answers = self._timed("ask", lambda: self._answer(asks))
        # 4. replies and event states into the outbox, together
        messages: list[Message] = []
        states: dict[str, str] = {}
        for ask, answer in zip(asks, answers, strict=True):
            messages += self._replies_to(ask, answer, states=states)
        if messages:
            self._replies.put(messages, states=states)
        for message in messages:
            self._observer.reply_made(message)
        # 5. only now may a broker forget the records
        for one in sent:
            self._settle(one.frame)
        return len(sent)

    def _note(self, sent: SentFrame) -> None:
        camera = self._camera(sent.frame.camera_id)
        camera.version += sent.pruned.num_kept > 0
        pts_s, total = sent.frame.pts_s, sent.frame.grid.num_tokens
        window = self._engine.window(sent.frame.camera_id)
        if camera.kept and pts_s < camera.kept[-1][0]:
            camera.kept.clear()
        camera.kept.append((pts_s, sent.pruned.num_kept, total))
        while window and camera.kept[0][0] < window.start_pts_s and len(camera.kept) > 1:
            camera.kept.popleft()
        age = self._clock.now() - sent.frame.captured_at
        self._observer.frame_sent(sent, age_s=age.total_seconds())

    def _due(self, sent: SentFrame) -> list[_Ask]:
        camera = self._camera(sent.frame.camera_id)
        asks = []
        for standing in camera.schedule.due(sent.frame.pts_s):
            version, answer = camera.answered.get(standing.id, (-1, None))
            stands = answer if version == camera.version else None
            if stands is None or standing.question.kind != "caption":  # a caption is not repeated
                asks.append(_Ask(sent, standing, stands))
        return asks

    def _answer(self, asks: Iterable[_Ask]) -> list[Answer]:
        new = [ask for ask in asks if ask.answer is None]
        answers = iter(
            self._engine.ask([(ask.sent.frame.camera_id, ask.standing.question) for ask in new])
            if new
            else ()
        )
        return [ask.answer or next(answers) for ask in asks]

    def _replies_to(self, ask: _Ask, answer: Answer, *, states: dict[str, str]) -> list[Message]:
        camera = self._camera(ask.sent.frame.camera_id)
        standing = ask.standing
        camera.answered[standing.id] = (camera.version, answer)
        circumstances = self._circumstances(ask.sent)
        if answer.kind == "caption":
            return [caption_message(circumstances, text=answer.text)]
        published = _published(answer, standing)
        messages = [
            answer_message(
                circumstances,
                question_id=standing.id,
                question=standing.question.text,
                kind=answer.kind,
                answer=published,
                p=answer.p,
                reused=ask.answer is not None,
            )
        ]
        machine = camera.machines.get(standing.id)
        if machine is None:
            return messages
        p = None if published == "unknown" else _event_p(answer, standing)
        transition = machine.step(p, ask.sent.frame.captured_at)
        if transition is not None:
            states[state_name(ask.sent.frame.camera_id, standing)] = machine.snapshot()
            messages.append(
                event_message(
                    circumstances,
                    question_id=standing.id,
                    question=standing.question.text,
                    kind=answer.kind,
                    phase=transition.phase,
                    event_id=transition.event_id,
                    answer=published,
                    p=transition.p,
                    started_at=transition.started_at,
                    ended_at=transition.ended_at,
                )
            )
        return messages

    def _circumstances(self, sent: SentFrame) -> Circumstances:
        frame = sent.frame
        camera = self._camera(frame.camera_id)
        window = self._engine.window(frame.camera_id)
        start_pts_s = window.start_pts_s if window else frame.pts_s
        return Circumstances(
            camera_id=frame.camera_id,
            captured_at=frame.captured_at,
            inferred_at=self._clock.now(),
            window_start=_earlier(frame.captured_at, frame.pts_s - start_pts_s),
            window_end=frame.captured_at,
            window_frames=window.num_frames if window else 0,
            tokens_kept=sum(kept for _, kept, _ in camera.kept),
            tokens_total=sum(total for _, _, total in camera.kept),
            model=self._engine.model_name,
            degraded=False,
        )

    def _camera(self, camera_id: str) -> _Camera:
        if camera_id not in self._cameras:
            machines = {
                standing.id: machine
                for standing in self._questions
                if (machine := self._new_machine(camera_id, standing)) is not None
            }
            self._cameras[camera_id] = _Camera(Schedule(camera_id, self._questions), machines)
        return self._cameras[camera_id]

    def _timed(self, stage: str, work: Callable[[], T]) -> T:
        begun_s = self._clock.monotonic_s()
        result = work()
        self._observer.stage_done(stage, self._clock.monotonic_s() - begun_s)
        return result


def _published(answer: Answer, standing: StandingQuestion) -> str | int:
    """Return the answer as it stands in messages: a yes or no that is in doubt is `unknown`."""
    if answer.kind == "yes_no" and answer.p is not None:
        low, high = standing.unknown_band
        return "unknown" if low <= answer.p < high else answer.text
    return int(answer.text) if answer.kind == "count" else answer.text


def _event_p(answer: Answer, standing: StandingQuestion) -> float | None:
    """Return how probable it is that what the event is about holds.

    For a choice or count other than the event's own this is what is left beside the answer given:
    an upper bound, so that a doubtful answer neither starts nor ends an event.
    """
    if answer.p is None:
        return None
    if isinstance(standing.event_on, int):
        return answer.p if int(answer.text) >= standing.event_on else 1.0 - answer.p
    if isinstance(standing.event_on, str):
        return answer.p if answer.text == standing.event_on else 1.0 - answer.p
    return answer.p


def state_name(camera_id: str, standing: StandingQuestion) -> str:
    """Return the name an event machine's snapshot has in the outbox."""
    return f"{camera_id}/{standing.id}"


def _earlier(at: datetime, seconds: float) -> datetime:
    return at - timedelta(seconds=max(0.0, seconds))
