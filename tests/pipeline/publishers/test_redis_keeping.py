"""What Redis keeps of a camera: what is set aside and comes back, what expires, what is swept."""

import json
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from pipeline.carry import Carried
from pipeline.errors import PublishError
from pipeline.messages import Message, status_message
from pipeline.metrics import OUTBOX_SET_ASIDE
from pipeline.outbox import Outbox
from pipeline.publishers.base import NoCameras
from pipeline.publishers.redis import Keeping
from pipeline.stored import Stored
from tests.fakes import FakeClock, Recorder
from tests.pipeline.publishers.lane import (
    AT,
    SOON_S,
    Lane,
    entries,
    events,
    ids,
    message,
    received,
    subscribed,
)

WEEK_S = 7 * 24 * 3600
KEYS = ("state", "carry", "status:stream", "captions:stream")


@dataclass
class Known(NoCameras):
    """Cameras in the hands of a test."""

    said: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    asked: dict[str, Collection[str] | None] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)

    def statuses(self) -> Mapping[str, Mapping[str, Any]]:
        return self.said

    def say_again(self, differs: Mapping[str, Mapping[str, Any]]) -> None:
        self.again += differs

    def questions(self) -> Mapping[str, Collection[str] | None]:
        return self.asked

    def entries(self) -> Mapping[str, Mapping[str, Any]]:
        return {}


def status(reason: str, *, at_s: float = 0, camera_id: str = "gate") -> Message:
    at = AT + timedelta(seconds=at_s)
    return status_message(camera_id, at=at, state="offline", reason=reason)


def test_what_redis_refuses_for_its_own_sake_is_set_aside_and_the_rest_goes_on(
    lane: Lane, client: redis.Redis, observer: Recorder
) -> None:
    client.set("vigil:gate:captions:stream", "somebody else's")
    lane.put(message("caption", "a"), message("caption", "b"))
    sent = lane.put(message("event"), message("caption", "c", camera_id="yard"))
    with capture_logs() as logs:
        lane.drain()
    assert ids(events(client, "vigil:gate:events:stream")) == [sent[0]]
    assert ids(events(client, "vigil:yard:captions:stream")) == [sent[1]]
    assert (lane.outbox.num_waiting, lane.outbox.num_set_aside) == (0, 2)
    assert observer.totals(OUTBOX_SET_ASIDE, by="kind") == {"caption": 2}
    told = {(log["event"], log["camera_id"], log["kind"], log["reason"]) for log in logs}
    assert told == {("replies_set_aside", "gate", "caption", "wrong_type")}
    assert client.hgetall("vigil:gate:state").keys() == {"event:fire"}


def test_many_that_redis_never_takes_are_out_of_the_way_soon(
    lane: Lane, client: redis.Redis
) -> None:
    client.set("vigil:gate:captions:stream", "somebody else's")
    lane.put(*(message("caption", str(number)) for number in range(300)))
    begun_s = time.monotonic()
    lane.drain()
    assert time.monotonic() - begun_s < SOON_S
    assert lane.outbox.num_set_aside == 300


def test_a_stream_that_can_number_no_more_is_the_messages_own_fault(
    lane: Lane, client: redis.Redis
) -> None:
    last = "18446744073709551615-18446744073709551615"
    client.xadd("vigil:gate:events:stream", {"a": "b"}, id=last)
    lane.put(message("event"))
    lane.drain()
    assert lane.outbox.num_set_aside == 1
    assert not client.exists("vigil:gate:state"), "undone"


@contextmanager
def life(lane: Lane, path: Path) -> Iterator[Outbox]:
    """Let the lane's outbox be that of a process which begins now, on this file."""
    with closing(Outbox(path, max_bytes=1 << 20)) as lane.outbox:
        yield lane.outbox


def set_aside(lane: Lane, client: redis.Redis, *messages: Message) -> list[str]:
    """Let Redis refuse status messages for their own sake: their key is somebody else's."""
    client.set("vigil:gate:status:stream", "somebody else's")
    refused = lane.put(*messages)
    lane.drain()
    client.delete("vigil:gate:status:stream")
    return refused


