import json
import threading
import time
import traceback
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.clock import SystemClock
from pipeline.errors import ConfigError, PublishError
from pipeline.messages import MessageKind
from pipeline.outbox import Outbox
from pipeline.publishers.redis import MAX_TRIES, Keeping, RedisPublisher
from pipeline.publishers.redis_client import CONNECT_TIMEOUT_S, SOCKET_TIMEOUT_S
from pipeline.stored import Stored
from tests.pipeline.publishers.lane import (
    SOON_S,
    Lane,
    entries,
    events,
    ids,
    message,
    received,
    subscribed,
)
from tests.servers.redis import RedisServer, StartRedis
from tests.wire import validate

CANARY = "c@n:a/r%y#1"
PLAIN_CANARY = CANARY.replace("/", "")  # where a URL's password ends at a / cannot be told
WRITTEN = {"encoded": (CANARY, quote(CANARY, safe="")), "as-it-is": (PLAIN_CANARY, PLAIN_CANARY)}


def test_a_subscriber_gets_valid_messages_in_order(lane: Lane, client: redis.Redis) -> None:
    with subscribed(client, "vigil:*:captions", "vigil:gate:answers") as subscription:
        sent = lane.put(
            message("caption", "one"),
            message("answer"),
            message("caption", "two"),
            message("caption", "three", camera_id="yard"),
        )
        before = datetime.now(UTC)
        assert lane.deliver() == 4
        got = received(subscription, 4)
    assert ids(got) == sent
    for one in got:
        validate(one)
        published_at = datetime.fromisoformat(one["data"]["published_at"])
        assert before - timedelta(seconds=1) <= published_at <= datetime.now(UTC)
    assert [one["data"]["seq"] for one in got] == [1, 1, 2, 1]
    assert {one["source"] for one in got} == {"/vigil/vigil"}
    assert {(one["data"]["worker_id"], one["data"]["term"]) for one in got} == {("worker-a", 0)}


def test_a_subscriber_finds_in_the_stream_what_it_was_told(lane: Lane, client: redis.Redis) -> None:
    with subscribed(client, "vigil:gate:events") as subscription:
        lane.put(message("event"))
        lane.deliver()
        (told,) = received(subscription, 1)
    assert events(client, "vigil:gate:events:stream") == [told]
    assert entries(client, "vigil:gate:events:stream")[0]["id"] == told["id"]


def test_streams_are_bounded(redis_url: str, outbox: Outbox, shared_redis: RedisServer) -> None:
    lane = Lane(redis_url, outbox, keeping=Keeping(stream_max_len=10))
    sent = lane.put(*(message("caption", str(i)) for i in range(400)))
    assert lane.deliver() == 400
    with shared_redis.client() as client:
        kept = ids(events(client, "vigil:gate:captions:stream"))
    assert 10 <= len(kept) <= 200  # whole nodes of 100 entries
    assert kept == sent[-len(kept) :]
    lane.publisher.close()


def test_a_late_joiner_finds_how_the_camera_stands(lane: Lane, client: redis.Redis) -> None:
    sent = lane.put(
        message("caption", "old"),
        message("caption", "new"),
        message("answer"),
        message("event"),
        message("status"),
    )
    lane.deliver()
    state = client.hgetall("vigil:gate:state")
    assert {name: json.loads(state[name])["id"] for name in state} == {
        "caption": sent[1],
        "question:fire": sent[2],
        "event:fire": sent[3],
        "status": sent[4],
    }


def test_what_is_delivered_again_after_a_lost_reply_is_published_once(
    lane: Lane, client: redis.Redis
) -> None:
    sent = lane.put(message("caption", "a"), message("event"), message("caption", "b"))
    assert lane.deliver(is_confirmed=False) == 3
    sent += lane.put(message("caption", "c"))
    lane.rebuild()
    assert lane.deliver() == 1
    assert ids(events(client, "vigil:gate:captions:stream")) == [sent[0], sent[2], sent[3]]
    assert ids(events(client, "vigil:gate:events:stream")) == [sent[1]]
    assert lane.outbox.num_waiting == 0


