"""Pictures and one-off questions by a real Redis; the model is a function."""

import io
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
import redis
from PIL import Image
from structlog.testing import capture_logs

from model.kinds.base import Published
from model.types import PrunedFrame
from pipeline.asks import OneOff
from pipeline.clock import SystemClock
from pipeline.messages import Asked, Message, answer_message, rfc3339
from pipeline.metrics import VISITS
from pipeline.publishers.asker import Asker
from pipeline.publishers.redis_scripts import COMMANDS, VISITING_COMMANDS
from pipeline.publishers.redis_visits import RedisVisits
from pipeline.replies import blank_provenance
from pipeline.types import PrunedSample
from pipeline.visits import Visits
from tests.fakes import Recorder, frame_at, picture
from tests.servers.redis import RedisServer, StartRedis
from tests.wire import validate
from tests.worker.supervised import until
from worker.visiting import keep_visiting

CLOCK = SystemClock()


def answer(one: OneOff) -> Message:
    now = CLOCK.now()
    told = blank_provenance(one.camera_id, now, now=now, model="scripted", demo_model=False)
    assert one.question is not None
    asked = Asked("ask", one.question.text, one.question.kind)
    published = Published("yes", 0.9)
    return answer_message(told, asked, published=published, mass=1.0, reused=False, asked_by="ask")


def sample(pts_s: float, *, level: int = 100) -> PrunedSample:
    frame = frame_at(pts_s, picture(level), camera_id="gate")
    keep = np.zeros((3, 4), dtype=np.bool_)
    keep[0, 1] = True
    return PrunedSample(
        frame, PrunedFrame("gate", frame.pixels, keep, pts_s, is_refresh=False), 0.0, is_live=True
    )


@dataclass
class Worker:
    """Visits and a connection for them, in the hands of a test."""

    url: str
    worker_id: str = "w"
    cameras: set[str] = field(default_factory=lambda: {"gate"})
    observer: Recorder = field(default_factory=Recorder)
    rehearsed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.visits = Visits(clock=CLOCK, observer=self.observer)

    def connection(self) -> RedisVisits:
        return RedisVisits(
            self.url,
            prefix="vigil",
            worker_id=self.worker_id,
            clock=CLOCK,
            visits=self.visits,
            has_camera=self.cameras.__contains__,
            rehearse=self._rehearse,
        )

    def _rehearse(self, camera_id: str) -> str:
        self.rehearsed.append(camera_id)
        return "e1"

    @contextmanager
    def serving(self, *, ask: Callable[[OneOff], Message] = answer) -> Iterator["Worker"]:
        stop = Event()

        def visit() -> None:
            keep_visiting(
                self.connection,
                stop,
                count=self.visits.count,
                clock=CLOCK,
                rng=random.Random(1),  # noqa: S311
            )

        def infer() -> None:
            while not stop.wait(0.02):
                self.visits.answer_one(ask, is_late=False)

        threads = [Thread(target=visit), Thread(target=infer)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            stop.set()
            for thread in threads:
                thread.join(10)
                assert not thread.is_alive()


@pytest.fixture
def asker(redis_url: str) -> Iterator[Asker]:
    asker = Asker(redis_url, prefix="vigil", clock=CLOCK)
    yield asker
    asker.close()


def entry(client: redis.Redis, camera_id: str, owner: str, *, is_alive: bool = True) -> None:
    client.hset("vigil:cameras", camera_id, json.dumps({"owner": owner, "state": "online"}))
    if is_alive:
        client.set(f"vigil:worker:{owner}", "{}")


def test_a_picture_is_there_while_somebody_looks_and_is_what_the_model_was_sent(
    redis_url: str, client: redis.Redis
) -> None:
    with Worker(redis_url).serving() as worker, redis.Redis.from_url(redis_url) as raw:
        worker.visits.shown(sample(1.0, level=90))
        until(lambda: worker.visits.cameras())
        client.set("vigil:gate:watched", 1, ex=10)
        until(lambda: raw.exists("vigil:gate:picture"))
        told: Any = raw.hgetall("vigil:gate:picture")
        pixels = np.asarray(Image.open(io.BytesIO(told[b"jpeg"])))
        assert pixels.shape == (84, 112, 3)
        assert np.abs(pixels.astype(int) - 90).max() <= 2
        assert told[b"captured_at"] == b"2026-01-02T03:04:06.000Z"
        assert json.loads(told[b"grid"]) == {"rows": 3, "cols": 4, "token_px": 28}
        assert told[b"sent"] == b"010000000000"
        assert 0 < int(raw.pttl("vigil:gate:picture")) <= 10_000
        worker.visits.shown(sample(2.0))
        until(lambda: raw.hget("vigil:gate:picture", "captured_at") == b"2026-01-02T03:04:07.000Z")
        until(lambda: worker.observer.total(VISITS, what="picture", outcome="done") >= 2)


def test_nobody_looking_costs_no_picture_and_one_that_is_shown_is_not_drawn_again(
    redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[float] = []

    def draw(one: PrunedSample) -> list[str | bytes]:
        drawn.append(one.frame.pts_s)
        return ["jpeg", b"x"]

    monkeypatch.setattr("pipeline.publishers.redis_visits._picture", draw)
    worker = Worker(redis_url)
    worker.visits.shown(sample(1.0))
    connection = worker.connection()
    connection._show()
    assert drawn == []
    client.set("vigil:gate:watched", 1)
    connection._show()
    connection._show()
    assert drawn == [1.0]
    client.flushall()
    client.set("vigil:gate:watched", 1)
    connection._show()  # it finds that the picture is gone
    connection._show()
    assert drawn == [1.0, 1.0]
    connection.close()


def test_an_ask_is_answered_in_time_as_a_message(
    redis_url: str, client: redis.Redis, asker: Asker
) -> None:
    entry(client, "gate", "w")
    with Worker(redis_url).serving() as worker:
        begun_s = CLOCK.monotonic_s()
        reply = asker.ask("gate", wait_s=10.0, question="Is it open?")
        assert CLOCK.monotonic_s() - begun_s < 2.0
        until(lambda: worker.observer.total(VISITS, what="ask", outcome="done") == 1)
    assert reply is not None
    validate(reply)
    assert (reply["data"]["answer"], reply["data"]["worker_id"]) == ("yes", "w")
    assert reply["data"]["asked_by"] == "ask"
    assert client.exists("vigil:gate:answers:stream") == 0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kind": "guess", "question": "?"}, "malformed"),
        ({"question": "x" * 501}, "malformed"),
        ({"question": ""}, "malformed"),
    ],
)
def test_what_cannot_be_asked_is_told_by_the_cameras_worker(
    redis_url: str, client: redis.Redis, asker: Asker, fields: dict[str, str], reason: str
) -> None:
    entry(client, "gate", "w")
    with Worker(redis_url).serving():
        reply = asker.ask("gate", wait_s=10.0, **fields)
    assert reply is not None
    assert (reply["refused"], reply["worker_id"]) == (reason, "w")
    assert "expected" in reply["detail"]


