"""One worker's inference, outbox and publishing, on a camera that may be another's at any time."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import redis
from numpy.typing import NDArray

from model.types import Answer, Question
from pipeline.admission_backlog import AdmissionBacklog
from pipeline.event_machines import EventMachines
from pipeline.events import EventRule
from pipeline.intake import Settlements
from pipeline.lane import Lanes
from pipeline.load import Load
from pipeline.observer import Observer
from pipeline.outbox import Outbox
from pipeline.pruner import Pruner
from pipeline.publishers.redis import RedisPublisher
from pipeline.questions import CAPTION_ID, StandingQuestion
from pipeline.rebuilding import Rebuilding
from pipeline.runner import Runner
from pipeline.sources.base import NO_PAST
from pipeline.status import StatusBoard
from pipeline.tenures import Tenures
from pipeline.ticks import Ticks
from pipeline.types import Frame, Overflow, Receipt, RecordPlace, Tenure
from tests.fakes import FakeClock, Recorder, ScriptedEngine, frame_at, picture
from tests.pipeline.publishers.lane import events
from worker.publishing import KnownCameras, must_wait, put_status

CAPTION = StandingQuestion(CAPTION_ID, Question("caption", "Describe."), every_s=5.0)
FIRE = StandingQuestion(
    "fire",
    Question("yes_no", "Is there fire?"),
    every_s=1.0,
    rule=EventRule(confirm_n=2, confirm_m=3, evidence_s=60.0, update_every_s=inf),
)
BURNS = range(10, 20)  # seconds in which there truly is fire


class Site:
    """What all workers share: a topic's records by offset, what is committed, and the clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.committed = 0
        self.now_s = 0
        self.burns = BURNS


