"""A whole worker's pictures of an event, from a masked camera to a reader of Redis and the console.

Everything is real but the model, which finds what it is told to find.
"""

import io
import json
from threading import Thread
from typing import Any

import numpy as np
import pytest
import redis
from numpy.typing import NDArray
from PIL import Image

from model.types import Answer, Question
from pipeline.clock import SystemClock
from tests.fakes import ScriptedEngine
from tests.pipeline.publishers.lane import subscribed
from tests.worker.console.conftest import StartConsole
from tests.worker.console.process import SOON_S, until
from worker.demo.show import SCENE
from worker.settings import Settings
from worker.supervisor import Supervisor
from worker.wiring import build

BLACK = 12  # grey levels that JPEG may stray from black
EDGE_PX = 16  # but for the block that an edge lies in
HALF = 0.5  # of the picture's width is private, on the left
ROLES = ["before", "at", "latest", "strip"]


class Finding(ScriptedEngine):
    """A model that answers yes from the fourth time on."""

    is_on_cpu = True

    def __init__(self) -> None:
        super().__init__(self._answer)

    def _answer(self, _camera_id: str, question: Question) -> Answer:
        p = 0.9 if len(self.asked) > 3 else 0.1
        return Answer(question.kind, "yes" if p > 0.5 else "no", p, 1)


pytestmark = pytest.mark.usefixtures("threads_as_before")


def settings_of(redis_url: str) -> Settings:
    return Settings.model_validate(
        {
            "cameras": {
                "gate": {"url": str(SCENE), "live": "false", "private": f"0,0,{HALF},1"},
            },
            "questions": {"fire": {"ask": "Is there fire?", "every": "3s", "confirm": "2/3"}},
            "redis": {"url": redis_url},
            "outbox": {"path": "memory"},
            "health": {"port": 0},
        }
    )


def pixels(jpeg: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(jpeg)))


def is_masked(picture: NDArray[np.uint8]) -> bool:
    """Whether the left half is black and the right one is not."""
    middle = picture.shape[1] // 2
    private, public = picture[:, EDGE_PX : middle - EDGE_PX], picture[:, middle + EDGE_PX :]
    return bool(private.max() <= BLACK and public.mean() > 30)


def test_a_masked_cameras_event_has_its_pictures_when_it_is_heard_and_on_the_console(
    redis_url: str, start_console: StartConsole
) -> None:
    console = start_console()
    supervisor = Supervisor(build(settings_of(redis_url), clock=SystemClock(), engine=Finding()))
    heard: list[tuple[dict[str, Any], list[bytes]]] = []
    with redis.Redis.from_url(redis_url) as client, subscribed(client, "vigil:gate:events") as sub:
        thread = Thread(target=lambda: supervisor.run(health_port=0))
        thread.start()
        while not (heard and heard[-1][0]["phase"] == "end"):
            got = sub.get_message(ignore_subscribe_messages=True, timeout=SOON_S)
            assert got is not None, "no end of the event within the time limit"
            said = json.loads(got["data"])["data"]
            heard.append((said, [client.get(one["key"]) for one in said["pictures"]]))
        thread.join(SOON_S)
        assert not thread.is_alive()
    assert [said["phase"] for said, _ in heard] == ["start", "update", "end"]
    for said, jpegs in heard:
        is_update = said["phase"] == "update"
        assert [one["role"] for one in said["pictures"]] == (["latest"] if is_update else ROLES)
        for one, jpeg in zip(said["pictures"], jpegs, strict=True):
            picture = pixels(jpeg)
            parts = np.split(picture, 6, axis=1) if one["role"] == "strip" else [picture]
            assert all(is_masked(part) for part in parts), (said["phase"], one["role"])
    end, jpegs = heard[-1]
    by_role = dict(zip(ROLES, jpegs, strict=True))
    path = f"api/events/{end['event_id']}"
    until(lambda: console.request(path)[0] == 200 and console.get(path)["reason"])
    for role in ROLES:
        status, headers, body = console.request(f"{path}/{role}")
        assert (status, headers["content-type"], body == by_role[role]) == (200, "image/jpeg", True)