def shown(client: redis.Redis) -> dict[str, Any]:
    """The status that a late joiner finds."""
    found: dict[str, Any] = json.loads(str(client.hget("vigil:gate:state", "status")))
    return found


def test_what_was_set_aside_is_tried_again_at_the_start_and_once(
    lane: Lane, tmp_path: Path, client: redis.Redis
) -> None:
    path = tmp_path / "again.db"
    with life(lane, path):
        late = set_aside(lane, client, status("timeout"), status("stalled", at_s=1))
        sent = lane.put(status("unreachable", at_s=2))
        lane.drain()
        sent += lane.put(status("auth_failed", at_s=3))  # still waits when the worker is killed
        lane.deliver(is_confirmed=False)
    with life(lane, path) as outbox, subscribed(client, "vigil:gate:status") as heard:
        assert (outbox.num_waiting, outbox.num_set_aside) == (3, 0)
        sent += late + lane.put(status("corrupt", at_s=4))
        lane.drain()
        assert ids(received(heard, 3)) == [*late, sent[-1]]
        assert ids(events(client, "vigil:gate:status:stream")) == sent
    found = events(client, "vigil:gate:status:stream")
    assert sorted(one["data"]["seq"] for one in found) == [1, 2, 3, 4, 5], "seq without gaps"
    assert shown(client)["data"]["reason"] == "corrupt"


def test_what_comes_late_does_not_take_the_place_of_something_newer(
    lane: Lane, tmp_path: Path, client: redis.Redis
) -> None:
    path = tmp_path / "late.db"
    with life(lane, path):
        set_aside(lane, client, status("timeout"), status("stalled", at_s=1))
        lane.put(status("unreachable", at_s=2))
        lane.drain()
    with life(lane, path):
        lane.drain()
    assert len(entries(client, "vigil:gate:status:stream")) == 3
    assert shown(client)["data"]["reason"] == "unreachable"


def test_what_comes_late_is_not_shown_as_the_newest_by_a_redis_that_was_emptied(
    lane: Lane, tmp_path: Path, client: redis.Redis
) -> None:
    path = tmp_path / "late.db"
    with life(lane, path):
        late = set_aside(lane, client, status("timeout"))
        lane.put(status("unreachable", at_s=1))
        lane.drain()
    client.flushall()
    for _ in range(2):  # the second start finds what the first could not deliver
        with life(lane, path) as outbox:
            assert [one.is_late for one in outbox.pending(9)] == [True]
    with life(lane, path):
        lane.drain()
        assert ids(events(client, "vigil:gate:status:stream")) == late
        assert client.hget("vigil:gate:state", "status") is None
        newest = lane.put(status("stalled", at_s=2))
        lane.drain()
    assert shown(client)["id"] == newest[0]


def test_what_was_set_aside_and_is_the_newest_is_shown_at_the_next_start(
    lane: Lane, tmp_path: Path, client: redis.Redis
) -> None:
    path = tmp_path / "newest.db"
    with life(lane, path):
        sent = set_aside(lane, client, status("timeout"), status("unreachable", at_s=1))
    with life(lane, path):
        lane.drain()
    assert shown(client)["id"] == sent[-1]


def test_a_cursor_of_the_version_before_is_honoured_and_taken_away(
    lane: Lane, client: redis.Redis
) -> None:
    sent = lane.put(message("caption", "a"), message("caption", "b"))
    first = lane.outbox.pending(1)[0]
    client.hset("vigil:gate:state", "cursor:caption", f"{first.origin} {first.position}")
    assert lane.deliver() == 1, "the version before had published the first"
    assert ids(events(client, "vigil:gate:captions:stream")) == [sent[1]]
    assert set(client.hgetall("vigil:gate:state")) == {"caption"}
    assert str(client.hget("vigil:gate:carry", "cursor:caption")).startswith(first.origin)


def test_an_older_term_is_refused(lane: Lane, client: redis.Redis) -> None:
    client.hset("vigil:gate:carry", "term", "7")
    lane.put(replace(message("event"), carried=Carried(term=6, group="g")))
    lane.drain()
    assert lane.outbox.num_waiting == 0, "whoever has the camera says it anew"
    assert not client.exists("vigil:gate:events:stream", "vigil:gate:state")


