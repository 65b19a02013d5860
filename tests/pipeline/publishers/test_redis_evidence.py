"""Pictures of events on a real Redis: there before their message, expiring, bounded."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from pipeline.errors import PublishError
from pipeline.messages import Message, rfc3339
from pipeline.metrics import EVIDENCE_LOST
from pipeline.outbox import Outbox
from pipeline.pictures import Picture, Role
from pipeline.publishers.redis import Keeping
from pipeline.publishers.redis_evidence import Shelf
from pipeline.publishers.redis_keys import evidence_key
from pipeline.publishers.redis_scripts import COMMANDS, EVIDENCE_COMMANDS
from tests.fakes import Recorder
from tests.pipeline.publishers.lane import SOON_S, Lane, message, subscribed
from tests.servers.redis import RedisServer

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SIZE_BYTES = 1000
ROLES: tuple[Role, ...] = ("before", "at", "latest", "strip")
DAY_S = 24 * 3600.0


def pictured(
    event_id: str = "e1", *, num: int = 2, size_bytes: int = SIZE_BYTES, camera_id: str = "gate"
) -> Message:
    """An event with pictures, which need not be JPEG to lie there."""
    made = message("event", camera_id=camera_id)
    pictures = tuple(
        Picture(
            role, evidence_key("vigil", camera_id, event_id, role), AT, bytes([65]) * size_bytes
        )
        for role in ROLES[:num]
    )
    named = [
        {"role": one.role, "key": one.key, "captured_at": rfc3339(one.captured_at)}
        for one in pictures
    ]
    data = {**made.body["data"], "event_id": event_id, "pictures": named}
    body = {**made.body, "id": f"{made.id}-{event_id}", "data": data}
    return replace(made, id=body["id"], body=body, pictures=pictures)


@contextmanager
def lane_to(
    url: str, outbox: Outbox, observer: Recorder, *, max_bytes: int = 1 << 20, keep_s: float = DAY_S
) -> Iterator[Lane]:
    lane = Lane(url, outbox, keeping=Keeping(shelf=Shelf(keep_s, max_bytes, observer)))
    yield lane
    lane.publisher.close()


def lying(client: redis.Redis) -> list[str]:
    """The pictures that are there, and whether the index agrees with them."""
    found = sorted(client.scan_iter("vigil:gate:evidence:*"))
    assert sorted(client.zrange("vigil:evidence", 0, -1)) == found
    sizes = client.hgetall("vigil:evidence:sizes")
    total = int(sizes.pop("total", 0))
    assert sorted(sizes) == found
    assert total == sum(int(one) for one in sizes.values()) == sum(map(client.strlen, found))
    return [key.removeprefix("vigil:gate:evidence:") for key in found]


def test_a_picture_is_there_when_its_message_is_heard_and_expires(
    redis_url: str, client: redis.Redis, outbox: Outbox, observer: Recorder
) -> None:
    with lane_to(redis_url, outbox, observer) as lane, subscribed(client, "vigil:*:events") as sub:
        lane.put(pictured())
        assert lane.deliver() == 1
        assert sub.get_message(ignore_subscribe_messages=True, timeout=SOON_S) is not None
        assert lying(client) == ["e1:at", "e1:before"]
        key = "vigil:gate:evidence:e1:at"
        assert client.get(key) == "A" * SIZE_BYTES
        assert 0.9 * DAY_S < client.ttl(key) <= DAY_S
        assert outbox.size_bytes == 0


def test_the_oldest_give_way_above_the_bound_and_what_has_expired_is_struck_off(
    redis_url: str, client: redis.Redis, outbox: Outbox, observer: Recorder
) -> None:
    with lane_to(redis_url, outbox, observer, max_bytes=5 * SIZE_BYTES) as lane:
        lane.put(*(pictured(f"e{number}") for number in range(4)))
        lane.deliver()
        assert lying(client)[-2:] == ["e3:at", "e3:before"]
        assert len(lying(client)) == 5
        lane.put(pictured("e3", size_bytes=2 * SIZE_BYTES))  # again, as at its end
        lane.deliver()
        assert len(lying(client)) == 3
        assert {"e3:at", "e3:before"} < set(lying(client))
        lane.put(pictured("huge", num=1, size_bytes=6 * SIZE_BYTES))
        assert lane.deliver() == 1  # the message is heard all the same
        assert observer.totals(EVIDENCE_LOST, by="reason") == {"max_bytes": 1}
    client.flushall()
    with lane_to(redis_url, outbox, observer, keep_s=0.05) as lane:
        lane.put(pictured("brief"))
        lane.deliver()
    client.zadd("vigil:evidence", {"vigil:gate:evidence:gone": 1})  # expired long ago
    with lane_to(redis_url, outbox, observer) as lane:
        client.delete("vigil:gate:evidence:brief:at", "vigil:gate:evidence:brief:before")
        known: Any = client.zrange("vigil:evidence", 0, -1)
        client.zadd("vigil:evidence", dict.fromkeys(known, 1))
        lane.put(pictured("next"))
        lane.deliver()
        assert lying(client) == ["next:at", "next:before"]


@pytest.mark.parametrize("missing", EVIDENCE_COMMANDS)
def test_without_the_right_to_it_events_are_heard_without_pictures_and_it_is_told_once(
    missing: str,
    redis_url: str,
    shared_redis: RedisServer,
    client: redis.Redis,
    outbox: Outbox,
    observer: Recorder,
) -> None:
    assert redis_url  # it is empty
    granted = [one for one in (*COMMANDS, *EVIDENCE_COMMANDS) if one != missing]
    client.acl_setuser(
        "vigil",
        enabled=True,
        passwords=["+secret"],
        keys=["vigil:*"],
        channels=["vigil:*"],
        commands=[f"+{name}" for name in granted],
        reset=True,
    )
    url = f"redis://vigil:secret@127.0.0.1:{shared_redis.port}/0"
    with capture_logs() as logs, lane_to(url, outbox, observer) as lane:
        lane.put(pictured("e1"), pictured("e2"))
        assert lane.deliver() == 2
    assert list(client.scan_iter("vigil:gate:evidence:*")) == []
    assert outbox.num_waiting == outbox.size_bytes == 0
    assert observer.totals(EVIDENCE_LOST, by="reason") == {"not_permitted": 4}
    assert [(one["event"], one["reason"]) for one in logs] == [("evidence_lost", "not_permitted")]


def test_pictures_wait_for_redis_with_their_message(
    redis_url: str, client: redis.Redis, outbox: Outbox, observer: Recorder
) -> None:
    client.config_set("maxmemory", 1)
    try:
        with lane_to(redis_url, outbox, observer) as lane:
            lane.put(pictured())
            with pytest.raises(PublishError, match="out_of_memory"):
                lane.deliver()
            client.config_set("maxmemory", 0)
            assert lane.deliver() == 1
            assert lying(client) == ["e1:at", "e1:before"]
    finally:
        client.config_set("maxmemory", 0)
    assert observer.total(EVIDENCE_LOST) == 0


def test_where_none_are_kept_none_are_written(
    redis_url: str, client: redis.Redis, outbox: Outbox, observer: Recorder
) -> None:
    with lane_to(redis_url, outbox, observer, keep_s=0.0) as lane:
        lane.put(pictured())
        assert lane.deliver() == 1
    assert list(client.scan_iter("vigil*evidence*")) == []
