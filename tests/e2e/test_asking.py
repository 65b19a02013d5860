"""People who look and ask, by a real worker and a real Redis."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import redis
from PIL import Image

from tests.e2e.conftest import Inbox, StartWorker
from tests.worker.supervised import until
from worker.__main__ import main

YARD = Path(__file__).resolve().parents[2] / "worker" / "demo" / "yard.mp4"
TEST_EVENT = re.compile(r"vigil:yard:events +test (start|end): ")


def test_a_camera_is_looked_at_and_asked_about_while_it_is_watched(
    redis_url: str,
    inbox: Inbox,
    start_worker: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    start_worker(
        VIGIL_CAMERAS__YARD__URL=str(YARD),
        VIGIL_CAMERAS__YARD__LOOP="true",
        VIGIL_CAMERAS__YARD__PRIVATE="0,0,0.5,0.5",
        VIGIL_QUESTIONS__PERSON__ASK="Is a person in view?",
        VIGIL_MODEL__MAX_TOKENS_PER_FRAME="72",
        VIGIL_REDIS__URL=redis_url,
        VIGIL_WORKER_ID="w1",
        VIGIL_CONTROL="on",
    )
    inbox.until(lambda seen: seen.on("vigil:yard:answers"), limit_s=60)
    with redis.Redis.from_url(redis_url) as client:
        client.set("vigil:yard:watched", 1, ex=10)
        until(lambda: client.exists("vigil:yard:picture"))
        jpeg = client.hget("vigil:yard:picture", "jpeg")
        assert isinstance(jpeg, bytes)
        pixels = np.asarray(Image.open(io.BytesIO(jpeg)))
        height_px, width_px = (side // 2 - 8 for side in pixels.shape[:2])
        assert pixels[:height_px, :width_px].max() <= 8, "what is private is black"
        assert pixels[height_px + 16 :].max() > 50

        monkeypatch.setenv("VIGIL_REDIS__URL", redis_url)
        assert main(["ask", "Is the gate open?"]) in (0, 3)
        assert re.match(r"yard: Is the gate open\? -> (yes|no|unknown) ", capsys.readouterr().out)
        assert main(["ask", "--kind", "count", "How many people are there?", "--json"]) in (0, 3)
        reply = json.loads(capsys.readouterr().out)
        assert (reply["data"]["kind"], reply["data"]["asked_by"]) == ("count", "ask")
        assert main(["ask", "--camera", "hall", "?"]) == 2
        assert "unknown_camera: camera: expected one of yard" in capsys.readouterr().err

        real = client.hget("vigil:yard:state", "question:person")
        assert main(["ask", "--test-event", "yard"]) == 0
        assert TEST_EVENT.findall(capsys.readouterr().out) == ["start", "end"]
        inbox.until(lambda seen: len(_tests(seen)) == 2, limit_s=10)
        assert real is not None
        assert client.hget("vigil:yard:state", "question:person") is not None
        _change(client, inbox)
    assert not any(one["asked_by"] == "ask" for one in inbox.on("vigil:yard:answers"))


def _change(client: redis.Redis, inbox: Inbox) -> None:
    """A question is put, a camera paused and resumed: at once, and in the same window."""
    before = inbox.on("vigil:yard:answers")[-1]["window"]["start"]
    client.xadd("vigil:control", {"do": "put", "question": "car", "ask": "Is a car in view?"})
    inbox.until(lambda seen: "car" in _asked(seen), limit_s=10)
    answered = next(one for one in inbox.on("vigil:yard:answers") if one["question_id"] == "car")
    assert answered["window"]["start"] >= before, "its window began no sooner and is no new one"
    assert answered["window"]["frames"] > 1
    client.xadd("vigil:control", {"do": "remove", "question": "person"})
    until(lambda: client.hget("vigil:yard:state", "question:person") is None)
    client.xadd("vigil:control", {"do": "pause", "camera": "yard"})
    inbox.until(lambda seen: _states(seen)[-1] == ("degraded", "paused"), limit_s=10)
    client.xadd("vigil:control", {"do": "resume", "camera": "yard"})
    inbox.until(lambda seen: _states(seen)[-1] == ("online", None), limit_s=10)
    assert [state for state, _ in _states(inbox)].count("connecting") == 1, "it never reconnected"
    entry = json.loads(client.hget("vigil:cameras", "yard") or "{}")
    assert list(entry["questions"]) == ["car"]


def _asked(seen: Inbox) -> set[str]:
    return {one["question_id"] for one in seen.on("vigil:yard:answers")}


def _states(seen: Inbox) -> list[tuple[str, str | None]]:
    return [(one["state"], one["reason"]) for one in seen.on("vigil:yard:status")]


def _tests(seen: Inbox) -> list[str]:
    return [one["phase"] for one in seen.on("vigil:yard:events") if one["test"]]


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        ([], 2, "expected a question, or --test-event CAMERA instead of one"),
        (["Is it open?", "--test-event", "gate"], 2, "expected a question, or --test-event"),
        (["Is it open?", "--wait", "5m"], 2, "ask: --wait: expected at most 60 s"),
        (["Is it open?", "--wait", "100ms", "--camera", "gate"], 1, "no camera is known"),
    ],
)
def test_an_ask_that_cannot_be_is_told_and_has_its_exit_status(
    words: list[str],
    status: int,
    told: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("VIGIL_REDIS__URL", redis_url)
    assert main(["ask", *words]) == status
    assert told in capsys.readouterr().err


def test_a_redis_that_is_away_is_told(
    refused_port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VIGIL_REDIS__URL", f"redis://:canary@127.0.0.1:{refused_port}/0")
    assert main(["ask", "Is it open?"]) == 1
    assert capsys.readouterr().err == "vigil: redis: unreachable\n"
