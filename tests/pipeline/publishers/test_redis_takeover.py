"""A camera that goes from one worker to another, by way of a real Redis."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import redis

from pipeline.carry import AT, CARRY_VERSION, MACHINE, Carried, Position
from pipeline.messages import Message
from pipeline.metrics import FENCED
from pipeline.outbox import Outbox
from pipeline.publishers.redis import RedisPublisher
from pipeline.status import StatusBoard
from pipeline.tenures import WAIT_S, Taken, Tenures
from pipeline.types import RecordPlace, Tenure
from tests.fakes import EPOCH, FakeClock, Recorder
from tests.pipeline.publishers.lane import events, message
from worker.publishing import KnownCameras


class Shared:
    """One worker as far as publishing goes; `turn` does what its threads would do."""

    def __init__(
        self, url: str, path: Path | None, *, name: str, group: str = "g", own: tuple[str, ...] = ()
    ) -> None:
        self.clock, self.observer = FakeClock(), Recorder()
        self.group = group
        self.outbox = Outbox(path, max_bytes=1 << 20)
        self.tenures = Tenures(clock=self.clock, own=own)
        board = StatusBoard(lambda _message: None, clock=self.clock)
        known = KnownCameras(board, dict, self.tenures, self.observer)
        self.publisher = RedisPublisher(
            url,
            prefix="vigil",
            worker_id=name,
            clock=self.clock,
            run_id=self.outbox.origin,
            cameras=known,
        )

    def assigned(self, generation: int, *, offset: int = 0) -> RecordPlace:
        """Have the camera's partition come here, and a record of it."""
        record = RecordPlace("frames", 0, offset, Tenure(self.group, generation))
        self.tenures.begin("gate", record)
        return record

    def put(self, kind: Any, *, offset: int, **fields: str | None) -> None:
        """Say something about a record, with what it brings for the next owner."""
        place = Position("frames", 0, offset, EPOCH).text
        carried = Carried(question_id="fire", place=place, fields={f"{AT}fire": place, **fields})
        self.say(replace(message(kind), carried=carried))

    def say(self, one: Message) -> None:
        self.outbox.put([self.tenures.stamped(one)])

    def turn(self) -> list[Taken]:
        """Let new cameras be asked for, deliver all there is, open what was granted."""
        self.tenures.ask(self.outbox.last_row)
        self.clock.seconds += 5.0
        self.publisher.heartbeat({})
        for _ in range(2):  # what waits goes first
            _run_once(self.publisher, self.outbox)
        taken = self.tenures.take()
        for one in taken:
            self.tenures.open(one)
        return taken

    def close(self) -> None:
        self.publisher.close()
        self.outbox.close()


def _run_once(publisher: RedisPublisher, outbox: Outbox) -> None:
    publisher._claims.ask(publisher._redis, outbox, answered=publisher._answered)
    if batch := outbox.pending(100):
        publisher._settle(batch, outbox, Event())


New = Callable[..., Shared]


@pytest.fixture
def new(redis_url: str) -> Iterator[New]:
    with ExitStack() as stack:

        def make(name: str, **options: Any) -> Shared:
            path = options.pop("path", None)
            return stack.enter_context(closing(Shared(redis_url, path, name=name, **options)))

        yield make


def numbers(client: redis.Redis, kind: str) -> list[int]:
    return [one["data"]["seq"] for one in events(client, f"vigil:gate:{kind}:stream")]


def carried(client: redis.Redis) -> Mapping[str, str]:
    found: Any = client.hgetall("vigil:gate:carry")
    return found  # type: ignore[no-any-return]


def test_who_takes_a_camera_over_gets_all_that_was_left_and_goes_on_counting(
    new: New, client: redis.Redis
) -> None:
    old, young = new("old"), new("young")
    old.assigned(1)
    assert [one.carry and one.carry.is_empty for one in old.turn()] == [True]
    old.put("answer", offset=5, **{f"{MACHINE}fire": "on"})
    old.put("answer", offset=9, **{f"{MACHINE}fire": "still on"})
    old.turn()
    young.assigned(2)
    (taken,) = young.turn()
    assert taken.carry is not None
    assert taken.carry.term == 2
    assert taken.carry.tops == {"answer": 2}
    assert taken.carry.fields[f"{MACHINE}fire"] == "still on"
    assert Position.read(taken.carry.fields[f"{AT}fire"]).offset == 9
    young.put("answer", offset=10)
    young.turn()
    assert numbers(client, "answers") == [1, 2, 3]
    said = events(client, "vigil:gate:answers:stream")
    assert [(one["data"]["worker_id"], one["data"]["term"]) for one in said] == [
        ("old", 1),
        ("old", 1),
        ("young", 2),
    ]


