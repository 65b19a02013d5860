"""Two workers' worth of inference, outbox and publishing, and a camera that goes between them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import redis

from model.types import Answer, Question
from pipeline.admission_backlog import AdmissionBacklog
from pipeline.event_machines import EventMachines
from pipeline.events import EventRule
from pipeline.intake import Settlements
from pipeline.lane import Lanes
from pipeline.load import Load
from pipeline.metrics import FENCED, OUTBOX_DROPPED
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
from tests.servers.redis import RedisServer
from worker.publishing import KnownCameras, must_wait, put_status

CAPTION = StandingQuestion(CAPTION_ID, Question("caption", "Describe."), every_s=5.0)
FIRE = StandingQuestion(
    "fire",
    Question("yes_no", "Is there fire?"),
    every_s=1.0,
    rule=EventRule(confirm_n=2, confirm_m=3, evidence_s=60.0),
)
BURNS = range(10, 20)  # seconds in which there truly is fire


class Site:
    """What all workers share: a topic's records by offset, what is committed, and the clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.committed = 0
        self.now_s = 0


class Member:
    """One worker; its threads' work is done when `turn` says so."""

    def __init__(
        self, url: str, path: Path | None, *, name: str, site: Site, max_bytes: int = 1 << 20
    ) -> None:
        self.site, clock = site, site.clock
        self.observer = Recorder()
        self.outbox = Outbox(path, max_bytes=max_bytes, observer=self.observer)
        self.settled: list[int] = []
        self.tenures = Tenures(clock=clock, has_group=True)
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
            may_come=lambda _camera_id: True,
            forget_after_s=600.0,
            clock=clock,
            waits=lambda _camera_id: True,
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
            cameras=KnownCameras(self.status, dict, self.tenures, self.observer),
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
            frame = self._frame(offset)
            self.site.clock.seconds = max(self.site.clock.seconds, offset + 0.25)
            self.tenures.begin("yard", frame.record)
            lane = self.lanes.lane("yard", overflow=Overflow.LATEST)
            lane.offer(frame)
            self.runner.step()
            if publishes:
                self.publish()
            self.runner.step()

    def publish(self) -> None:
        """What the publishing thread does, until nothing waits."""
        self.publisher.heartbeat({})
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
        assert frame.record is not None
        self.settled.append(frame.record.offset)
        if not frame.has_moved:
            self.site.committed = max(self.site.committed, frame.record.offset + 1)

    def _frame(self, offset: int) -> Frame:
        pixels = picture()
        pixels[:28, :28] = 255 if offset in BURNS else np.uint8(10 + 30 * (offset % 4))
        self.site.now_s = offset
        place = RecordPlace("frames", 0, offset, self.tenure)
        return replace(frame_at(float(offset), pixels), record=place, receipt=Receipt(place))

    def _answer(self, _camera_id: str, question: Question) -> Answer:
        if question.kind == "caption":
            return Answer("caption", "a yard", None, 1)
        p = 0.9 if self.site.now_s in BURNS else 0.1
        return Answer("yes_no", "yes" if p > 0.5 else "no", p, 1, mass=1.0)


New = Callable[..., Member]


@pytest.fixture
def new(redis_url: str) -> Iterator[New]:
    site = Site()
    with ExitStack() as stack:

        def make(name: str, path: Path | None = None, **options: Any) -> Member:
            member = Member(redis_url, path, name=name, site=site, **options)
            return stack.enter_context(closing(member))

        yield make


@pytest.fixture
def client(redis_url: str, shared_redis: RedisServer) -> Iterator[redis.Redis]:
    assert redis_url
    with shared_redis.client() as found:
        yield found


def said(client: redis.Redis, kind: str) -> list[dict[str, Any]]:
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


def test_an_open_event_goes_on_at_another_worker_under_its_id(
    new: New, client: redis.Redis
) -> None:
    old, young = new("old"), new("young")
    old.assigned(1)
    old.read(*range(15))
    assert phases(client) == ["start"]
    old.revoked()
    young.assigned(2)
    young.read(*range(old.site.committed, 25))
    check(client)
    start, end = said(client, "events")
    assert (start["data"]["worker_id"], end["data"]["worker_id"]) == ("old", "young")
    assert start["data"]["term"] < end["data"]["term"]
    assert len(said(client, "answers")) == 25


def test_evidence_that_is_not_confirmed_yet_counts_at_the_next_worker(
    new: New, client: redis.Redis
) -> None:
    old, young = new("old"), new("young")
    old.assigned(1)
    old.read(*range(11))  # the first that speaks for it is the tenth
    assert phases(client) == []
    old.revoked()
    young.assigned(2)
    young.read(11)
    young.publish()
    (start,) = said(client, "events")
    assert start["data"]["started_at"] == "2026-01-02T03:04:15.000Z"