def test_a_new_outbox_is_not_taken_for_a_repetition(
    lane: Lane, client: redis.Redis, tmp_path: Path
) -> None:
    sent = lane.put(message("caption", "a"), message("caption", "b"))
    lane.deliver()
    with closing(Outbox(tmp_path / "other.db", max_bytes=1 << 20)) as other:
        lane.outbox = other
        sent += lane.put(message("caption", "c"))
        assert lane.deliver() == 1
    assert ids(events(client, "vigil:gate:captions:stream")) == sent


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.sampled_from(["put caption", "put event", "deliver", "lose reply", "half", "kill"]),
        max_size=12,
    )
)
def test_any_history_of_puts_losses_and_kills_publishes_everything_once_in_order(
    steps: list[str], redis_url: str, shared_redis: RedisServer, tmp_path: Path
) -> None:
    with shared_redis.client() as client:
        client.flushall()
        for part in tmp_path.glob("history.db*"):
            part.unlink()
        path = tmp_path / "history.db"
        lane = Lane(redis_url, Outbox(path, max_bytes=1 << 20))
        sent: dict[str, list[str]] = {"captions": [], "events": []}
        for step in [*steps, "deliver"]:
            match step:
                case "put caption" | "put event" as put:
                    kind: MessageKind = "event" if put == "put event" else "caption"
                    sent[f"{kind}s"] += lane.put(message(kind), message(kind))
                case "deliver":
                    lane.deliver()
                case "lose reply":
                    lane.deliver(is_confirmed=False)
                case "half":  # the connection broke in the middle of a batch
                    lane.publisher.deliver(lane.outbox.pending(3))
                case _:
                    lane.outbox.close()
                    lane.rebuild()
                    lane.outbox = Outbox(path, max_bytes=1 << 20)
        for name, expected in sent.items():
            assert ids(events(client, f"vigil:gate:{name}:stream")) == expected
        lane.outbox.close()
        lane.publisher.close()


def test_a_server_that_is_killed_and_started_again_loses_and_repeats_nothing(
    start_redis: StartRedis, outbox: Outbox
) -> None:
    server = start_redis(is_persistent=True)
    lane = Lane(server.url, outbox)
    sent = lane.put(message("caption", "a"), message("caption", "b"))
    lane.deliver(is_confirmed=False)  # killed between the script and its reply
    server.kill()
    sent += lane.put(message("caption", "c"))
    with pytest.raises(PublishError, match="unreachable"):
        lane.run(threading.Event())
    assert outbox.num_waiting == 3
    server.start()
    lane.rebuild()
    stop = threading.Event()
    stop.set()
    lane.run(stop)
    assert outbox.num_waiting == 0
    with server.client() as client:
        assert ids(events(client, "vigil:gate:captions:stream")) == sent
    lane.publisher.close()


def test_the_same_publisher_goes_on_after_a_timeout_without_mixing_up_replies(
    start_redis: StartRedis, outbox: Outbox
) -> None:
    server = start_redis()
    lane = Lane(server.url, outbox)
    sent = lane.put(message("caption", "a"))
    lane.deliver()
    server.pause()
    sent += lane.put(message("caption", "b"), message("caption", "c"))
    begun_s = time.monotonic()
    with pytest.raises(PublishError, match="timeout"):
        lane.deliver()
    assert time.monotonic() - begun_s < CONNECT_TIMEOUT_S + SOCKET_TIMEOUT_S + 1.0
    server.resume()
    lane.deliver()
    assert outbox.num_waiting == 0
    with server.client() as client:
        assert ids(events(client, "vigil:gate:captions:stream")) == sent
    lane.publisher.close()