def test_an_old_owners_late_messages_are_dropped_and_counted(new: New, client: redis.Redis) -> None:
    old, young = new("old"), new("young")
    old.assigned(1)
    old.turn()
    old.put("event", offset=5)  # and it is stopped, as by a SIGSTOP, before it is out
    young.assigned(2)
    young.turn()
    old.put("answer", offset=6, **{f"{MACHINE}fire": "of yesterday"})
    old.turn()
    assert old.outbox.num_waiting == 0
    assert old.observer.total(FENCED, camera="gate") == 2
    assert not client.exists("vigil:gate:events:stream", "vigil:gate:answers:stream")
    assert f"{MACHINE}fire" not in carried(client)
    assert old.tenures.is_held("gate"), "until it hears that the camera is gone"
    old.turn()
    assert "young still has it" in old.tenures.why("gate")
    assert carried(client)["term"] == "2"


def test_what_waits_is_out_before_the_camera_is_asked_for(new: New, client: redis.Redis) -> None:
    worker = new("w")
    worker.assigned(1)
    worker.turn()
    worker.put("answer", offset=5, **{f"{MACHINE}fire": "newest"})
    worker.assigned(2)  # the same worker again, as after a lost connection to the broker
    (taken,) = worker.turn()
    assert taken.carry is not None
    assert taken.carry.fields[f"{MACHINE}fire"] == "newest"
    assert numbers(client, "answers") == [1]


def test_a_redis_that_was_restarted_empty_neither_fences_the_owner_nor_starts_its_numbers_again(
    new: New, client: redis.Redis
) -> None:
    old, young = new("old"), new("young")
    old.assigned(3)
    old.turn()
    old.put("answer", offset=5)
    old.turn()
    client.flushall()
    old.put("answer", offset=6)
    old.turn()
    assert numbers(client, "answers") == [2]
    client.flushall()
    young.assigned(4)
    (taken,) = young.turn()
    assert taken.carry is not None
    assert taken.carry.is_empty
    old.put("answer", offset=7)
    old.turn()
    assert not client.exists("vigil:gate:answers:stream"), "its term is the older one"


def test_a_group_that_was_deleted_counts_from_one_and_fences_nobody(
    new: New, client: redis.Redis
) -> None:
    before = new("w")
    before.assigned(57)
    before.turn()
    before.put("answer", offset=5)
    before.turn()
    client.delete("vigil:worker:w")  # it has ended
    after = new("w2")
    after.assigned(1)
    (taken,) = after.turn()
    assert taken.carry is not None
    assert taken.carry.term == 58
    after.put("answer", offset=6)
    after.turn()
    assert numbers(client, "answers") == [1, 2]
    before.put("answer", offset=7)
    before.turn()
    assert numbers(client, "answers") == [1, 2], "the one before is not raised over it"
    third = new("w3")
    third.assigned(2)
    (taken,) = third.turn()
    assert taken.carry is not None, "the next assignment counts, though its number is small"
    assert taken.carry.term == 59


def test_two_groups_with_one_prefix_do_not_have_one_camera_while_both_live(
    new: New, client: redis.Redis
) -> None:
    one, other = new("one"), new("other", group="h")
    one.assigned(1)
    one.turn()
    other.assigned(9)
    assert other.turn() == []
    assert "the consumer group 'g'" in other.tenures.why("gate")
    assert "VIGIL_REDIS__PREFIX" in other.tenures.why("gate")
    client.delete("vigil:worker:one")
    assert [taken.carry and taken.carry.term for taken in other.turn()] == [9]
    assert other.tenures.why("gate") == ""


