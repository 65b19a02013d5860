"""Two workers on a real broker and a real Redis, and cameras that go from one to the other."""

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from threading import Thread
from typing import Any

from model.types import Answer, Question
from pipeline.clock import SystemClock
from pipeline.errors import SourceError
from pipeline.events import EventRule
from pipeline.messages import rfc3339
from pipeline.outbox import Outbox
from pipeline.publishers.redis import RedisPublisher
from pipeline.sources.base import FrameSource
from pipeline.sources.silence import Silence
from pipeline.status import StatusBoard
from pipeline.tenures import Tenures
from pipeline.types import Overflow
from tests.fakes import ScriptedEngine, ScriptedSource
from tests.pipeline.publishers.lane import events
from tests.pipeline.sources.topics import committed, config, jpeg, source_of
from tests.servers.kafka import Sent, create_topic, produce
from tests.servers.redis import RedisServer
from tests.worker.supervised import ASK, make, until
from worker.parts import Feed, Retry
from worker.publishing import KnownCameras
from worker.supervisor import Supervisor

CAMERAS = {"gate": 0, "door": 0, "yard": 1, "hall": 1}  # with the partition of each
LIMIT_S = 40.0
SESSION_S = 6.0  # until the group gives up a member that is cut off
BEGAN = SystemClock().now() - timedelta(hours=1)


def seconds_of(first: int, last: int) -> list[Sent]:
    """A picture a second of every camera, which were taken an hour ago."""
    return [
        Sent(
            jpeg(20 + 5 * (second % 40)),
            key=camera_id.encode(),
            headers=(("captured-at", (BEGAN + timedelta(seconds=second)).isoformat().encode()),),
            partition=partition,
        )
        for second in range(first, last)
        for camera_id, partition in CAMERAS.items()
    ]


class Burning(ScriptedEngine):
    """There is fire from the tenth to the twentieth second."""

    def __init__(self) -> None:
        super().__init__(self._said)

    def _said(self, camera_id: str, question: Question) -> Answer:
        window = self.window(camera_id)
        assert window is not None
        second = window.end_pts_s - BEGAN.timestamp()
        p = 0.9 if 9.5 <= second < 19.5 else 0.1
        return Answer(question.kind, "yes" if p > 0.5 else "no", p, 1, mass=1.0)


class Cable:
    """What lies between a worker and Kafka."""

    def __init__(self) -> None:
        self._is_cut = False
        self._source: FrameSource = ScriptedSource([])

    def connect(self, build: Callable[[], FrameSource]) -> FrameSource:
        gone = ScriptedSource([], SourceError("unreachable", "no broker"))
        self._source = gone if self._is_cut else build()
        return self._source

    def cut(self) -> None:
        self._is_cut = True
        self._source.close()

    def mend(self) -> None:
        self._is_cut = False


@contextmanager
def worker(
    name: str, *, topic: str, bootstrap: str, url: str, cable: Cable | None = None
) -> Iterator[Supervisor]:
    clock, cable, silence = SystemClock(), cable or Cable(), Silence(SystemClock())
    kafka = config(bootstrap, topic, group_instance_id=name, session_timeout_s=SESSION_S)

    def publisher(outbox: Outbox, board: StatusBoard, tenures: Tenures) -> RedisPublisher:
        known = KnownCameras(board, dict, tenures)
        return RedisPublisher(
            url,
            prefix="vigil",
            worker_id=name,
            clock=clock,
            run_id=outbox.origin,
            cameras=known,
        )

    feed = Feed(
        name="kafka",
        camera_ids=(),
        overflow=Overflow.WAIT,
        build=lambda wanted, tell: cable.connect(
            lambda: source_of(kafka, wanted, tell=tell, silence=silence)
        ),
        is_endless=True,
        retry=Retry(base_s=0.1, cap_s=0.5),
        stuck_after_s=None,
    )
    fire = replace(ASK, rule=EventRule(confirm_n=2, confirm_m=3))
    supervisor = make(feed, engine=Burning(), question=fire, redis=publisher)
    thread = Thread(target=lambda: supervisor.run(health_port=0))
    thread.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()
        thread.join(timeout=30)
        assert not thread.is_alive()


def online(one: Supervisor) -> set[str]:
    cameras: Any = one._status()["cameras"]
    return {camera_id for camera_id, status in cameras.items() if status["state"] != "offline"}


def told_of(one: Supervisor) -> dict[str, str | None]:
    """The cameras that a worker tells of, with the reason of each one's state."""
    cameras: Any = one._status()["cameras"]
    return {camera_id: status["reason"] for camera_id, status in cameras.items()}


def up(one: Supervisor) -> dict[str, str]:
    """The series of vigil_camera_up, by camera."""
    told = one._worker.metrics.exposition().decode()
    return dict(re.findall(r'^vigil_camera_up\{camera="(.+)"\} (.+)$', told, re.MULTILINE))