class Member:
    """One worker; its threads' work is done when `read` and `publish` are called."""

    def __init__(
        self,
        url: str,
        path: Path | None,
        *,
        name: str,
        site: Site,
        max_bytes: int = 1 << 20,
        has_address: bool = False,
        has_group: bool = True,
    ) -> None:
        """Start.

        Args:
            url: of Redis.
            path: of the outbox; None for memory.
            name: the worker's id.
            site: that it shares with the others.
            max_bytes: of the outbox.
            has_address: the camera comes by an address of this worker's own.
            has_group: cameras may come by a group.
        """
        self.site, clock = site, site.clock
        self._has_address = has_address
        self.observer = Recorder()
        self.outbox = Outbox(path, max_bytes=max_bytes, observer=self.observer)
        self.settled: list[int] = []
        own = ("yard",) if has_address else ()
        self.tenures = Tenures(clock=clock, own=own, has_group=has_group)
        self.lanes = Lanes(
            lambda _camera_id: Pruner(mode="last_seen", max_staleness_s=inf),
            clock=clock,
            is_held=partial(must_wait, self.tenures, self.outbox),
        )
        self.status = StatusBoard(partial(put_status, self.outbox, self.tenures), clock=clock)
        self.engine = ScriptedEngine(self._answer)
        asked = [CAPTION, FIRE]
        self.machines = EventMachines(
            asked,
            states=self.outbox.load_states(),
            may_come=lambda _camera_id: has_address or has_group,
            forget_after_s=600.0,
            clock=clock,
            waits=lambda _camera_id: has_group and not has_address,
        )
        self.runner = Runner(
            self.lanes,
            self.engine,
            questions=asked,
            replies=self.outbox,
            settle=self._settle,
            clock=clock,
            observer=Observer(),
            machines=self.machines,
            status=self.status,
            ticks=Ticks(period_s=1.0, per_period=4),
            load=Load(max_age_s=2.0, period_s=1.0, recover_after_s=30.0),
            admission_backlog=AdmissionBacklog(),
            tenures=self.tenures,
            rebuilding=Rebuilding(
                self.engine,
                self.lanes,
                NO_PAST,
                window_s=180.0,
                together=1,
                clock=clock,
                observer=Observer(),
            ),
            forget_after_s=600.0,
        )
        self.settlements = Settlements(self.tenures)
        self.publisher = RedisPublisher(
            url,
            prefix="vigil",
            worker_id=name,
            clock=clock,
            run_id=self.outbox.origin,
            cameras=KnownCameras(self.status, self._questions, self.tenures, self.observer),
        )
        self.tenure: Tenure | None = None

    def assigned(self, generation: int) -> None:
        self.tenure = Tenure("g", generation)

    def revoked(self) -> None:
        assert self.tenure is not None
        self.tenure.is_over = True
        self.tenures.end("yard")

    def read(self, *offsets: int, publishes: bool = True) -> None:
        """Have records come, one a second, and do with each what is to be done."""
        for offset in offsets:
            frame = self.frame(offset)
            self.site.clock.seconds = max(self.site.clock.seconds, offset + 0.25)
            self.tenures.begin("yard", frame.record)
            lane = self.lanes.lane("yard", overflow=Overflow.LATEST)
            lane.offer(frame)
            self.runner.step()
            if publishes:
                self.publish()
            self.runner.step()

    def sees(self) -> NDArray[np.uint8]:
        """Return the picture that the model has by what it was shown."""
        seen = np.zeros_like(picture())
        for one in self.engine.shown:
            kept = np.kron(one.keep_mask, np.ones((28, 28), dtype=np.bool_))
            seen[kept] = one.pixels[kept]
        return seen

    def publish(self) -> None:
        """What the publishing thread does, until nothing waits."""
        self.publisher.heartbeat({})
        self.publisher._sweep()
        for _ in range(2):
            self.publisher._claims.ask(
                self.publisher._redis, self.outbox, answered=self.publisher._answered
            )
            if batch := self.outbox.pending(100):
                self.publisher._settle(batch, self.outbox, Event())

    def close(self) -> None:
        self.publisher.close()
        self.outbox.close()

    def _settle(self, frame: Frame) -> None:
        if frame.record is None:
            return
        self.settled.append(frame.record.offset)
        if not frame.has_moved:
            self.site.committed = max(self.site.committed, frame.record.offset + 1)

    def _questions(self) -> dict[str, frozenset[str] | None]:
        asked = frozenset({CAPTION.id, FIRE.id})
        return dict.fromkeys(self.outbox.camera_ids(), asked)

    def frame(self, offset: int) -> Frame:
        is_fire = offset in self.site.burns
        pixels = picture()
        pixels[:28, :28] = 255 if is_fire else np.uint8(10 + 30 * (offset // 3 % 4))
        self.site.now_s = offset
        if self._has_address:
            return frame_at(float(offset), pixels)
        place = RecordPlace("frames", 0, offset, self.tenure)
        return replace(frame_at(float(offset), pixels), record=place, receipt=Receipt(place))

    def _answer(self, _camera_id: str, question: Question) -> Answer:
        if question.kind == "caption":
            return Answer("caption", "a yard", None, 1)
        p = 0.9 if self.site.now_s in self.site.burns else 0.1
        return Answer("yes_no", "yes" if p > 0.5 else "no", p, 1, mass=1.0)


New = Callable[..., Member]


def restarted(
    new: New, path: Path, *, name: str = "w", had_address: bool = False, has_group: bool = True
) -> Member:
    """Have a worker watch until an event is on, and start it again with what it left.

    Args:
        new: starts workers.
        path: of its outbox.
        name: its id.
        had_address: the camera came by an address; else by a group.
        has_group: a group may bring it from now on.
    """
    before = new(name, path, has_address=had_address)
    if not had_address:
        before.assigned(1)
    before.read(*range(13))
    before.close()
    return new(name, path, has_group=has_group)


def said(client: redis.Redis, kind: str) -> list[dict[str, Any]]:
    """Return what a reader of the camera's stream finds, oldest first."""
    return events(client, f"vigil:yard:{kind}:stream")


def phases(client: redis.Redis) -> list[str]:
    return [one["data"]["phase"] for one in said(client, "events")]


def check(client: redis.Redis) -> None:
    """Every id once, numbers without gaps, one start and one end of one event."""
    for kind in ("answers", "captions", "events"):
        found = said(client, kind)
        assert [one["data"]["seq"] for one in found] == list(range(1, len(found) + 1)), kind
        assert len({one["id"] for one in found}) == len(found), kind
    assert phases(client) == ["start", "end"]
    assert len({one["data"]["event_id"] for one in said(client, "events")}) == 1
