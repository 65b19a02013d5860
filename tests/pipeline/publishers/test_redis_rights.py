"""Whatever right is missing, nothing is left behind, doubled or heard twice.

redis#12418, StackExchange.Redis#2512 and redis#10181: new users have no channel rights, and the
refusal of one command inside a script neither undoes the others nor says NOPERM before Redis 7.
"""

from collections.abc import Callable

import pytest
import redis
from structlog.testing import capture_logs

from pipeline.errors import PublishError
from pipeline.outbox import Outbox
from pipeline.publishers.base import NoCameras
from pipeline.publishers.redis_scripts import COMMANDS
from tests.pipeline.publishers.lane import (
    Lane,
    entries,
    events,
    ids,
    message,
    received,
    subscribed,
)
from tests.servers.redis import RedisServer, StartRedis

KEYS = ("state", "carry", "captions:stream")
GRANTED = {
    "commands": [f"+{name}" for name in COMMANDS],
    "keys": ["vigil:*"],
    "channels": ["vigil:*"],
}
WITHOUT: dict[str, dict[str, list[str]]] = {
    **{f"+{name}": {"commands": [f"+{c}" for c in COMMANDS if c != name]} for name in COMMANDS},
    **{
        f"key {key}": {
            "keys": ["vigil:worker:*", *(f"vigil:*:{other}" for other in KEYS if other != key)]
        }
        for key in KEYS
    },
    "heartbeat's key": {"keys": [f"vigil:*:{key}" for key in KEYS]},
    "channels (redis#12418)": {"channels": []},
    "another channel's": {"channels": ["vigil:*:answers"]},
}
NOT_FOR_PUBLISHING = {"+hkeys"}  # only what is gone is left, and the log says so


def allow(
    server: RedisServer, *, commands: list[str], keys: list[str], channels: list[str]
) -> None:
    with server.client() as client:
        client.acl_setuser(
            "vigil",
            enabled=True,
            passwords=["+secret"],
            keys=keys,
            channels=channels,
            reset_channels=True,
            commands=commands,
            reset=True,
        )


def lane_of(server: RedisServer, outbox: Outbox, **options: object) -> Lane:
    return Lane(f"redis://vigil:secret@127.0.0.1:{server.port}/0", outbox, **options)


def left_in(client: redis.Redis) -> tuple[object, ...]:
    """Everything that a reader can find of the camera."""
    return (
        client.hgetall("vigil:gate:state"),
        entries(client, "vigil:gate:captions:stream"),
    )


def refused(tried: Callable[[], object]) -> None:
    with pytest.raises(PublishError) as caught:
        tried()
    assert caught.value.reason == "not_permitted"


@pytest.mark.parametrize("before", [[], ["before"]], ids=["first", "later"])
@pytest.mark.parametrize("without", sorted(set(WITHOUT) - NOT_FOR_PUBLISHING))
def test_a_right_that_is_missing_leaves_nothing_and_once_given_all_arrives_in_order(
    without: str, before: list[str], redis_url: str, shared_redis: RedisServer, outbox: Outbox
) -> None:
    assert redis_url  # it is empty
    server = shared_redis
    allow(server, **GRANTED)
    lane = lane_of(server, outbox)
    with server.client() as client, subscribed(client, "vigil:gate:captions") as subscription:
        sent = lane.put(*(message("caption", text) for text in before))
        lane.drain()
        received(subscription, len(sent))
        stood = left_in(client)
        allow(server, **{**GRANTED, **WITHOUT[without]})
        missed = lane.put(message("caption", "a"), message("caption", "b"))
        for _ in range(2):
            lane.rebuild()
            refused(lane.drain)
            assert left_in(client) == stood
        assert outbox.num_waiting == 2
        allow(server, **GRANTED)
        lane.rebuild()
        lane.drain()
        assert ids(events(client, "vigil:gate:captions:stream")) == sent + missed
        assert ids(received(subscription, 2)) == missed
        again = subscription.get_message(ignore_subscribe_messages=True, timeout=0.05)
        assert again is None, "heard twice"
        assert outbox.num_waiting == 0
    lane.publisher.close()


def test_reading_or_writing_alone_is_not_enough(start_redis: StartRedis, outbox: Outbox) -> None:
    server = start_redis()
    lane = lane_of(server, outbox)
    with server.client() as client:
        try:
            allow(server, **{**GRANTED, "keys": []})
            client.execute_command("ACL", "SETUSER", "vigil", "%R~vigil:*")
        except redis.ResponseError:
            pytest.skip("this server knows no rights to read alone (Redis before 7)")
        sent = lane.put(message("caption"))
        refused(lane.drain)
        allow(server, **{**GRANTED, "keys": ["vigil:worker:*"]})
        client.execute_command("ACL", "SETUSER", "vigil", "%W~vigil:*")
        lane.rebuild()
        refused(lane.drain)
        assert left_in(client) == ({}, [])
        allow(server, **GRANTED)
        lane.rebuild()
        lane.drain()
        assert ids(events(client, "vigil:gate:captions:stream")) == sent
    lane.publisher.close()


def test_a_camera_whose_keys_are_not_permitted_waits_and_others_arrive(
    start_redis: StartRedis, outbox: Outbox
) -> None:
    server = start_redis()
    allow(server, **{**GRANTED, "keys": ["vigil:yard:*", "vigil:worker:*"]})
    lane = lane_of(server, outbox)
    waiting = lane.put(message("caption", "a"))
    sent = lane.put(message("caption", "b", camera_id="yard"))
    refused(lane.drain)
    with server.client() as client:
        assert ids(events(client, "vigil:yard:captions:stream")) == sent
        assert outbox.num_waiting == 1
        allow(server, **GRANTED)
        lane.rebuild()
        lane.drain()
        assert ids(events(client, "vigil:gate:captions:stream")) == waiting
    lane.publisher.close()


def test_what_is_gone_stays_where_its_sweeping_is_not_permitted_and_the_log_says_so(
    start_redis: StartRedis, outbox: Outbox
) -> None:
    server = start_redis()
    allow(server, **{**GRANTED, **WITHOUT["+hkeys"]})

    class Known(NoCameras):
        def statuses(self) -> dict[str, dict[str, object]]:
            return {}

        def say_again(self, differs: object) -> None: ...

        def questions(self) -> dict[str, frozenset[str] | None]:
            return {"gate": None}

        def entries(self) -> dict[str, dict[str, object]]:
            return {}

    lane = lane_of(server, outbox, cameras=Known())
    lane.put(message("caption"))
    lane.drain()
    with capture_logs() as logs:
        lane.publisher._refresh()
        lane.publisher._refresh()
    assert [(one["event"], one["reason"]) for one in logs] == [
        ("hashes_not_swept", "not_permitted")
    ]
    lane.publisher.close()