def test_cameras_go_on_at_the_worker_that_joins(
    kafka_bootstrap: str, redis_url: str, shared_redis: RedisServer
) -> None:
    topic = f"frames-{uuid.uuid4().hex[:12]}"
    create_topic(kafka_bootstrap, topic, num_partitions=2)
    create_topic(kafka_bootstrap, f"{topic}-dead")
    client = shared_redis.client()

    def said(camera_id: str, kind: str) -> list[dict[str, Any]]:
        return events(client, f"vigil:{camera_id}:{kind}:stream")

    def have_come_to(second: int) -> Callable[[], bool]:
        at = rfc3339(BEGAN + timedelta(seconds=second))
        return lambda: all(
            any(one["data"]["captured_at"] >= at for one in said(camera_id, "answers"))
            for camera_id in CAMERAS
        )

    with ExitStack() as stack:
        stack.callback(client.close)
        new = partial(worker, topic=topic, bootstrap=kafka_bootstrap, url=redis_url)
        first = stack.enter_context(new("first"))
        produce(kafka_bootstrap, topic, seconds_of(0, 15))
        until(have_come_to(13), limit_s=LIMIT_S)
        assert online(first) == set(CAMERAS)
        second = stack.enter_context(new("second"))
        until(lambda: len(online(first)) == 2, limit_s=LIMIT_S)
        produce(kafka_bootstrap, topic, seconds_of(15, 30))
        until(have_come_to(28), limit_s=LIMIT_S)
        until(lambda: (committed(kafka_bootstrap, topic) or 0) == 60, limit_s=LIMIT_S)
        here, there = online(first), online(second)
        assert here | there == set(CAMERAS)
        assert not here & there, "every camera is online at one worker"
        assert up(first) == dict.fromkeys(here, "1.0"), "what has moved is not down here"

    for camera_id in CAMERAS:
        for kind in ("answers", "events", "status"):
            found = said(camera_id, kind)
            numbers = [one["data"]["seq"] for one in found]
            assert numbers == list(range(1, len(found) + 1)), (camera_id, kind)
            assert len({one["id"] for one in found}) == len(found), (camera_id, kind)
        told = [one["data"] for one in said(camera_id, "events")]
        assert [one["phase"] for one in told] == ["start", "end"]
        assert len({one["event_id"] for one in told}) == 1
    for camera_id in there:
        answers = [one["data"] for one in said(camera_id, "answers")]
        assert {one["worker_id"] for one in answers} == {"first", "second"}
        terms = [one["term"] for one in answers]
        assert terms == sorted(terms)
        assert terms[0] < terms[-1]
        assert "moved" in {one["data"]["reason"] for one in said(camera_id, "status")}


def test_a_worker_that_was_cut_off_tells_of_the_cameras_that_come_back_alone(
    kafka_bootstrap: str, redis_url: str, shared_redis: RedisServer
) -> None:
    """It said for good that those of another worker were unreachable."""
    topic = f"frames-{uuid.uuid4().hex[:12]}"
    create_topic(kafka_bootstrap, topic, num_partitions=2)
    create_topic(kafka_bootstrap, f"{topic}-dead")
    send = partial(produce, kafka_bootstrap, topic)
    new = partial(worker, topic=topic, bootstrap=kafka_bootstrap, url=redis_url)
    unreachable = dict.fromkeys(CAMERAS, "unreachable")
    cable, client = Cable(), shared_redis.client()

    def reasons() -> list[list[str | None]]:
        streams = [events(client, f"vigil:{camera_id}:status:stream") for camera_id in CAMERAS]
        return [[one["data"]["reason"] for one in stream] for stream in streams]

    with ExitStack() as stack:
        stack.callback(client.close)
        first = stack.enter_context(new("first", cable=cable))
        send(seconds_of(0, 3))
        until(lambda: online(first) == set(CAMERAS), limit_s=LIMIT_S)
        cable.cut()
        until(lambda: told_of(first) == unreachable, limit_s=LIMIT_S)
        assert up(first) == dict.fromkeys(CAMERAS, "0.0")
        cable.mend()  # and nobody else was there
        send(seconds_of(3, 6))
        until(lambda: online(first) == set(CAMERAS), limit_s=LIMIT_S)
        until(lambda: all("unreachable" in one[:-1] for one in reasons()), limit_s=LIMIT_S)
        assert not any("moved" in one for one in reasons())

        cable.cut()
        until(lambda: told_of(first) == unreachable, limit_s=LIMIT_S)
        second = stack.enter_context(new("second"))
        send(seconds_of(6, 9))
        until(lambda: online(second) == set(CAMERAS), limit_s=LIMIT_S)
        assert told_of(first) == unreachable, "it does not know yet"
        cable.mend()
        until(lambda: len(told_of(second)) == 2, limit_s=LIMIT_S)
        send(seconds_of(9, 12))
        until(lambda: len(online(first)) == 2, limit_s=LIMIT_S)
        until(lambda: told_of(first).keys() == set(CAMERAS) - online(second), limit_s=5.0)
        assert up(first) == dict.fromkeys(online(first), "1.0")
