"""From streams to the history, by the real console: nothing twice, nothing missed."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from pipeline.messages import Asked, Message
from tests.servers.redis import StartRedis
from tests.worker.console.conftest import StartConsole
from tests.worker.console.messages import (
    GATE,
    Streams,
    answer,
    caption,
    event,
    heartbeat,
    listed,
    status,
)
from tests.worker.console.process import Console, until

RUN_BOOK = Path(__file__).resolve().parents[3] / "deploy" / "README.md"


def moments(count: int) -> Iterator[datetime]:
    """Times up to now, a second apart."""
    begin = datetime.now(UTC) - timedelta(seconds=count)
    return (begin + timedelta(seconds=n) for n in range(count))


def put(
    streams: Streams,
    count: int,
    *,
    text: str = "A person.",
    camera_id: str = "gate",
    max_len: int = 10_000,
) -> None:
    read = [caption(f"{text} {n}", at, camera_id=camera_id) for n, at in enumerate(moments(count))]
    streams.put(*read, max_len=max_len)


def gaps(console: Console) -> list[list[object]]:
    found: list[list[object]] = console.get("api/health")["gaps"]
    return found


def test_what_came_while_the_console_was_killed_is_there_after_its_start(
    streams: Streams, start_console: StartConsole
) -> None:
    streams.cameras({"gate": listed(GATE)})
    put(streams, 40, text="Before.")
    console = start_console()
    until(lambda: console.num_messages() == 40)
    console.kill()
    put(streams, 300, text="Meanwhile.")
    streams.put(*(answer("no", at, p=0.1) for at in moments(50)))
    console.start()
    until(lambda: console.num_messages() == 390)
    assert gaps(console) == []
    put(streams, 1, text="After.")
    until(lambda: console.num_messages() == 391)
    assert console.stop() == 0


def test_what_a_stream_does_not_hold_any_more_is_shown_as_a_gap(
    streams: Streams, start_console: StartConsole
) -> None:
    streams.cameras({"gate": listed(GATE)})
    put(streams, 10)
    console = start_console()
    until(lambda: console.num_messages() == 10)
    console.kill()
    put(streams, 30, text="Lost or late.", max_len=12)
    console.start()
    until(lambda: console.num_messages() == 22)
    [(camera_id, kind, start_ms, end_ms, missed)] = gaps(console)
    assert (camera_id, kind, missed) == ("gate", "caption", 18)
    assert isinstance(start_ms, int)
    assert isinstance(end_ms, int)
    assert start_ms <= end_ms


def test_a_redis_that_was_emptied_is_a_gap_and_is_followed_on(
    streams: Streams, start_console: StartConsole
) -> None:
    streams.cameras({"gate": listed(GATE)})
    put(streams, 10)
    console = start_console()
    until(lambda: console.num_messages() == 10)
    streams.client.delete("vigil:gate:captions:stream")
    Streams(streams.client).put(caption("A new life.", datetime.now(UTC)))
    until(lambda: console.num_messages() == 11)
    assert [one[4] for one in gaps(console)] == [None], "the numbers began again"


def test_a_stream_that_was_set_back_is_read_again_and_kept_once(
    streams: Streams, start_console: StartConsole
) -> None:
    streams.cameras({"gate": listed(GATE)})
    put(streams, 10)
    console = start_console()
    until(lambda: console.num_messages() == 10)
    console.kill()
    key = "vigil:gate:captions:stream"
    kept: Any = streams.client.xrange(key)
    streams.client.delete(key)
    for n, (_, fields) in enumerate(kept):  # of an old copy, by a clock that was wrong
        streams.client.xadd(key, fields, id=f"5-{n + 1}")
    raw = streams.envelope(caption("By the wrong clock.", datetime.now(UTC)))
    streams.client.xadd(key, {"event": raw, "id": "x"}, id="6-1")
    console.start()
    until(lambda: console.num_messages() == 11)


def test_what_is_broken_or_ancient_is_passed_over_and_counted(
    streams: Streams, start_console: StartConsole
) -> None:
    streams.cameras({"gate": listed(GATE)})
    streams.client.hset("vigil:cameras", mapping={"dock": "{", "../x": "{}", "roof": "[]"})
    streams.client.hset("vigil:cameras", "yard", json.dumps({"owner": "w", "questions": [3]}))
    streams.client.hset("vigil:gate:state", mapping={"status": "{", "answer": "", "more": "1"})
    for text in ("{", "[]", json.dumps({"type": "vigil.caption.v1"}), b"\xff\xfe"):
        streams.raw("gate", text)
    streams.client.xadd("vigil:gate:captions:stream", {"no": "event"})
    streams.put(caption("Ancient.", datetime.now(UTC) - timedelta(days=90)))
    put(streams, 3)
    console = start_console()
    until(lambda: console.num_messages() == 3)
    assert console.get("api/health")["history"]["passed_over"] == {"broken": 5, "ancient": 1}
    assert gaps(console) == []
    assert [one["camera"] for one in console.get("api/cameras")["cameras"]] == ["gate", "yard"]


def test_events_at_no_time_are_passed_over_and_the_console_goes_on(
    streams: Streams, start_console: StartConsole
) -> None:
    streams.cameras({"gate": listed(GATE)})
    now = datetime.now(UTC)
    end = event("end", now)
    for name, year in (("started_at", 2999), ("ended_at", 2999), ("started_at", 1600)):
        data = {**end.body["data"], name: f"{year}-01-01T00:00:00.000Z"}
        streams.put(Message("event", "gate", f"{name}-{year}", {**end.body, "data": data}))
    streams.put(event("start", now, event_id="sound"))
    console = start_console()
    until(lambda: console.num_messages() == 1)
    assert console.get("api/events/sound")
    passed_over = console.get("api/health")["history"]["passed_over"]
    assert passed_over == {"ahead": 2, "broken": 1}
    assert console.stop() == 0


@pytest.mark.parametrize("key", ["vigil:gate:captions:stream", "vigil:gate:state"])
def test_another_key_in_a_cameras_place_costs_nobody_else_anything(
    streams: Streams, start_console: StartConsole, key: str
) -> None:
    streams.cameras({"gate": listed(GATE), "yard": listed(GATE)})
    streams.client.set(key, "of another type")
    console = start_console()
    put(streams, 3, camera_id="yard")
    streams.put(status("online", datetime.now(UTC), camera_id="yard"))
    until(lambda: console.num_messages() == 4)
    is_stream = key.endswith(":stream")
    health = console.get("api/health")
    assert health["link"]["up"]
    assert health["history"]["passed_over"] == ({"wrong_type": 1} if is_stream else {})
    assert ("wrong_type" in console.log.read_text()) == is_stream
    streams.client.delete(key)
    put(streams, 1)
    until(lambda: console.num_messages() == 5)


def test_how_a_camera_stands_is_shown_at_once_and_follows_its_messages(
    streams: Streams, start_console: StartConsole
) -> None:
    smoke = Asked("smoke", "Is there smoke?", "yes_no")
    now = datetime.now(UTC)
    streams.cameras({"gate": listed(GATE, smoke)})
    streams.put(
        caption("A gate.", now),
        answer("yes", now, p=0.9),
        event("start", now),
        status("offline", now, reason="timeout", detail="no packet for 15 s"),
    )
    console = start_console()

    def tile() -> dict[str, object]:
        found: list[dict[str, object]] = console.get("api/cameras")["cameras"]
        return found[0] if found else {"caption": None}

    until(lambda: tile()["caption"] == "A gate.")
    shown = console.get("api/cameras")["cameras"][0]
    assert (shown["state"], shown["reason"]) == ("offline", "timeout")
    assert round(shown["kept_ratio"], 3) == round(108 / 726, 3)
    asked = shown["questions"]["gate-open"]
    assert (asked["answer"], asked["p"], asked["enter"], asked["event_id"]) == (
        "yes",
        0.9,
        0.7,
        "e-1",
    )
    assert shown["questions"]["smoke"]["answer"] is None
    later = now + timedelta(seconds=5)
    streams.put(answer("no", later, p=0.1), event("end", now), status("online", later))
    until(lambda: tile()["state"] == "online")
    asked = console.get("api/cameras")["cameras"][0]["questions"]["gate-open"]
    assert (asked["answer"], asked["event_id"]) == ("no", None)
    streams.client.hdel("vigil:cameras", "gate")
    until(lambda: console.get("api/cameras")["cameras"] == [])


def test_redis_may_go_and_come_and_have_forgotten_all(
    start_redis: StartRedis, start_console: StartConsole
) -> None:
    server = start_redis()
    with server.client() as client:
        Streams(client).cameras({"gate": listed(GATE)})
        Streams(client).put(caption("Before.", datetime.now(UTC)))
    console = start_console(server.url)
    until(lambda: console.num_messages() == 1)
    server.kill()
    until(lambda: not console.get("api/cameras")["link"]["up"])
    assert console.get("api/cameras")["link"]["reason"] == "unreachable"
    assert console.get("api/search", q="before")["hits"], "the history is there"
    server.start()
    with server.client() as client:
        streams = Streams(client)
        streams.cameras({"gate": listed(GATE)})
        streams.put(caption("After.", datetime.now(UTC)))
    until(lambda: console.get("api/cameras")["link"]["up"])
    until(lambda: console.num_messages() == 2)


def test_the_rights_that_the_run_book_lists_are_enough(
    start_redis: StartRedis, start_console: StartConsole
) -> None:
    [rights] = re.findall(r"`ACL SETUSER console on >PASSWORD ([^`]*)`", RUN_BOOK.read_text())
    server = start_redis()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "console", "on", ">secret", *rights.split())
        streams = Streams(client)
        streams.cameras({"gate": listed(GATE)})
        streams.put(caption("A person.", datetime.now(UTC)))
        client.set("vigil:worker:worker-1", heartbeat(outbox_depth=0))
        console = start_console(f"redis://console:secret@127.0.0.1:{server.port}/0")
        until(lambda: console.num_messages() == 1)
        health = console.get("api/health")
        assert (health["link"]["up"], len(health["workers"])) == (True, 1)
        assert health["redis"]["redis_version"]
        assert console.post("api/look", {"cameras": ["gate"]}) == 204
        until(lambda: client.exists("vigil:gate:watched"))
        body = {"camera": "gate", "question": "Is it open?", "kind": "yes_no"}
        asking = Thread(target=lambda: asked.append(console.post("api/ask", body)))
        asked: list[int] = []
        asking.start()
        until(lambda: client.xlen("vigil:asks") == 1)
        [(_, fields)] = client.xrange("vigil:asks")
        client.rpush(f"vigil:asks:{fields['id']}", "{}")
        asking.join()
        assert asked == [200]
