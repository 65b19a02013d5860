from pathlib import Path
from threading import Event

import pytest

from pipeline.carry import Carried
from pipeline.clock import SystemClock
from pipeline.outbox import Outbox
from pipeline.outbox_folder import abandoned
from pipeline.publishers.redis import RedisPublisher
from tests.pipeline.publishers.lane import events, ids, message
from tests.servers.redis import RedisServer
from worker.orphans import Orphans

ROOM = 1 << 20


@pytest.fixture
def orphans(redis_url: str, tmp_path: Path) -> Orphans:
    def connect(origin: str) -> RedisPublisher:
        return RedisPublisher(
            redis_url, prefix="vigil", worker_id="w", clock=SystemClock(), run_id=origin
        )

    return Orphans(tmp_path, connect=connect, max_bytes=ROOM, clock=SystemClock())


def left(path: Path, number: int) -> list[str]:
    """Leave an outbox behind with so many messages, as a worker that was killed does."""
    outbox = Outbox(path, max_bytes=ROOM)
    sent = [message("caption", str(index)) for index in range(number)]
    outbox.put(sent, states={"gate/fire": "{}"})
    outbox.close()
    return [one.id for one in sent]


def test_an_outbox_whose_worker_is_gone_is_sent_and_left_empty(
    orphans: Orphans, tmp_path: Path, shared_redis: RedisServer
) -> None:
    sent = left(tmp_path / "1.sqlite", 150)
    orphans.look(Event())
    with shared_redis.client() as client:
        assert ids(events(client, "vigil:gate:captions:stream")) == sent
    assert abandoned(tmp_path) == []
    again = Outbox(tmp_path / "1.sqlite", max_bytes=ROOM)
    assert again.num_waiting == 0
    assert again.load_states() == {"gate/fire": "{}"}, "its next worker goes on with them"
    again.close()


def test_an_outbox_that_somebody_holds_is_left_alone(
    orphans: Orphans, tmp_path: Path, shared_redis: RedisServer
) -> None:
    held = Outbox(tmp_path / "0.sqlite", max_bytes=ROOM)
    held.put([message("caption")])
    orphans.look(Event())
    assert held.num_waiting == 1
    held.put([message("caption")])
    held.close()
    assert abandoned(tmp_path) == [tmp_path / "0.sqlite"]
    with shared_redis.client() as client:
        assert not client.exists("vigil:gate:captions:stream")


def test_what_another_worker_went_on_with_is_fenced(
    orphans: Orphans, tmp_path: Path, shared_redis: RedisServer
) -> None:
    outbox = Outbox(tmp_path / "3.sqlite", max_bytes=ROOM)
    one = message("event")
    outbox.put([type(one)(one.kind, one.camera_id, one.id, one.body, Carried(term=4, group="g"))])
    outbox.close()
    with shared_redis.client() as client:
        client.hset("vigil:gate:carry", mapping={"term": "5", "owner": "other run"})
        orphans.look(Event())
        assert abandoned(tmp_path) == []
        assert not client.exists("vigil:gate:events:stream")
        assert client.hget("vigil:gate:carry", "owner") == "other run"


def test_an_outbox_is_left_as_it_is_while_redis_is_away(tmp_path: Path) -> None:
    left(tmp_path / "1.sqlite", 3)

    def nowhere(origin: str) -> RedisPublisher:
        url = "redis://127.0.0.1:1/0"
        clock = SystemClock()
        return RedisPublisher(url, prefix="vigil", worker_id="w", clock=clock, run_id=origin)

    Orphans(tmp_path, connect=nowhere, max_bytes=ROOM, clock=SystemClock()).look(Event())
    assert abandoned(tmp_path) == [tmp_path / "1.sqlite"]