def test_after_a_kill_between_redis_and_the_commit_nothing_is_said_twice(
    new: New, client: redis.Redis
) -> None:
    old, young = new("old"), new("young")
    old.assigned(1)
    old.read(*range(15))
    young.assigned(2)
    young.read(*range(8, 25))  # what was committed lies that far back
    check(client)
    assert len(said(client, "answers")) == 25


def test_what_was_answered_but_not_out_is_said_by_the_next_worker_with_the_same_ids(
    new: New, client: redis.Redis
) -> None:
    old, young = new("old"), new("young")
    old.assigned(1)
    old.read(*range(9))
    old.read(*range(9, 13), publishes=False)  # and it is stopped
    assert max(old.settled) == 8, "what is not in Redis is not committed"
    late = {(one.message.kind, one.message.id) for one in old.outbox.pending(100)}
    assert {kind for kind, _ in late} == {"answer", "event", "caption"}
    young.assigned(2)
    young.read(*range(old.site.committed, 25))
    again = {("answer", one["id"]) for one in said(client, "answers")}
    again |= {("event", one["id"]) for one in said(client, "events")}
    assert {one for one in late if one[0] != "caption"} <= again  # which are about other seconds
    old.publish()  # it is resumed
    assert old.outbox.num_waiting == 0
    assert old.observer.total(FENCED) == len(late)
    check(client)


def test_a_worker_that_is_started_again_goes_on_with_what_waits_in_its_outbox(
    new: New, client: redis.Redis, tmp_path: Path
) -> None:
    before = new("w", tmp_path / "outbox.db")
    before.assigned(1)
    before.read(*range(9))
    before.read(*range(9, 13), publishes=False)
    before.close()
    after = new("w", tmp_path / "outbox.db")
    after.assigned(1)  # a static member has its partitions again, in the same generation
    after.read(*range(9, 25))
    check(client)
    assert len(said(client, "answers")) == 25


def test_a_redis_that_is_emptied_between_two_records_costs_nothing_but_what_it_held(
    new: New, client: redis.Redis
) -> None:
    old, young = new("old"), new("young")
    old.assigned(1)
    old.read(*range(12))
    (start,) = said(client, "events")
    client.flushall()
    old.read(12)  # fills the carry again
    old.revoked()
    young.assigned(2)
    young.read(*range(13, 25))
    (end,) = said(client, "events")
    assert end["data"]["phase"] == "end"
    assert end["data"]["event_id"] == start["data"]["event_id"]


def test_while_redis_is_away_nothing_is_lost_for_want_of_room_and_nothing_committed(
    new: New, client: redis.Redis
) -> None:
    worker = new("w", max_bytes=64 << 10)
    worker.assigned(1)
    worker.read(0)
    worker.read(*range(1, 200), publishes=False)
    assert worker.lanes.counts()["yard"].waiting == 1, "it is held back"
    assert worker.outbox.size_bytes < 64 << 10
    assert worker.observer.total(OUTBOX_DROPPED) == 0
    assert worker.site.committed <= 1
    while worker.outbox.num_waiting:
        worker.publish()
    worker.read(200)
    assert worker.lanes.counts()["yard"].waiting == 0
    numbers = [one["data"]["seq"] for one in said(client, "answers")]
    assert numbers == list(range(1, len(numbers) + 1))


def test_who_loses_a_camera_forgets_it_and_ends_nothing(new: New, client: redis.Redis) -> None:
    old, young = new("old"), new("young")
    old.assigned(1)
    old.read(*range(15))
    old.status.set("yard", "online")
    assert old.outbox.load_states()
    old.revoked()
    old.runner.step()
    assert old.outbox.load_states() == {}
    assert "yard" not in old.engine.held
    assert "yard" not in old.lanes.counts()
    young.assigned(2)
    young.read(*range(15, 18))
    old.site.clock.seconds += 3600.0
    old.runner.step()
    old.publish()
    assert phases(client) == ["start"]


def test_what_an_outbox_remembers_of_a_camera_is_not_believed_before_redis_was_asked(
    new: New, client: redis.Redis, tmp_path: Path
) -> None:
    old, young = new("old", tmp_path / "outbox.db"), new("young")
    old.assigned(1)
    old.read(*range(15))
    old.close()  # with an event that is on
    young.assigned(2)
    young.read(*range(15, 25))
    check(client)
    again = new("old", tmp_path / "outbox.db")
    again.site.clock.seconds += 3600.0
    for _ in range(3):
        again.runner.step()
        again.publish()
    check(client)


def test_an_event_whose_camera_sends_nothing_more_ends_at_the_start_of_its_worker(
    new: New, client: redis.Redis, tmp_path: Path
) -> None:
    before = new("w", tmp_path / "outbox.db")
    before.assigned(1)
    before.read(*range(15))
    before.close()
    after = new("w", tmp_path / "outbox.db")
    after.site.clock.seconds += 3600.0
    for _ in range(3):
        after.runner.step()
        after.publish()
    check(client)
    assert said(client, "events")[-1]["data"]["reason"] == "stale"