def test_a_half_open_server_fails_a_new_connection_in_time_and_never_holds_up_put(
    start_redis: StartRedis, outbox: Outbox
) -> None:
    server = start_redis()
    lane = Lane(server.url, outbox)
    server.pause()
    failure: list[BaseException] = []

    def run() -> None:
        try:
            lane.run(threading.Event())
        except PublishError as exc:
            failure.append(exc)

    begun_s = time.monotonic()
    thread = threading.Thread(target=run)
    thread.start()
    slowest_s = 0.0
    while thread.is_alive():
        put_s = time.monotonic()
        lane.put(message("caption"))
        slowest_s = max(slowest_s, time.monotonic() - put_s)
        time.sleep(0.02)
    thread.join()
    assert time.monotonic() - begun_s < CONNECT_TIMEOUT_S + SOCKET_TIMEOUT_S + 1.0
    assert slowest_s < 0.5
    assert "timeout" in str(failure[0])
    lane.publisher.close()


def said(error: BaseException | None) -> str:
    """Return everything that any way of printing an exception could show."""
    out = ""
    while error is not None:
        out += "".join(traceback.format_exception(error)) + repr(error.args) + repr(vars(error))
        error = error.__cause__ or error.__context__
    return out


@pytest.mark.parametrize("written", WRITTEN)
def test_a_wrong_password_is_told_without_the_password(
    written: str, start_redis: StartRedis, outbox: Outbox
) -> None:
    server = start_redis(password="another")
    lane = Lane(f"redis://admin:{WRITTEN[written][1]}@127.0.0.1:{server.port}/0", outbox)
    lane.put(message("caption"))
    with pytest.raises(PublishError, match="auth_failed") as caught:
        lane.deliver()
    assert not any(form in said(caught.value) for form in (*WRITTEN[written], "c@n", "r%y"))
    lane.publisher.close()


@pytest.mark.parametrize("written", WRITTEN)
def test_the_right_password_is_read_however_it_is_written(
    written: str, start_redis: StartRedis, outbox: Outbox
) -> None:
    password, secret = WRITTEN[written]
    server = start_redis(password=password)
    lane = Lane(f"redis://:{secret}@127.0.0.1:{server.port}/0", outbox)
    lane.put(message("caption"))
    assert lane.deliver() == 1
    lane.publisher.close()


def test_a_unix_socket_does_as_well(start_redis: StartRedis, outbox: Outbox) -> None:
    server = start_redis(password="p")
    lane = Lane(f"unix://:p@{server.socket_path}?db=0", outbox)
    lane.put(message("caption"))
    assert lane.deliver() == 1
    lane.publisher.close()


