"""Clips played through a whole worker, and what came of them, in seconds of each clip."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Thread
from typing import Any, Literal

from model import Engine
from model.engine.around import AroundEngine
from model.engine.last_frames import LastFrames
from model.types import Answer, PrunedFrame, Question
from pipeline.clock import Clock
from pipeline.errors import ConfigError
from worker.benchmarks.report import Progress
from worker.evaluation.labelled.footage import Clip
from worker.evaluation.labelled.listening import Listener
from worker.fidelity import Fidelity
from worker.loading import engine_config
from worker.parts import Worker
from worker.settings import Settings
from worker.supervisor import Supervisor
from worker.wiring import build

WayName = Fidelity | Literal["last4"]
REPORT_EVERY_S = 10.0
_SLACK_S = 1e-3  # messages round to a millisecond


@dataclass(frozen=True, slots=True)
class Said:
    """An answer as it was published.

    Attributes:
        t_s: of the frame it is about.
        question_id: of the question.
        answer: as published; `unknown` among others.
        reason: why it is `unknown`; None where it is not.
        raw: what the model gave, whatever was published of it; None where it was not asked.
    """

    t_s: float
    question_id: str
    answer: str | int
    reason: str | None
    raw: Answer | None


@dataclass(frozen=True, slots=True)
class Told:
    """An event as it was published.

    Attributes:
        question_id: of the question.
        start_s: of the first frame that spoke for it.
        announced_s: of the frame it was announced at.
        end_s: when it ended; None where the clip ended first.
    """

    question_id: str
    start_s: float
    announced_s: float
    end_s: float | None = None


@dataclass(frozen=True, slots=True)
class Played:
    """What a worker made of a clip.

    Attributes:
        clip: which.
        answers: every one, oldest first.
        events: every one, oldest first.
        until_s: how long the clip lasts.
        num_frames: sampled.
        num_kept: tokens that the model was given.
        num_tokens: tokens that the sampled frames would have had whole.
        engine_s: seconds that the model took.
        trouble: why the clip was not played to its end; empty where it was.
    """

    clip: Clip
    answers: tuple[Said, ...]
    events: tuple[Told, ...]
    until_s: float
    num_frames: int
    num_kept: int
    num_tokens: int
    engine_s: float
    trouble: str = ""


class Noted(AroundEngine[Engine | AroundEngine[Any]]):
    """An engine on which is noted what it is shown, what it answers and how long that takes."""

    def __init__(self, engine: Engine | AroundEngine[Any], *, clock: Clock) -> None:
        super().__init__(engine)
        self._clock = clock
        self._rereads = isinstance(engine, LastFrames)
        self.times_s: list[float] = []  # of the frames
        self.num_kept = self.num_tokens = 0
        self.engine_s = 0.0
        self._answers: dict[Question, tuple[list[float], list[Answer]]] = {}

    def append(self, frames: Sequence[PrunedFrame], *, may_shed: bool = True) -> None:
        begun_s = self._clock.monotonic_s()
        self._engine.append(frames, may_shed=may_shed)
        self.engine_s += self._clock.monotonic_s() - begun_s
        for frame in frames:
            self.times_s.append(frame.pts_s)
            self.num_tokens += frame.grid.num_tokens
            if not self._rereads:
                self.num_kept += frame.grid.num_tokens if frame.is_refresh else frame.num_kept

    def ask(self, asks: Sequence[tuple[str, Question]]) -> list[Answer]:
        begun_s = self._clock.monotonic_s()
        answers = self._engine.ask(asks)
        self.engine_s += self._clock.monotonic_s() - begun_s
        for (_, question), answer in zip(asks, answers, strict=True):
            times_s, given = self._answers.setdefault(question, ([], []))
            times_s.append(self.times_s[-1])
            given.append(answer)
        if self._rereads:
            windows = [self._engine.window(one) for one in {stream_id for stream_id, _ in asks}]
            self.num_kept += sum(window.num_tokens for window in windows if window)
        return answers

    def answered(self, question: Question, t_s: float) -> Answer | None:
        """Return the answer that stood at a moment; None where there was none."""
        times_s, given = self._answers.get(question, ([], []))
        place = bisect_right(times_s, t_s + _SLACK_S) - 1
        return given[place] if place >= 0 else None


def engine_for(loaded: Engine, settings: Settings, way: WayName) -> Engine | LastFrames:
    """Put an engine by these settings on a model that is loaded already."""
    config = engine_config(settings)
    if way == "last4":
        config = LastFrames.config_for(config)
    engine = Engine(loaded.family, model_name=loaded.model_name, config=config)
    return LastFrames(engine) if way == "last4" else engine


def play(
    settings: Settings,
    clip: Clip,
    engine: Engine | AroundEngine[Any],
    *,
    clock: Clock,
    progress: Progress,
) -> Played:
    """Play one clip to its end, or as far as it can be read.

    Args:
        settings: of `settings_for`.
        clip: what they play.
        engine: what answers.
        clock: for the worker and for what is measured.
        progress: told how far it is.

    Raises:
        ConfigError: nothing of the clip can be read, or the worker failed.
    """
    noted, listener = Noted(engine, clock=clock), Listener()
    worker = build(settings, clock=clock, engine=noted, publisher=listener)
    trouble = _run(worker, clip, clock=clock, progress=progress)
    if not noted.times_s:
        raise ConfigError(f"eval: {clip.path}: expected a video, got {trouble or 'no picture'}")
    period_s = 1.0 / settings.sample_fps
    reader = _Reader(settings, listener, noted)
    return Played(
        clip,
        reader.answers(),
        reader.events(),
        until_s=noted.times_s[-1] + period_s,
        num_frames=len(noted.times_s),
        num_kept=noted.num_kept,
        num_tokens=noted.num_tokens,
        engine_s=noted.engine_s,
        trouble=trouble,
    )


def _run(worker: Worker, clip: Clip, *, clock: Clock, progress: Progress) -> str:
    """Run a worker until its clip is over; return why it could not be played to its end."""
    supervisor = Supervisor(worker)
    status: list[int] = []
    running = Thread(target=lambda: status.append(supervisor.run(health_port=0)), daemon=True)
    running.start()
    told_s, trouble = clock.monotonic_s(), ""
    while running.is_alive():
        running.join(0.1)
        reason = worker.status.reason(clip.camera)
        is_lost = worker.status.state(clip.camera) == "offline" and reason != "worker_stopped"
        if is_lost and not worker.status.is_over(clip.camera) and not trouble:
            said = worker.status.said()[clip.camera]
            trouble = str(said.get("detail") or reason)
            supervisor.stop()
        if clock.monotonic_s() - told_s >= REPORT_EVERY_S:
            told_s = clock.monotonic_s()
            taken = sum(lane.taken for lane in worker.lanes.counts().values())
            progress(f"{clip.path.name}: {taken} frames")
    if status != [0]:
        raise ConfigError(f"eval: {clip.path}: the worker failed; its log says why")
    return trouble


@dataclass(slots=True)
class _Reader:
    """Reads a clip's messages, their times in seconds of the clip."""

    settings: Settings
    listener: Listener
    noted: Noted
    _first: datetime | None = field(init=False, default=None)

    def answers(self) -> tuple[Said, ...]:
        found = []
        for data in self._messages("answer"):
            if data["reason"] == "stalled":  # by the wall: the file is over, its last frames wait
                continue
            question = self.settings.questions[data["question_id"]]
            t_s = self._seconds(data["captured_at"])
            is_asked = data["reason"] in (None, "in_doubt", "no_answer")
            asked = Question(question.kind, question.ask, question.options)
            raw = self.noted.answered(asked, t_s) if is_asked else None
            found.append(Said(t_s, data["question_id"], data["answer"], data["reason"], raw))
        return tuple(found)

    def events(self) -> tuple[Told, ...]:
        found: dict[str, Told] = {}
        for data in self._messages("event"):
            if data["phase"] == "start":
                start_s, told_s = (self._seconds(data[x]) for x in ("started_at", "captured_at"))
                found[data["event_id"]] = Told(data["question_id"], start_s, told_s)
            elif data["phase"] == "end" and data["reason"] == "answer":
                begun = found[data["event_id"]]
                end_s = self._seconds(data["ended_at"])
                found[data["event_id"]] = Told(
                    begun.question_id, begun.start_s, begun.announced_s, end_s
                )
        return tuple(found.values())

    def _messages(self, kind: Literal["answer", "event"]) -> list[Mapping[str, Any]]:
        found = self.listener.heard(kind)
        if kind == "answer" and found:
            self._first = min(datetime.fromisoformat(data["captured_at"]) for data in found)
        return found

    def _seconds(self, at: str) -> float:
        """Give stream time to a capture time: every question is due with the first frame."""
        first = self._first or datetime.fromisoformat(at)
        passed_s = (datetime.fromisoformat(at) - first).total_seconds()
        return round(self.noted.times_s[0] + passed_s, 3)
