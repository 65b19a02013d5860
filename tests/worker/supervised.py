"""A worker of real parts around a scripted engine and a list for Redis, for a supervisor to run."""

import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from threading import Event
from typing import Any

from model.types import Answer, Question
from pipeline.admission_backlog import AdmissionBacklog
from pipeline.clock import SystemClock
from pipeline.errors import PublishError
from pipeline.event_machines import EventMachines
from pipeline.freeze_watch import FreezeWatch
from pipeline.intake import Intake, Settlements, condition_of
from pipeline.lane import Lanes
from pipeline.load import Load
from pipeline.messages import Message
from pipeline.observer import UNOBSERVED
from pipeline.outbox import Outbox
from pipeline.pruner import Pruner
from pipeline.publishers.base import PendingMessages, Publisher, nothing_new
from pipeline.questions import StandingQuestion
from pipeline.rebuilding import Rebuilding
from pipeline.regions import Region
from pipeline.runner import Runner
from pipeline.sampler import Sampler
from pipeline.sources.base import NO_PAST, FrameSource
from pipeline.status import StatusBoard
from pipeline.tenures import Tenures
from pipeline.ticks import Ticks
from pipeline.types import Overflow, Tell, Wanted
from tests.fakes import ScriptedEngine
from worker.metrics import Metrics
from worker.parts import Feed, Health, Retry, Worker
from worker.publishing import put_status
from worker.supervisor import Supervisor

ASK = StandingQuestion("fire", Question("yes_no", "Is there fire?"), every_s=1.0)


class Delivered:
    """A publisher that delivers into a list; fails while `is_down`."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.seqs: list[int] = []  # of the answers
        self.is_down = False

    def run(
        self,
        outbox: PendingMessages,
        stop: Event,
        *,
        fields: Callable[[], Mapping[str, object]] = dict,
        works: Callable[[], bool] = nothing_new,
    ) -> None:
        while True:
            fields()
            if self.is_down:
                raise PublishError("unreachable")
            batch = outbox.pending(10) if outbox.wait(0.05) else []
            self.messages += [stored.message for stored in batch]
            self.seqs += [stored.seq for stored in batch if stored.message.kind == "answer"]
            outbox.delivered([stored.row for stored in batch])
            works()
            if stop.is_set() and not batch:
                return

    def close(self) -> None: ...

    def data(self, kind: str) -> list[dict[str, Any]]:
        return [message.body["data"] for message in self.messages if message.kind == kind]


def feed(
    *sources: Callable[[], FrameSource],
    name: str = "yard",
    is_endless: bool = True,
    stuck_after_s: float | None = None,
) -> Feed:
    """A feed whose first connections are these and whose last one is made again and again."""
    left = list(sources)

    def build(_wanted: Wanted, _tell: Tell) -> FrameSource:
        return (left.pop(0) if len(left) > 1 else left[0])()

    return Feed(
        name=name,
        camera_ids=(name,),
        overflow=Overflow.WAIT,
        build=build,
        is_endless=is_endless,
        retry=Retry(base_s=0.05, cap_s=0.1),
        stuck_after_s=stuck_after_s,
    )


def make(
    *feeds: Feed,
    publisher: Publisher | None = None,
    answers: Callable[[str, Question], Answer] | None = None,
    question: StandingQuestion = ASK,
    private: Mapping[str, tuple[Region, ...]] = {},
    admission_backlog: AdmissionBacklog | None = None,
    frozen_after_s: float = 60.0,
    stall_after_s: float = 120.0,
    outbox: Outbox | None = None,
    engine: ScriptedEngine | None = None,
    redis: Callable[[Outbox, StatusBoard, Tenures], Publisher] | None = None,
) -> Supervisor:
    """A supervisor of these feeds; health answers on a free port."""
    clock = SystemClock()
    tenures = Tenures(clock=clock, has_group=redis is not None)
    lanes = Lanes(lambda _camera_id: Pruner(), clock=clock, burst_s=0.5, is_held=tenures.is_held)
    ticks = Ticks(period_s=1.0, per_period=4)
    ladder = Load(max_age_s=2.0, period_s=1.0, recover_after_s=30.0)
    backlog = admission_backlog or AdmissionBacklog()
    outbox = outbox or Outbox(None, max_bytes=10_000_000)
    engine = engine or ScriptedEngine(answers or (lambda _c, q: Answer(q.kind, "no", 0.1, 0)))
    settlements = Settlements(tenures)
    status = StatusBoard(partial(put_status, outbox, tenures), clock=clock)
    metrics = Metrics()
    worker = Worker(
        clock=clock,
        feeds=feeds,
        lanes=lanes,
        load=ladder,
        outbox=outbox,
        status=status,
        metrics=metrics,
        health=Health(bind="127.0.0.1", port=0, stall_after_s=stall_after_s),
        new_intake=lambda feed: Intake(
            partial(lanes.lane, overflow=feed.overflow),
            status,
            sampler=Sampler(
                1.0,
                is_live=feed.overflow is Overflow.LATEST,
                ticks=ticks,
                load=ladder,
                clock=clock,
            ),
            private=private,
            freeze_watch=FreezeWatch(frozen_after_s, clock=clock),
            condition_of=partial(
                condition_of,
                load=ladder,
                admission_backlog=backlog,
                outbox_trouble=lambda: outbox.trouble,
            ),
            settlements=settlements,
            observer=metrics,
        ),
        new_runner=lambda: Runner(
            lanes,
            engine,
            questions=[question],
            replies=outbox,
            settle=settlements.settle,
            clock=clock,
            observer=UNOBSERVED,
            machines=EventMachines(
                [question],
                states={},
                may_come=lambda _camera_id: True,
                forget_after_s=600.0,
                clock=clock,
            ),
            status=status,
            ticks=ticks,
            load=ladder,
            admission_backlog=backlog,
            tenures=tenures,
            rebuilding=Rebuilding(
                engine,
                lanes,
                NO_PAST,
                window_s=180.0,
                together=1,
                clock=clock,
                observer=UNOBSERVED,
            ),
            forget_after_s=600.0,
        ),
        new_publisher=lambda: publisher or redis(outbox, status, tenures),  # type: ignore[misc]  # one of the two is given
        about={"model": "scripted", "attention": "none"},
        rng=random.Random(1),  # noqa: S311
    )
    return Supervisor(worker)


def until(holds: Callable[[], object], *, limit_s: float = 10.0) -> None:
    """Wait for a condition."""
    end_s = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end_s, "not within the time limit"
        time.sleep(0.02)