def test_a_camera_with_an_address_at_another_worker_is_not_taken_by_a_topic(
    new: New, client: redis.Redis
) -> None:
    rtsp, kafka = new("rtsp", own=("gate",)), new("kafka")
    rtsp.say(message("answer"))
    rtsp.turn()
    kafka.assigned(1)
    assert kafka.turn() == []
    assert "by an address of its own" in kafka.tenures.why("gate")
    client.delete("vigil:worker:rtsp")
    assert kafka.turn() != []
    rtsp.say(message("answer"))
    kafka.turn()
    rtsp.turn()
    assert numbers(client, "answers") == [1], "now the topic has it"
    client.delete("vigil:worker:kafka")
    rtsp.say(message("answer"))
    _run_once(rtsp.publisher, rtsp.outbox)
    assert numbers(client, "answers") == [1, 3], "and once its worker is gone, the address"


def test_who_only_waits_for_a_camera_does_not_own_it(new: New, client: redis.Redis) -> None:
    waiting, other = new("waiting"), new("other")
    waiting.say(message("status"))  # that it connects
    waiting.turn()
    other.assigned(1)
    assert other.turn() != []
    assert carried(client)["owner"].startswith("other ")


def test_a_state_of_another_version_is_refused_and_left_as_it_is(
    new: New, client: redis.Redis
) -> None:
    client.hset("vigil:gate:carry", mapping={"version": "7", "term": "3", "machine:fire": "?"})
    worker = new("w")
    worker.assigned(4)
    assert worker.turn() == []
    assert f"expected a state of version {CARRY_VERSION}, got 7" in worker.tenures.why("gate")
    assert worker.tenures.is_held("gate")
    worker.clock.seconds += 2 * WAIT_S
    assert worker.turn() == [], "and it is not gone on without"
    assert carried(client) == {"version": "7", "term": "3", "machine:fire": "?"}


def test_after_a_long_wait_for_redis_it_is_gone_on_without_and_said_so(
    new: New, client: redis.Redis
) -> None:
    old, young = new("old"), new("young")
    old.assigned(1)
    old.turn()
    for offset in (5, 6):
        old.put("answer", offset=offset)
    old.turn()
    young.assigned(2)
    young.tenures.ask(0)
    young.clock.seconds += WAIT_S - 1.0
    assert young.tenures.take() == []
    young.clock.seconds += 1.0
    (taken,) = young.tenures.take()
    assert taken.carry is None
    young.tenures.open(taken)
    assert "could not be asked" in young.tenures.why("gate")
    young.put("answer", offset=7)
    (late,) = young.turn()  # Redis is back
    assert late.is_late
    assert young.tenures.why("gate") == ""
    assert numbers(client, "answers") == [1, 2, 3], "what waited goes on after what was told"


def test_a_message_that_comes_after_later_ones_takes_nothing_back(
    new: New, client: redis.Redis
) -> None:
    worker = new("w")
    worker.assigned(1)
    worker.turn()
    worker.put("answer", offset=9, **{f"{MACHINE}fire": "later"})
    worker.put("event", offset=5, **{f"{MACHINE}fire": "earlier"})
    worker.turn()
    assert carried(client)[f"{MACHINE}fire"] == "later"
    worker.put("event", offset=9, **{f"{MACHINE}fire": None})
    worker.turn()
    assert f"{MACHINE}fire" not in carried(client)


def test_nothing_is_carried_of_a_message_that_redis_refuses(new: New, client: redis.Redis) -> None:
    worker = new("w")
    worker.assigned(1)
    worker.turn()
    worker.put("answer", offset=5, **{f"{MACHINE}fire": "before"})
    worker.turn()
    stood = carried(client)
    client.set("vigil:gate:events:stream", "in the way")
    worker.put("event", offset=6, **{f"{MACHINE}fire": "after", "extra": "new"})
    _run_once(worker.publisher, worker.outbox)
    assert carried(client) == stood
    client.delete("vigil:gate:events:stream")
    worker.turn()
    assert carried(client)[f"{MACHINE}fire"] == "after"
    assert json.loads(client.hget("vigil:gate:state", "event:fire") or "")["data"]["seq"] == 1
