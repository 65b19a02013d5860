"""A runner with everything around it in reach, and what its tests show it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import count
from math import inf

from model.types import Answer, PatchGrid, Question
from pipeline.admission_backlog import AdmissionBacklog
from pipeline.caption_gate import When
from pipeline.control import Control
from pipeline.event_machines import EventMachines
from pipeline.events import EventRule
from pipeline.evidence import Evidence
from pipeline.lane import Lanes
from pipeline.load import Load
from pipeline.pruner import Pruner
from pipeline.questions import CAPTION_ID, StandingQuestion
from pipeline.rebuilding import Rebuilding
from pipeline.runner import Runner
from pipeline.sources.base import NO_PAST, Past
from pipeline.status import StatusBoard
from pipeline.tenures import Tenures
from pipeline.ticks import Ticks
from pipeline.types import Frame, Overflow
from pipeline.visits import Visits
from tests.fakes import (
    EPOCH,
    SMALL,
    FakeClock,
    ListReplies,
    Recorder,
    ScriptedEngine,
    frame_at,
    picture,
)

CAPTION = StandingQuestion(CAPTION_ID, Question("caption", "Describe."), every_s=10.0)
FIRE = StandingQuestion(
    "fire",
    Question("yes_no", "Is there fire?"),
    every_s=5.0,
    rule=EventRule(confirm_n=1, confirm_m=1),
)


def said(kind: str, value: str | int, p: float | None = None) -> Answer:
    return Answer(kind, value, p, 1)


class Bench:
    """A runner with everything around it in reach."""

    def __init__(
        self,
        *questions: StandingQuestion,
        answers: Callable[[str, Question], Answer],
        states: Mapping[str, str] = {},
        window_s: float = 180.0,
        clock: FakeClock | None = None,
        past: Past = NO_PAST,
        caption_when: When = "periodic",
        evidence: Evidence | None = None,
        paused: tuple[str, ...] = (),
    ) -> None:
        self.clock = clock or FakeClock()
        self.lanes = Lanes(
            lambda _camera_id: Pruner(mode="last_seen", max_staleness_s=inf), clock=self.clock
        )
        self.ticks = Ticks(period_s=1.0, per_period=4)
        self.load = Load(max_age_s=2.0, period_s=1.0, recover_after_s=30.0)
        self.admission_backlog = AdmissionBacklog()
        self.engine = ScriptedEngine(answers, window_s)
        self.replies = ListReplies()
        self.observer = Recorder()
        self.settled: list[Frame] = []
        self.status = StatusBoard(lambda _message: None, clock=self.clock)
        self.visits = Visits(clock=self.clock)
        self.control = Control(questions)
        numbers = count(1)
        self.runner = Runner(
            self.lanes,
            self.engine,
            questions=questions,
            replies=self.replies,
            settle=self.settled.append,
            clock=self.clock,
            observer=self.observer,
            machines=EventMachines(
                questions,
                states=states,
                may_come=lambda camera_id: not camera_id.startswith("gone"),
                forget_after_s=600.0,
                clock=self.clock,
                paused=paused,
                new_id=lambda *_about: f"e{next(numbers)}",
            ),
            status=self.status,
            ticks=self.ticks,
            load=self.load,
            admission_backlog=self.admission_backlog,
            tenures=Tenures(clock=self.clock),
            forget_after_s=600.0,
            rebuilding=Rebuilding(
                self.engine,
                self.lanes,
                past,
                window_s=window_s,
                together=1,
                clock=self.clock,
                observer=self.observer,
            ),
            visits=self.visits,
            evidence=evidence,
            caption_when=caption_when,
            control=self.control,
        )

    def show(self, *frames: Frame) -> None:
        for frame in frames:
            self.lanes.lane(frame.camera_id, overflow=Overflow.WAIT).offer(frame)
            self.clock.seconds = frame.pts_s + 0.25
            self.runner.step()

    def caption_seconds(self) -> list[int]:
        """When the frames were taken that captions are about, in seconds of the stream."""
        taken = [datetime.fromisoformat(str(one["captured_at"])) for one in self.data("caption")]
        return [round((at - EPOCH).total_seconds()) for at in taken]

    def data(self, kind: str) -> list[dict[str, object]]:
        return [message.body["data"] for message in self.replies.messages if message.kind == kind]


def changing(pts_s: float, *, grid: PatchGrid = SMALL) -> Frame:
    """A frame of which one token differs from the second before's."""
    pixels = picture(grid=grid)
    pixels[:28, :28] = 40 + 40 * (int(pts_s) % 5)
    return frame_at(pts_s, pixels, grid=grid)


def scripted(p: float) -> Callable[[str, Question], Answer]:
    def answer(_camera_id: str, question: Question) -> Answer:
        if question.kind == "caption":
            return said("caption", "a yard")
        return said("yes_no", "yes" if p >= 0.5 else "no", p)

    return answer


def offer(bench: Bench, *frames: Frame) -> None:
    """Offer frames, live, and step once."""
    for frame in frames:
        bench.lanes.lane(frame.camera_id, overflow=Overflow.LATEST).offer(frame)
    bench.runner.step()


def crowd(bench: Bench, pts_s: float, number: int, *, first: int = 0) -> None:
    """Offer a frame of each of so many cameras, live, and step."""
    for n in range(first, number):
        lane = bench.lanes.lane(f"c{n}", overflow=Overflow.LATEST)
        lane.offer(replace(changing(pts_s), camera_id=f"c{n}"))
    bench.runner.step()