@pytest.mark.parametrize(
    "url",
    [
        f"http://u:{CANARY}@host",
        f"redis://u:{CANARY}@host:port",
        f"redis://u:{quote(CANARY, safe='')}@host?no_such_option=1",
        "redis",
    ],
    ids=["scheme", "port", "option", "no-url"],
)
def test_a_url_that_cannot_be_read_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError, match="expected") as caught:
        RedisPublisher(url, prefix="vigil", worker_id="a", clock=SystemClock())
    assert "r%y" not in said(caught.value)
    assert "host:port" not in said(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1:1", "x" * 70], ids=["refused", "no-such-name"])
def test_a_server_that_is_not_there_is_told_so(host: str, outbox: Outbox) -> None:
    lane = Lane(f"redis://u:{quote(CANARY, safe='')}@{host}/0", outbox)
    with pytest.raises(PublishError, match="unreachable") as caught:
        lane.publisher.heartbeat({})
    assert "c@n" not in said(caught.value)


@pytest.mark.parametrize(
    ("commands", "reason"),
    [
        (["CONFIG SET maxmemory 1"], "out_of_memory"),
        (["REPLICAOF 127.0.0.1 1"], "read_only"),
        (["CONFIG SET min-replicas-to-write 3"], "no_replicas"),
    ],
    ids=["full", "replica", "no-replicas"],
)
def test_a_server_that_takes_nothing_is_waited_for(
    commands: list[str], reason: str, start_redis: StartRedis, outbox: Outbox
) -> None:
    server = start_redis()
    lane = Lane(server.url, outbox)
    sent = lane.put(message("caption", "a"))
    lane.deliver()
    with server.client() as client:
        for command in commands:
            client.execute_command(*command.split())
        sent += lane.put(message("caption", "b"), message("event"))
        for _ in range(MAX_TRIES + 1):
            with pytest.raises(PublishError, match=reason):
                lane.deliver()
        client.execute_command("CONFIG", "SET", "maxmemory", "0")
        client.execute_command("CONFIG", "SET", "min-replicas-to-write", "0")
        client.execute_command("REPLICAOF", "NO", "ONE")
        assert lane.deliver() == 2
        assert ids(events(client, "vigil:gate:captions:stream")) == sent[:2]
        assert ids(events(client, "vigil:gate:events:stream")) == sent[2:]
    lane.publisher.close()


def test_run_delivers_what_is_put_and_what_is_left_when_it_is_stopped(
    lane: Lane, client: redis.Redis
) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=lane.run, args=(stop,))
    with subscribed(client, "vigil:gate:captions") as subscription:
        thread.start()
        sent = lane.put(message("caption", "a"))
        assert ids(received(subscription, 1)) == sent
        sent = lane.put(*(message("caption", str(i)) for i in range(200)))
        stop.set()
        thread.join(SOON_S)
        assert ids(received(subscription, 200)) == sent
    assert lane.outbox.num_waiting == 0


def test_what_is_put_between_the_last_look_and_the_stop_is_delivered(
    lane: Lane, client: redis.Redis
) -> None:
    stop = threading.Event()
    sent: list[str] = []

    def works() -> bool:
        if not sent:  # it has just looked, and nothing was there
            sent.extend(lane.put(message("caption")))
            stop.set()
        return False

    lane.publisher.run(lane.outbox, stop, works=works)
    assert ids(events(client, "vigil:gate:captions:stream")) == sent
    assert lane.outbox.num_waiting == 0


def test_a_heartbeat_says_what_it_is_given_and_expires(
    redis_url: str, outbox: Outbox, shared_redis: RedisServer
) -> None:
    lane = Lane(redis_url, outbox, heartbeat_s=0.5)
    with shared_redis.client() as client:
        lane.publisher.heartbeat({"cameras": 3})
        beat = json.loads(str(client.get("vigil:worker:worker-a")))
        assert (beat["cameras"], beat["worker_id"]) == (3, "worker-a")
        assert abs(datetime.fromisoformat(beat["at"]) - datetime.now(UTC)) < timedelta(minutes=1)
        assert 0 < client.pttl("vigil:worker:worker-a") <= 1500
        time.sleep(1.6)
        assert client.get("vigil:worker:worker-a") is None
    lane.publisher.close()


def test_run_beats_while_there_is_nothing_to_deliver(
    redis_url: str, outbox: Outbox, shared_redis: RedisServer
) -> None:
    lane = Lane(redis_url, outbox, heartbeat_s=0.1)
    stop = threading.Event()
    beats: list[int] = []

    def fields() -> dict[str, object]:
        beats.append(len(beats))
        if len(beats) == 3:
            stop.set()
        return {}

    lane.publisher.run(outbox, stop, fields=fields)
    with shared_redis.client() as client:
        end_s = time.monotonic() + SOON_S
        while client.exists("vigil:worker:worker-a") and time.monotonic() < end_s:
            time.sleep(0.01)
        assert not client.exists("vigil:worker:worker-a"), "a worker that has stopped lives on"
    assert len(beats) == 4  # the last one takes leave
    lane.publisher.close()


def test_positions_are_numbers_that_lua_compares_exactly() -> None:
    late = Stored(row=1, origin="o", generation=2**20, seq=2**32 - 1, message=message("caption"))
    assert late.position < 2**53
