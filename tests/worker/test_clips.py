"""Clips of a whole worker's events, from real RTSP cameras to a real Redis, decoded again.

Everything is real but the model, which finds what it is told to find.
"""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import av
import numpy as np
import pytest
import redis
from numpy.typing import NDArray

from model.types import Answer, Question
from pipeline.clips import Clips
from pipeline.clock import SystemClock
from pipeline.control import Control
from pipeline.observer import UNOBSERVED
from pipeline.publishers.eraser import Eraser
from pipeline.publishers.redis_keys import evidence_key, evidence_sizes_key
from tests.fakes import ScriptedEngine
from tests.pipeline.sources.topics import jpeg
from tests.servers.kafka import Sent, create_topic, produce
from tests.servers.rtsp import StartCamera
from tests.worker.supervised import until
from worker.evidence import clips_of
from worker.questions import standing_questions
from worker.settings import Settings
from worker.supervisor import Supervisor
from worker.wiring import build

SENT = {"fps": 10, "width": 320, "height": 240, "max_s": 12, "gop_s": 1}
SAMPLED_PX = (252, 308)  # what the model sees of it, by the grid
BLACK = 14  # grey levels that two codecs may stray from black
EDGE_PX = 16  # but for the block that an edge lies in
LIMIT_S = 60.0
HALF = 0.5  # of the picture's width is private, on the left


class Finding(ScriptedEngine):
    """A model that answers yes from a camera's third time on."""

    is_on_cpu = True

    def __init__(self) -> None:
        super().__init__(self._answer)

    def _answer(self, camera_id: str, question: Question) -> Answer:
        p = 0.9 if sum(one == camera_id for one, *_ in self.asked) > 2 else 0.1
        return Answer(question.kind, "yes" if p > 0.5 else "no", p, 1)


pytestmark = pytest.mark.usefixtures("threads_as_before")


def settings_of(
    redis_url: str, urls: Mapping[str, str | None], *, kafka: Mapping[str, str] = {}
) -> Settings:
    private = {"private": f"0,0,{HALF},1"}
    return Settings.model_validate(
        {
            "cameras": {
                name: ({"url": url} if url else {}) | (private if name == "masked" else {})
                for name, url in urls.items()
            },
            "kafka": kafka,
            "questions": {"fire": {"ask": "Is there fire?", "every": "1s", "confirm": "1/1"}},
            "redis": {"url": redis_url},
            "outbox": {"path": "memory"},
            "evidence": {"clips": "on"},
            "health": {"port": 0},
        }
    )


def played(mp4: bytes) -> tuple[list[float], list[NDArray[np.uint8]]]:
    with av.open(io.BytesIO(mp4), "r") as container:
        assert container.streams.video[0].codec_context.name == "h264"
        frames = list(container.decode(video=0))
    times_s = [float(frame.time or 0.0) for frame in frames]
    return times_s, [np.asarray(one.to_ndarray(format="rgb24"), np.uint8) for one in frames]


def is_masked(picture: NDArray[np.uint8]) -> bool:
    """Whether the left half is black and the right one is not."""
    middle = picture.shape[1] // 2
    private, public = picture[:, EDGE_PX : middle - EDGE_PX], picture[:, middle + EDGE_PX :]
    return bool(private.max() <= BLACK and public.mean() > 30)


