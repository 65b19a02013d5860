import json
import random
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from threading import Event, Thread
from typing import Any

import pytest

from model.types import Answer, Question
from pipeline.admission_backlog import AdmissionBacklog
from pipeline.clock import SystemClock
from pipeline.errors import ConfigError, PublishError, SourceError
from pipeline.lane import Lanes
from pipeline.load import Load
from pipeline.messages import Message
from pipeline.observer import UNOBSERVED
from pipeline.outbox import Outbox
from pipeline.pruner import Pruner
from pipeline.publishers.base import PendingMessages
from pipeline.questions import StandingQuestion
from pipeline.runner import Runner
from pipeline.sources.base import FrameSource
from pipeline.ticks import Ticks
from pipeline.types import Frame, Overflow, Receipt, Wanted
from tests.fakes import ScriptedEngine, ScriptedSource, frame_at
from worker.environment import load
from worker.metrics import Metrics
from worker.parts import Feed, Worker
from worker.status import StatusBoard
from worker.supervisor import Supervisor

ASK = StandingQuestion("fire", Question("yes_no", "Is there fire?"), every_s=1.0)
QUICK = {"VIGIL_RTSP__RETRY_BASE": "50ms", "VIGIL_RTSP__RETRY_CAP": "100ms"}


class Delivered:
    """A publisher that delivers into a list; fails while `is_down`."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.seqs: list[int] = []  # of the answers
        self.is_down = False

    def run(
        self,
        outbox: PendingMessages,
        stop: Event,
        *,
        fields: Callable[[], Mapping[str, object]] = dict,
    ) -> None:
        while True:
            fields()
            if self.is_down:
                raise PublishError("redis: connection refused")
            batch = outbox.pending(10) if outbox.wait(0.05) else []
            self.messages += [stored.message for stored in batch]
            self.seqs += [stored.seq for stored in batch if stored.message.kind == "answer"]
            outbox.delivered([stored.row for stored in batch])
            if stop.is_set() and not batch:
                return

    def close(self) -> None: ...

    def data(self, kind: str) -> list[dict[str, Any]]:
        return [message.body["data"] for message in self.messages if message.kind == kind]


def feed(*sources: Callable[[], FrameSource], name: str = "yard", is_endless: bool = True) -> Feed:
    """A feed whose first connections are these and whose last one is made again and again."""
    left = list(sources)

    def build(_wanted: Wanted) -> FrameSource:
        return (left.pop(0) if len(left) > 1 else left[0])()

    return Feed(name, (name,), Overflow.WAIT, build, is_endless)


def make(
    *feeds: Feed,
    publisher: Delivered,
    variables: Mapping[str, str] = {},
    answers: Callable[[str, Question], Answer] | None = None,
) -> Supervisor:
    settings = load({"VIGIL_CAMERAS__YARD__URL": "x.mp4", **QUICK, **variables})
    clock = SystemClock()
    lanes = Lanes(lambda _camera_id: Pruner(), clock=clock)
    ticks = Ticks(period_s=1.0, per_period=4)
    ladder = Load(max_age_s=2.0, period_s=1.0, recover_after_s=30.0)
    admission_backlog = AdmissionBacklog()
    outbox = Outbox(None, max_bytes=10_000_000)
    engine = ScriptedEngine(answers or (lambda _c, q: Answer(q.kind, "no", 0.1, 0)))
    worker = Worker(
        settings=settings,
        clock=clock,
        feeds=feeds,
        lanes=lanes,
        ticks=ticks,
        load=ladder,
        admission_backlog=admission_backlog,
        outbox=outbox,
        status=StatusBoard(lambda message: outbox.put([message]), clock=clock),
        metrics=Metrics(),
        new_runner=lambda settle: Runner(
            lanes,
            engine,
            questions=[ASK],
            replies=outbox,
            settle=settle,
            clock=clock,
            observer=UNOBSERVED,
            new_machine=lambda _camera_id, _standing: None,
            ticks=ticks,
            load=ladder,
            admission_backlog=admission_backlog,
            forget_after_s=600.0,
        ),
        new_publisher=lambda: publisher,
        about={"model": "scripted", "attention": "none"},
        rng=random.Random(1),  # noqa: S311
    )
    return Supervisor(worker)


def frames(number: int, camera_id: str = "yard") -> list[Frame]:
    return [frame_at(float(index), camera_id=camera_id) for index in range(number)]


def until(holds: Callable[[], object], *, limit_s: float = 10.0) -> None:
    end_s = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end_s, "not within the time limit"
        time.sleep(0.02)


@pytest.fixture
def running() -> Iterator[Callable[[Supervisor], Thread]]:
    """Start a supervisor in a thread; stop it afterwards."""
    started: list[tuple[Supervisor, Thread]] = []

    def start(supervisor: Supervisor) -> Thread:
        thread = Thread(target=lambda: supervisor.run(health_port=0))
        thread.start()
        started.append((supervisor, thread))
        return thread

    yield start
    for supervisor, thread in started:
        supervisor.stop()
        thread.join(timeout=10)
        assert not thread.is_alive()


class HungSource(ScriptedSource):
    """A driver that never comes back, whatever it is told."""

    def __init__(self, ever: Event) -> None:
        super().__init__([])
        self._ever = ever

    def frames(self) -> Iterator[Frame]:
        self._ever.wait(60)
        yield from ()


def test_a_file_is_played_to_its_end_and_every_reply_delivered() -> None:
    publisher = Delivered()
    played = feed(lambda: ScriptedSource(frames(5)), is_endless=False)
    assert make(played, publisher=publisher).run(health_port=0) == 0
    assert len(publisher.data("answer")) == 5
    assert [one["state"] for one in publisher.data("status")] == ["connecting", "online", "offline"]


def test_a_camera_that_fails_is_retried_until_it_is_back(
    running: Callable[[Supervisor], Thread],
) -> None:
    def failing() -> FrameSource:
        return ScriptedSource([], SourceError("unreachable", "connection refused"))

    def later(begin: int) -> Callable[[], FrameSource]:
        stalled = SourceError("stalled", "no packet for 15 s")
        return lambda: ScriptedSource(frames(begin + 3)[begin:], stalled)

    publisher = Delivered()
    running(make(feed(failing, failing, later(0), failing, later(10)), publisher=publisher))
    until(lambda: len(publisher.data("answer")) >= 6)
    states = [(one["state"], one["reason"]) for one in publisher.data("status")]
    assert states[:6] == [
        ("connecting", None),
        ("offline", "unreachable"),
        ("online", None),
        ("offline", "stalled"),
        ("offline", "unreachable"),
        ("online", None),
    ]


def test_a_dead_camera_does_not_hold_up_another(running: Callable[[Supervisor], Thread]) -> None:
    ever = Event()
    publisher = Delivered()
    hung = feed(lambda: HungSource(ever), name="dead")
    fine = feed(lambda: ScriptedSource(frames(50)), name="yard")
    running(make(hung, fine, publisher=publisher))
    until(lambda: len(publisher.data("answer")) >= 50)
    ever.set()


def test_a_thread_that_hangs_in_its_driver_is_replaced(
    running: Callable[[Supervisor], Thread],
) -> None:
    ever = Event()
    publisher = Delivered()
    limits = {"VIGIL_RTSP__OPEN_TIMEOUT": "100ms", "VIGIL_RTSP__READ_TIMEOUT": "100ms"}
    once = feed(lambda: HungSource(ever), lambda: ScriptedSource(frames(3)))
    running(make(once, publisher=publisher, variables=limits))
    until(lambda: len(publisher.data("answer")) >= 3)
    assert ("offline", "stalled") in [(s["state"], s["reason"]) for s in publisher.data("status")]
    ever.set()


def test_a_picture_that_never_changes_is_reported_frozen(
    running: Callable[[Supervisor], Thread],
) -> None:
    def drip() -> Iterator[Frame]:
        for index in range(100):
            time.sleep(0.05)
            yield frame_at(float(index))

    source = ScriptedSource([])
    source.frames = drip  # type: ignore[method-assign]  # a slow script
    publisher = Delivered()
    limit = {"VIGIL_PRUNER__FROZEN_AFTER": "300ms"}
    running(make(feed(lambda: source), publisher=publisher, variables=limit))
    until(lambda: [one["state"] for one in publisher.data("status")][-1:] == ["frozen"])


def test_a_camera_says_when_it_waits_for_memory_and_when_less_is_done(
    running: Callable[[Supervisor], Thread],
) -> None:
    def drip() -> Iterator[Frame]:
        for index in range(200):
            time.sleep(0.02)
            yield frame_at(float(index))

    source = ScriptedSource([])
    source.frames = drip  # type: ignore[method-assign]  # a slow script
    publisher = Delivered()
    supervisor = make(feed(lambda: source), publisher=publisher)
    worker = supervisor._worker

    def last() -> tuple[str, str | None, str | None]:
        told = publisher.data("status")[-1] if publisher.data("status") else {}
        return told.get("state", ""), told.get("reason"), told.get("detail")

    running(supervisor)
    until(lambda: last()[0] == "online")
    worker.load.level, worker.load.reason = 2, "frame_age"
    until(lambda: last() == ("degraded", "load_threshold", "level 2: frame_age"))
    worker.admission_backlog.refuse("yard", "needs 12 MiB, 3 MiB left", now_s=0.0)
    until(lambda: last() == ("degraded", "no_memory", "needs 12 MiB, 3 MiB left"))
    worker.admission_backlog.leave("yard")
    worker.load.level = 0
    until(lambda: last()[0] == "online")


def test_live_cameras_are_sampled_in_turns_and_slower_under_load() -> None:
    supervisor = make(feed(lambda: ScriptedSource([])), publisher=Delivered())
    live = replace(feed(lambda: ScriptedSource([])), overflow=Overflow.LATEST)
    load = supervisor._worker.load
    cadence = supervisor._paced(supervisor._sampling("yard", live), live)
    taken = [tick / 10 for tick in range(300) if cadence.due(tick / 10)]
    assert 29 <= len(taken) <= 31
    load.level = 3
    slow = supervisor._paced(supervisor._sampling("yard", live), live)
    assert 14 <= sum(slow.due(tick / 10) for tick in range(300)) <= 16
    held = feed(lambda: ScriptedSource([]))
    whole = supervisor._paced(supervisor._sampling("yard", held), held)
    assert sum(whole.due(tick / 10) for tick in range(300)) == 30


def test_private_regions_are_black_before_anything_sees_them(
    running: Callable[[Supervisor], Thread],
) -> None:
    publisher = Delivered()
    private = {"VIGIL_CAMERAS__YARD__PRIVATE": "0,0,0.5,1"}
    supervisor = make(
        feed(lambda: ScriptedSource(frames(3))), publisher=publisher, variables=private
    )
    offered: list[Frame] = []
    lane = supervisor._worker.lanes.lane("yard", overflow=Overflow.WAIT)
    offer = lane.offer
    lane.offer = lambda frame: (offered.append(frame), offer(frame))[1]  # type: ignore[method-assign, func-returns-value]  # listening in
    running(supervisor)
    until(lambda: offered)
    half = offered[0].pixels.shape[1] // 2
    assert not offered[0].pixels[:, :half].any()
    assert (offered[0].pixels[:, half:] == 100).all()


def test_redis_may_be_away_and_nothing_is_lost(running: Callable[[Supervisor], Thread]) -> None:
    publisher = Delivered()
    publisher.is_down = True
    supervisor = make(feed(lambda: ScriptedSource(frames(20))), publisher=publisher)
    running(supervisor)
    until(lambda: supervisor._worker.outbox.num_waiting >= 20)
    publisher.is_down = False
    until(lambda: len(publisher.data("answer")) >= 20)
    assert publisher.seqs[:20] == list(range(1, 21))


def test_a_failing_model_ends_the_process() -> None:
    def answers(_camera_id: str, _question: Question) -> Answer:
        raise RuntimeError("CUDA error: device-side assert")

    supervisor = make(
        feed(lambda: ScriptedSource(frames(5))), publisher=Delivered(), answers=answers
    )
    assert supervisor.run(health_port=0) == 1


def test_a_model_that_hangs_ends_the_process() -> None:
    ever = Event()

    def answers(_camera_id: str, question: Question) -> Answer:
        ever.wait(3)
        return Answer(question.kind, "no", 0.1, 0)

    supervisor = make(
        feed(lambda: ScriptedSource(frames(5))),
        publisher=Delivered(),
        answers=answers,
        variables={"VIGIL_HEALTH__STALL": "800ms"},
    )
    assert supervisor.run(health_port=0) == 1
    ever.set()


def test_records_go_back_to_the_topic_they_came_from(
    running: Callable[[Supervisor], Thread],
) -> None:
    source = ScriptedSource(
        [frame_at(float(i), receipt=Receipt("frames", 0, i)) for i in range(4)],
        SourceError("stalled", "no record"),
    )
    kafka = replace(feed(lambda: source, name="kafka/frames"), camera_ids=())
    running(make(kafka, publisher=Delivered()))
    until(lambda: len(source.settled) >= 4)
    assert [receipt.offset for receipt in source.settled[:4]] == [0, 1, 2, 3]


def test_health_status_and_metrics_are_served(
    running: Callable[[Supervisor], Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = Delivered()
    supervisor = make(feed(lambda: ScriptedSource(frames(3))), publisher=publisher)
    ports: list[int] = []
    monkeypatch.setattr(
        "worker.supervisor.log.info", lambda *_a, **k: ports.append(k.get("health_port", 0))
    )
    running(supervisor)
    until(lambda: len(publisher.data("answer")) >= 3)
    port = next(port for port in ports if port)

    def get(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    assert get("/livez") == "ok\n"
    assert get("/readyz") == "ok\n"
    status = json.loads(get("/status"))
    assert status["model"] == "scripted"
    assert "yard" in status["cameras"]
    assert 'vigil_camera_up{camera="yard"}' in get("/metrics")
    with pytest.raises(urllib.error.HTTPError) as refused:
        get("/nothing")
    assert refused.value.code == 404
    refused.value.close()


def test_an_outbox_that_cannot_be_written_ends_the_process() -> None:
    supervisor = make(feed(lambda: ScriptedSource(frames(5))), publisher=Delivered())
    supervisor._worker.outbox.close()
    assert supervisor.run(health_port=0) == 1


def test_a_taken_health_port_is_refused() -> None:
    supervisor = make(feed(lambda: ScriptedSource([])), publisher=Delivered())
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match="VIGIL_HEALTH__PORT: cannot listen"),
    ):
        supervisor.run(health_port=taken.getsockname()[1])