def test_of_several_workers_the_one_that_has_the_camera_answers(
    redis_url: str, client: redis.Redis, asker: Asker
) -> None:
    entry(client, "gate", "b")
    others = {"gate"}  # a camera that has moved: both know it
    with Worker(redis_url, "a", others).serving() as a, Worker(redis_url, "b").serving():
        for _ in range(3):
            reply = asker.ask("gate", wait_s=10.0, question="Is it open?")
            assert reply is not None
            assert reply["data"]["worker_id"] == "b"
        unknown = asker.ask("hall", wait_s=10.0, question="Is it open?")
        assert a.observer.total(VISITS, what="ask", outcome="done") == 0
    assert unknown is not None
    assert (unknown["refused"], unknown["detail"]) == (
        "unknown_camera",
        "camera: expected one of gate",
    )


def test_where_nobody_lives_that_has_the_camera_nobody_answers(
    redis_url: str, client: redis.Redis, asker: Asker
) -> None:
    entry(client, "hall", "gone", is_alive=False)
    with Worker(redis_url).serving():
        assert asker.ask("hall", wait_s=0.2, question="Is it open?") is None


def test_an_ask_past_its_deadline_is_passed_over_and_one_answered_before_not_again(
    redis_url: str, client: redis.Redis, asker: Asker
) -> None:
    entry(client, "gate", "w")
    late = rfc3339(CLOCK.now() - timedelta(seconds=1))
    ask: Any = {"id": "late", "camera": "gate", "question": "?", "deadline": late}
    client.xadd("vigil:asks", ask)
    client.xadd("vigil:asks", ask | {"id": "once", "deadline": ""})
    for _ in range(2):  # the second is the worker started again, which reads the stream again
        with Worker(redis_url).serving():  # in the order in which they were asked
            assert asker.ask("gate", wait_s=10.0, question="and now?") is not None
    assert client.exists("vigil:asks:late") == 0
    assert client.llen("vigil:asks:once") == 1