def test_each_cameras_event_has_its_clip_and_what_is_private_is_black_in_every_picture_of_it(
    redis_url: str, rtsp_camera: StartCamera, yard_video: Path
) -> None:
    camera, other = rtsp_camera(yard_video, **SENT), rtsp_camera(yard_video, codec="h265", **SENT)
    urls = {"open": camera.url, "masked": camera.url, "h265": other.url}
    with redis.Redis.from_url(redis_url) as client:
        with running(settings_of(redis_url, urls)):
            named = {name: clip_named(client, name) for name in urls}
            clips = {name: clip_of(client, one["key"]) for name, one in named.items()}
        sizes = client.hgetall(evidence_sizes_key("vigil"))
        eraser = Eraser(redis_url, prefix="vigil")
        eraser.erase("masked", eraser.find("masked"))
        eraser.close()
        assert client.get(named["masked"]["key"]) is None
        assert client.get(named["open"]["key"]) == clips["open"]

    times_s, pictures = played(clips["open"])  # the camera's own
    assert pictures[0].shape == (240, 320, 3)
    assert len(pictures) > 20
    assert np.median(np.diff(times_s)) == pytest.approx(0.1, abs=0.03)
    assert not any(is_masked(one) for one in pictures)
    for name in ("masked", "h265"):  # what the model saw
        times_s, pictures = played(clips[name])
        assert (len(pictures) > 2, pictures[0].shape[:2]) == (True, SAMPLED_PX)
        assert min(np.diff(times_s)) > 0.7  # a machine that is too slow leaves some out
        assert [is_masked(one) for one in pictures] == [name == "masked"] * len(pictures)
    for name, one in named.items():
        assert int(sizes[one["key"].encode()]) == len(clips[name])
        assert one["codec"] == "h264"
        assert one["start"] < one["end"]


def test_a_topics_camera_has_a_clip_of_the_pictures_that_the_model_saw(
    redis_url: str, kafka_bootstrap: str
) -> None:
    topic = f"frames-{uuid4().hex[:12]}"
    create_topic(kafka_bootstrap, topic)
    create_topic(kafka_bootstrap, f"{topic}-dead-letter")
    began = SystemClock().now() - timedelta(hours=1)
    records = [
        Sent(
            jpeg(100 + second),
            key=b"masked",
            headers=(("captured-at", (began + timedelta(seconds=second)).isoformat().encode()),),
        )
        for second in range(20)
    ]
    produce(kafka_bootstrap, topic, records)
    settings = settings_of(
        redis_url,
        {"masked": None},
        kafka={"bootstrap_servers": kafka_bootstrap, "topic": topic, "overflow": "wait"},
    )
    with redis.Redis.from_url(redis_url) as client, running(settings):
        named = clip_named(client, "masked")
        times_s, pictures = played(clip_of(client, named["key"]))
    assert len(pictures) > 5
    assert np.diff(times_s) == pytest.approx(1.0)
    assert all(is_masked(one) for one in pictures)
    assert datetime.fromisoformat(named["start"]) == began.replace(
        microsecond=began.microsecond // 1000 * 1000
    )


@contextmanager
def running(settings: Settings) -> Iterator[None]:
    supervisor = Supervisor(build(settings, clock=SystemClock(), engine=Finding()))
    thread = Thread(target=lambda: supervisor.run(health_port=0))
    thread.start()
    try:
        yield
    finally:
        supervisor.stop()
        thread.join()


def clip_named(client: "redis.Redis", camera_id: str) -> dict[str, Any]:
    """Return what the start of a camera's event names."""
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        entries: Any = client.xrange(f"vigil:{camera_id}:events:stream")
        found[:] = [json.loads(next(iter(fields.values())))["data"] for _, fields in entries]
        return bool(found)

    until(is_there, limit_s=LIMIT_S)
    clip: dict[str, Any] = found[0]["clip"]
    assert clip["key"] == evidence_key("vigil", camera_id, found[0]["event_id"], "clip")
    return clip


def clip_of(client: "redis.Redis", key: str) -> bytes:
    until(lambda: client.exists(key), limit_s=LIMIT_S)
    found: Any = client.get(key)
    assert 0 < client.pttl(key) <= 24 * 3600 * 1000
    return bytes(found)


def test_nothing_is_kept_where_there_are_to_be_no_clips() -> None:
    def made(**evidence: str) -> Clips | None:
        settings = Settings.model_validate({"evidence": evidence})
        questions = Control(standing_questions(settings)).now.questions
        return clips_of(settings, questions, clock=SystemClock(), observer=UNOBSERVED)

    assert Settings().evidence.clips == "off"
    assert made() is None
    assert made(clips="on", keep="0s") is None
    assert made(clips="on") is not None
