"""Streams read on and on: from a moment, in order, and over a restart without a gap."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import redis

from pipeline.errors import PublishError
from pipeline.publishers import tail as module
from pipeline.publishers.tail import Tail
from tests.pipeline.publishers.lane import Lane, message
from tests.servers.redis import StartRedis
from tests.worker.supervised import until


@pytest.fixture
def tail(redis_url: str) -> Iterator[Tail]:
    with closing(new_tail(redis_url)) as tail:
        yield tail


def new_tail(url: str, *, since_s: float = 0.0, **options: Any) -> Tail:
    return Tail(
        url, prefix="vigil", since=datetime.now(UTC) - timedelta(seconds=since_s), **options
    )


def told(tail: Tail, number: int) -> list[tuple[str, str]]:
    """Read so many messages and one more look."""
    found: list[tuple[str, dict[str, Any]]] = []

    def read() -> bool:
        found.extend(tail.read())
        return len(found) >= number

    until(read)
    return [(channel, one["id"]) for channel, one in found]


def test_what_is_there_comes_in_order_whatever_its_stream_and_then_what_comes(
    lane: Lane, client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def now_ms() -> int:
        seconds, microseconds = client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    monkeypatch.setattr(module, "_PAGE", 3)  # as if the streams were long
    sent = []
    for turn in range(8):
        camera = "gate" if turn % 3 else "yard"
        sent += lane.put(message("caption" if turn % 2 else "answer", camera_id=camera))
        lane.deliver()
        delivered_ms = now_ms()  # streams order what comes in different milliseconds
        until(partial(lambda before_ms: now_ms() > before_ms, delivered_ms))
    with closing(new_tail(redis_url, since_s=60.0, cameras=["gate", "yard"])) as tail:
        assert [one for _, one in told(tail, 8)] == sent
        later = lane.put(message("event"))
        lane.deliver()
        assert told(tail, 1) == [("vigil:gate:events", later[0])]


def test_without_since_only_what_comes_is_read_and_a_camera_that_comes_later_whole(
    lane: Lane, client: redis.Redis, redis_url: str
) -> None:
    lane.put(message("caption"))
    lane.deliver()
    client.hset("vigil:cameras", "gate", "{}")
    until(lambda: client.time()[1] // 1000 % 1000 < 990)  # the next stamp is another
    with closing(new_tail(redis_url, since_s=-0.001, kinds=["caption"])) as tail:
        assert tail.read() == []
        sent = lane.put(message("caption"), message("event"), message("caption", camera_id="yard"))
        lane.deliver()
        assert told(tail, 1) == [("vigil:gate:captions", sent[0])]
        client.hset("vigil:cameras", "yard", "{}")
        assert told(tail, 1) == [("vigil:yard:captions", sent[2])]


def test_it_goes_on_after_redis_was_away_without_a_gap_or_a_repetition(
    start_redis: StartRedis, lane: Lane
) -> None:
    server = start_redis(is_persistent=True)
    lane.url = server.url
    lane.rebuild()
    with closing(new_tail(server.url, cameras=["gate"])) as tail:
        sent = lane.put(message("caption"))
        lane.deliver()
        assert told(tail, 1) == [("vigil:gate:captions", sent[0])]
        sent = lane.put(message("caption"))
        lane.deliver()
        server.kill()
        with pytest.raises(PublishError) as caught:
            tail.read()
        assert caught.value.reason == "unreachable"
        server.start()
        sent += lane.put(message("caption"))
        lane.rebuild()
        lane.deliver()
        assert [one for _, one in told(tail, 2)] == sent
        assert tail.read() == []


def test_what_is_no_message_is_passed_over_and_counted(
    client: redis.Redis, lane: Lane, redis_url: str
) -> None:
    for broken in ({"event": "{"}, {"other": "x"}, {"event": "[]"}, {"event": '{"data": 1}'}):
        client.xadd("vigil:gate:captions:stream", broken)  # type: ignore[arg-type]  # invariant
    sent = lane.put(message("caption"))
    lane.deliver()
    with closing(new_tail(redis_url, since_s=60.0, cameras=["gate"])) as tail:
        assert [one for _, one in told(tail, 1)] == sent
        assert tail.num_broken == 4