def test_what_was_asked_long_before_a_start_is_passed_over(
    redis_url: str, client: redis.Redis, asker: Asker
) -> None:
    """Each start answered it anew, and told of each test event once more."""
    entry(client, "gate", "w")
    now_ms = round(1000 * CLOCK.now().timestamp())
    old: Any = {"id": "old", "camera": "gate", "question": "?"}
    far = {"id": "far", "kind": "test_event", "deadline": "2099-01-01T00:00:00Z"}
    client.xadd("vigil:asks", old | far, id=f"{now_ms - 61_000}-0")
    client.xadd("vigil:asks", old, id=f"{now_ms - 11_000}-0")
    client.xadd("vigil:asks", old | far | {"id": "new"}, id=f"{now_ms - 3000}-0")
    with Worker(redis_url).serving() as worker:
        assert asker.ask("gate", wait_s=10.0, question="and now?") is not None
    assert client.exists("vigil:asks:old") == 0
    assert worker.rehearsed == ["gate"], "of what was put a moment ago"


def test_a_flood_is_told_and_what_comes_after_it_is_answered(
    redis_url: str, client: redis.Redis, asker: Asker
) -> None:
    entry(client, "gate", "w")
    pipe = client.pipeline(transaction=False)
    for number in range(100):
        flood: Any = {"id": f"f{number}", "camera": "gate", "question": "?"}
        pipe.xadd("vigil:asks", flood)
    with Worker(redis_url).serving() as worker:
        pipe.execute()
        until(lambda: worker.observer.total(VISITS, what="ask") == 100)
        told = [json.loads(str(client.lpop(f"vigil:asks:f{number}"))) for number in range(100)]
        num_refused = sum(one.get("refused") == "too_many" for one in told)
        assert 80 <= num_refused <= 92
        until(lambda: (asker.ask("gate", wait_s=5.0, question="?") or {}).get("data"))


def test_a_test_event_is_made_by_the_cameras_worker(
    redis_url: str, client: redis.Redis, asker: Asker
) -> None:
    entry(client, "gate", "w")
    with Worker(redis_url).serving() as worker:
        reply = asker.ask("gate", wait_s=10.0, kind="test_event")
    assert reply is not None
    assert reply["event_id"] == "e1"
    assert worker.rehearsed == ["gate"]


def test_without_the_rights_it_is_told_once_and_the_rest_goes_on(
    shared_redis: RedisServer, redis_url: str, client: redis.Redis
) -> None:
    assert redis_url  # it is empty

    def allow(*commands: str) -> None:
        client.acl_setuser(
            "vigil",
            enabled=True,
            passwords=["+secret"],
            keys=["vigil:*"],
            commands=[f"+{name}" for name in (*COMMANDS, *commands)],
            reset=True,
        )

    entry(client, "gate", "w")
    client.set("vigil:gate:watched", 1)
    allow("mget")
    url = f"redis://vigil:secret@127.0.0.1:{shared_redis.port}/0"
    with capture_logs() as logs, Worker(url).serving() as worker:
        worker.visits.shown(sample(1.0))
        until(lambda: client.exists("vigil:gate:picture"))
    assert [(one["event"], one["what"], one["reason"]) for one in logs] == [
        ("visits_refused", "asks", "not_permitted")
    ]
    client.delete("vigil:gate:picture")
    allow(*VISITING_COMMANDS)
    asker = Asker(redis_url, prefix="vigil", clock=CLOCK)
    with capture_logs() as logs, Worker(url).serving() as worker:
        worker.visits.shown(sample(1.0))
        assert asker.ask("gate", wait_s=10.0, question="?") is not None
        until(lambda: client.exists("vigil:gate:picture"))
    assert logs == []
    asker.close()


def test_redis_may_go_away_and_come_back(start_redis: StartRedis) -> None:
    server = start_redis()
    client = server.client()
    with client, capture_logs() as logs, Worker(server.url).serving() as worker:
        worker.visits.shown(sample(1.0))
        server.kill()
        until(lambda: worker.observer.total(VISITS, outcome="unreachable") >= 2)
        server.start()
        client.set("vigil:gate:watched", 1)
        until(lambda: client.exists("vigil:gate:picture"))
    assert {one["event"] for one in logs} == {"visits_failed"}