def test_nothing_is_lost_when_memory_runs_out_and_nothing_is_trimmed_for_what_is_taken_back(
    lane: Lane, client: redis.Redis
) -> None:
    """redis#12418: a subscriber heard a message each time that the stream refused it."""
    lane.options["keeping"] = Keeping(stream_max_len=100)
    lane.rebuild()
    lane.put(*(message("caption", str(number)) for number in range(300)))
    lane.deliver()
    stood = entries(client, "vigil:gate:captions:stream")
    with subscribed(client, "vigil:gate:captions") as heard:
        missed = lane.put(message("caption", "no room"))
        try:
            client.config_set("maxmemory", "1")
            for _ in range(3):
                with pytest.raises(PublishError, match="out_of_memory"):
                    lane.deliver()
            assert entries(client, "vigil:gate:captions:stream") == stood
        finally:
            client.config_set("maxmemory", "0")
        lane.deliver()
        assert ids(received(heard, 1)) == missed
        again = heard.get_message(ignore_subscribe_messages=True, timeout=0.05)
        assert again is None


def test_all_keys_of_a_camera_expire_when_it_is_gone_and_are_renewed_while_it_is_watched(
    redis_url: str, outbox: Outbox, client: redis.Redis
) -> None:
    """OpenCTI/docker#78: what nobody reads stays in memory for ever."""
    known = Known(said={"gate": {"state": "offline", "reason": "timeout", "since": "x"}})
    lane = Lane(redis_url, outbox, cameras=known)
    lane.put(status("timeout"), message("caption"))
    lane.drain()
    for key in KEYS:
        assert WEEK_S - 60 < client.ttl(f"vigil:gate:{key}") <= WEEK_S
        client.expire(f"vigil:gate:{key}", 100)
    lane.publisher._refresh()
    assert all(client.ttl(f"vigil:gate:{key}") > WEEK_S - 60 for key in KEYS)
    lane.publisher.close()
    lane.options["keeping"] = Keeping(gone_after_s=0.05)
    lane.rebuild()
    lane.put(status("timeout"), message("caption"))
    lane.drain()
    end_s = time.monotonic() + SOON_S
    while client.exists(*(f"vigil:gate:{key}" for key in KEYS)):
        assert time.monotonic() < end_s
        time.sleep(0.02)
    lane.publisher.close()


def test_a_status_that_redis_lost_is_said_again_and_another_workers_is_left(
    redis_url: str, outbox: Outbox, client: redis.Redis
) -> None:
    known = Known()
    lane = Lane(redis_url, outbox, cameras=known)
    for camera_id in ("gate", "yard", "roof"):
        one = status("timeout", camera_id=camera_id)
        known.said[camera_id] = one.body["data"]
        lane.put(one)
    lane.drain()
    lane.publisher._refresh()
    assert known.again == []
    roof = str(client.hget("vigil:roof:state", "status"))
    client.hset("vigil:roof:state", "status", roof.replace("worker-a", "worker-b"))
    known.said["roof"] = {**known.said["roof"], "reason": "stalled"}
    known.said["yard"] = {**known.said["yard"], "reason": "stalled"}  # Redis went back in time
    client.delete("vigil:gate:state")
    lane.publisher._refresh()
    assert known.again == ["gate", "yard"]
    lane.publisher.close()


def test_a_status_that_can_never_be_said_is_not_said_for_ever(
    redis_url: str, outbox: Outbox, client: redis.Redis
) -> None:
    client.set("vigil:gate:status:stream", "somebody else's")
    one = status("timeout")
    known = Known(said={"gate": one.body["data"]})
    lane = Lane(redis_url, outbox, cameras=known)
    lane.put(one)
    lane.drain()
    lane.publisher._refresh()
    assert known.again == []
    lane.publisher.close()


