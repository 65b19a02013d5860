"""An event on a real camera, through a kill, a changed question and a camera that goes for good."""

import json
from pathlib import Path
from typing import Any

import redis

from tests.e2e.conftest import Inbox, StartWorker
from tests.servers.rtsp import StartCamera

ALWAYS = {  # an event begins with the first answer, whatever it is, and no answer ends it
    "VIGIL_QUESTIONS__PERSON__EVERY": "1s",
    "VIGIL_QUESTIONS__PERSON__UNKNOWN": "0.5-0.5",
    "VIGIL_QUESTIONS__PERSON__ENTER": "0",
    "VIGIL_QUESTIONS__PERSON__EXIT": "0",
    "VIGIL_QUESTIONS__PERSON__CONFIRM": "1/1",
    "VIGIL_QUESTIONS__PERSON__COOLDOWN": "0",
    "VIGIL_MODEL__MIN_MASS": "0",
    "VIGIL_CAPTION_EVERY": "1h",
    "VIGIL_FORGET_AFTER": "8s",
    "VIGIL_RTSP__RETRY_BASE": "250ms",
    "VIGIL_RTSP__RETRY_CAP": "1s",
}
BEFORE = "Is a person in view?"
NOW = "Is there smoke?"


def events(seen: Inbox, camera_id: str) -> list[dict[str, Any]]:
    told = seen.on(f"vigil:{camera_id}:events")
    return [one for one in told if one["phase"] != "update"]


def test_every_event_ends_whatever_becomes_of_its_question_and_its_camera(
    yard_video: Path,
    rtsp_camera: StartCamera,
    redis_url: str,
    inbox: Inbox,
    start_worker: StartWorker,
    tmp_path: Path,
) -> None:
    camera = rtsp_camera(yard_video, gop_s=1)
    variables = {
        **ALWAYS,
        "VIGIL_CAMERAS__C1__URL": camera.url,
        "VIGIL_REDIS__URL": redis_url,
        "VIGIL_OUTBOX__PATH": str(tmp_path / "outbox.sqlite"),  # the next one's too
        "VIGIL_CAMERAS__OLD__URL": str(yard_video),
        "VIGIL_CAMERAS__OLD__LOOP": "true",
    }
    worker = start_worker(**variables, VIGIL_QUESTIONS__PERSON__ASK=BEFORE)
    inbox.until(lambda seen: events(seen, "c1") and events(seen, "old"), limit_s=90)
    worker.kill()

    variables = {name: value for name, value in variables.items() if "__OLD__" not in name}
    worker = start_worker(**variables, VIGIL_QUESTIONS__PERSON__ASK=NOW)
    inbox.until(lambda seen: len(events(seen, "old")) == 2, limit_s=60)
    inbox.until(lambda seen: len(events(seen, "c1")) == 3, limit_s=60)
    assert [one["reason"] for one in events(inbox, "old")] == [None, "camera_removed"]
    start, end, again = events(inbox, "c1")
    assert (end["reason"], end["question"], end["event_id"]) == (
        "question_changed",
        BEFORE,
        start["event_id"],
    )
    assert (again["phase"], again["question"]) == ("start", NOW)
    assert again["event_id"] != start["event_id"]

    camera.kill()
    inbox.until(lambda seen: len(events(seen, "c1")) == 4, limit_s=60)
    lost = events(inbox, "c1")[-1]
    assert (lost["reason"], lost["event_id"]) == ("camera_lost", again["event_id"])
    assert again["started_at"] <= lost["ended_at"] <= lost["published_at"]
    served = worker.get("/metrics")
    for reason in ("question_changed", "camera_lost"):
        assert (
            f'vigil_events_total{{camera="c1",phase="end",question="person",reason="{reason}"}} 1.0'
            in served
        )
    assert 'vigil_answers_unknown_total{camera="c1",reason="stalled"}' in served
    with redis.Redis.from_url(redis_url) as server:
        state = {
            key.decode(): json.loads(value)
            for key, value in server.hgetall("vigil:c1:state").items()
            if key.startswith((b"question:", b"event:"))
        }
    assert state["event:person"]["data"]["phase"] == "end"
    answer = state["question:person"]["data"]
    assert (answer["answer"], answer["reason"]) == ("unknown", "stalled")
