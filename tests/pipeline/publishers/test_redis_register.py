"""`vigil:cameras`: who has which camera, and what is asked of it."""

import json
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import redis
from structlog.testing import capture_logs

from model.types import Question
from pipeline.clock import SystemClock
from pipeline.control import Control
from pipeline.events import EventRule
from pipeline.outbox import Outbox
from pipeline.publishers.base import NoCameras
from pipeline.publishers.redis import RedisPublisher
from pipeline.publishers.redis_register import Register, camera_of
from pipeline.questions import StandingQuestion
from pipeline.status import StatusBoard
from pipeline.tenures import Tenures
from tests.fakes import frame_at
from tests.servers.redis import RedisServer
from tests.worker.supervised import until
from worker.publishing import KnownCameras

OPEN = StandingQuestion(
    "open", Question("yes_no", "Is the gate open?"), every_s=5.0, rule=EventRule(enter=0.8)
)
OF_YARD = StandingQuestion(
    "way", Question("choice", "Which?", ("in", "out")), every_s=9.0, cameras=frozenset({"yard"})
)


@dataclass
class Known(NoCameras):
    """Cameras in the hands of a test."""

    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: dict[str, frozenset[str] | None] = field(default_factory=dict)

    def questions(self) -> dict[str, frozenset[str] | None]:
        return self.asked

    def entries(self) -> dict[str, dict[str, Any]]:
        return self.told


def register(worker_id: str, cameras: Known) -> Register:
    return Register("vigil", worker_id, lives_ms=60_000, cameras=cameras)


def owners(client: redis.Redis) -> dict[str, tuple[str, str]]:
    found: Any = client.hgetall("vigil:cameras")
    entries = {camera_id: json.loads(entry) for camera_id, entry in found.items()}
    return {camera_id: (one["owner"], one["state"]) for camera_id, one in entries.items()}


def test_what_a_worker_knows_of_a_camera_is_there_as_soon_as_it_changes(
    redis_url: str, client: redis.Redis, outbox: Outbox
) -> None:
    clock = SystemClock()
    board = StatusBoard(lambda message: outbox.put([message]), clock=clock)
    known = KnownCameras(board, dict, Tenures(clock=clock), control=Control([OPEN, OF_YARD]))
    publisher = RedisPublisher(
        redis_url, prefix="vigil", worker_id="w", clock=clock, heartbeat_s=60.0, cameras=known
    )
    stop = Event()
    running = Thread(target=lambda: publisher.run(outbox, stop))
    running.start()

    def entry() -> Any:
        return camera_of(str(client.hget("vigil:cameras", "gate"))) or {}

    board.set("gate", "connecting")
    until(lambda: entry().get("state") == "connecting")
    assert entry()["grid"] is None
    frame = frame_at(0.0, camera_id="gate")
    board.seen(frame)
    board.set("gate", "online")
    until(lambda: entry()["state"] == "online")
    assert entry()["owner"] == "w"
    assert entry()["grid"] == {"rows": 3, "cols": 4, "token_px": 28}
    asked = {"question": "Is the gate open?", "kind": "yes_no", "options": [], "every_s": 5.0}
    rule = {"target": "yes", "enter": 0.8, "exit": 0.4}
    commands = {"paused": False, "changed": []}
    assert entry()["questions"] == {"open": {**asked, **rule, **commands}}
    assert (entry()["control"], entry()["paused"]) == (False, False)
    board.set("gate", "offline", reason="worker_stopped")
    stop.set()
    running.join(10)
    assert (entry()["state"], entry()["reason"]) == ("offline", "worker_stopped")
    assert client.pttl("vigil:cameras") > 0
    publisher.close()


def test_nobody_but_its_owner_changes_an_entry_while_that_one_lives(client: redis.Redis) -> None:
    gate = {"gate": {"state": "online"}}
    mine, others = Known(dict(gate)), Known({"gate": {"state": "frozen"}})
    client.set("vigil:worker:a", "{}")
    assert register("a", mine).write(client) == [1]
    assert register("b", others).write(client) == [0]
    others.told, others.asked = {}, {"gate": None}
    assert register("b", others).write(client) == [0]
    assert owners(client) == {"gate": ("a", "online")}
    others.told = {"gate": {"state": "frozen", "term": 2}}
    assert register("b", others).write(client) == [1], "the camera has moved"
    client.set("vigil:worker:b", "{}")
    assert register("a", mine).write(client) == [0], "an old owner takes nothing back"
    assert owners(client) == {"gate": ("b", "frozen")}
    client.delete("vigil:worker:b")
    mine.told = {"gate": {"state": "online", "term": 2}}
    assert register("a", mine).write(client) == [1], "nobody is left to ask"


def test_a_camera_that_is_gone_is_taken_away_and_what_is_no_entry_replaced(
    client: redis.Redis,
) -> None:
    known = Known({"gate": {"state": "online"}})
    client.hset("vigil:cameras", mapping={"gate": "no entry", "old": "[]"})
    known.asked = {"gate": None, "old": None}  # gate is still told of
    register("a", known).write(client)
    assert owners(client) == {"gate": ("a", "online")}
    known.told = {}
    register("a", known).write(client)
    assert owners(client) == {}


def test_a_register_that_may_not_be_written_is_told_once_and_messages_go_on(
    shared_redis: RedisServer, redis_url: str, client: redis.Redis, outbox: Outbox
) -> None:
    assert redis_url  # it is empty
    client.acl_setuser(
        "narrow",
        enabled=True,
        passwords=["+secret"],
        keys=["vigil:worker:*", "vigil:gate:*"],
        channels=["vigil:*"],
        categories=["+@all"],
        reset=True,
    )
    clock = SystemClock()
    board = StatusBoard(lambda message: outbox.put([message]), clock=clock)
    url = f"redis://narrow:secret@127.0.0.1:{shared_redis.port}/0"
    publisher = RedisPublisher(
        url,
        prefix="vigil",
        worker_id="w",
        clock=clock,
        cameras=KnownCameras(board, dict, Tenures(clock=clock)),
    )
    board.set("gate", "online")
    with capture_logs() as logs:
        publisher.deliver(outbox.pending(10))
        publisher._refresh()
        publisher._refresh()
    told = [(one["event"], one["reason"]) for one in logs]
    assert told == [("register_not_written", "not_permitted")]
    assert client.xlen("vigil:gate:status:stream") == 1
    publisher.close()