def test_the_hash_tells_of_no_question_and_no_camera_that_is_gone(
    redis_url: str, outbox: Outbox, client: redis.Redis
) -> None:
    """frigate#3022, frigate-hass-integration#738: what was removed stayed in the hash for ever."""
    known = Known(asked={"gate": {"smoke"}, "yard": {"fire"}, "roof": None, "shed": None})
    lane = Lane(redis_url, outbox, cameras=known)
    for camera_id in ("gate", "yard", "roof", "shed"):
        lane.put(status("timeout", camera_id=camera_id), message("event", camera_id=camera_id))
    lane.drain()
    # somebody else's outbox has the camera now
    client.hset("vigil:shed:carry", "cursor:status", "another 1 1")
    lane.publisher.close()
    lane.options["run_id"] = outbox.origin
    lane.rebuild()
    lane.publisher._refresh()
    assert set(client.hgetall("vigil:gate:state")) == {"status"}
    assert set(client.hgetall("vigil:yard:state")) == {"status", "event:fire"}
    assert not client.exists("vigil:roof:state", "vigil:roof:carry")
    assert set(client.hgetall("vigil:shed:state")) == {"status", "event:fire"}
    assert client.exists("vigil:roof:events:stream"), "what happened can still be read"
    lane.publisher.close()


def test_two_workers_of_one_id_do_not_both_publish(
    redis_url: str, outbox: Outbox, client: redis.Redis
) -> None:
    """OpenZWave/qt-openzwave#206, rtl_433#1129: each event began twice, under two ids."""
    first = Lane(redis_url, Outbox(None, max_bytes=1 << 20), run_id="one", heartbeat_s=0.1)
    first.publisher.heartbeat({})
    second = Lane(redis_url, outbox, run_id="two", heartbeat_s=0.1)
    waiting = second.put(message("event"))
    with pytest.raises(PublishError, match="worker-a: each needs a VIGIL_WORKER_ID") as caught:
        second.drain()
    assert caught.value.reason == "id_in_use"
    assert outbox.num_waiting == 1
    # the one that has the name goes on, and so does its next process with the same outbox
    first.rebuild()
    first.publisher.heartbeat({})
    first.publisher.close()
    end_s = time.monotonic() + SOON_S
    while outbox.num_waiting:  # it was killed: its name is free when its key has expired
        assert time.monotonic() < end_s
        second.rebuild()
        try:
            second.drain()
        except PublishError:
            time.sleep(0.02)
    assert ids(events(client, "vigil:gate:events:stream")) == waiting
    first.outbox.close()
    second.publisher.close()


def test_the_name_of_a_worker_that_was_stopped_is_free_at_once(
    redis_url: str, outbox: Outbox, client: redis.Redis
) -> None:
    first = Lane(redis_url, outbox, run_id="one", heartbeat_s=60.0)
    first.drain()
    first.publisher.close()
    time.sleep(0.01)  # its key expires within a millisecond
    second = Lane(redis_url, outbox, run_id="two", heartbeat_s=60.0)
    second.publisher.heartbeat({"cameras": 3})
    beat = json.loads(str(client.get("vigil:worker:worker-a")))
    assert (beat["run"], beat["cameras"]) == ("two", 3)
    second.publisher.close()


def test_a_heartbeat_of_the_version_before_is_nobodys(lane: Lane, client: redis.Redis) -> None:
    client.set("vigil:worker:worker-a", json.dumps({"worker_id": "worker-a", "live": True}))
    lane.publisher.heartbeat({})


def test_works_is_called_when_messages_arrive_and_not_while_they_are_refused(
    redis_url: str, outbox: Outbox, client: redis.Redis
) -> None:
    lane = Lane(redis_url, outbox, clock=FakeClock())
    told: list[str] = []

    def works() -> bool:
        told.append("works")
        return False

    stop = threading.Event()
    stop.set()
    lane.put(message("event"))
    try:
        client.config_set("maxmemory", "1")
        with pytest.raises(PublishError):
            lane.publisher.run(outbox, stop, works=works)
    finally:
        client.config_set("maxmemory", "0")
    assert told == []
    lane.publisher.run(outbox, stop, works=works)
    assert told
    lane.publisher.close()


def test_a_position_says_which_number_it_was() -> None:
    stored = Stored(row=1, origin="o", generation=3, seq=9, message=message("caption"))
    assert stored.position % 2**32 == stored.seq
