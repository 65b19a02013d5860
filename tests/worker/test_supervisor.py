import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest

from model.types import Answer, Question
from pipeline.admission_backlog import AdmissionBacklog
from pipeline.errors import ConfigError, SourceError
from pipeline.events import EventRule
from pipeline.lane import Lanes
from pipeline.messages import Message
from pipeline.outbox import Outbox
from pipeline.outbox_trouble import LOOK_EVERY_S
from pipeline.regions import Region
from pipeline.sources.base import FrameSource
from pipeline.types import Frame, Overflow, Receipt, Tell, Wanted
from tests.fakes import FakeClock, ScriptedSource, frame_at, picture
from tests.pipeline.test_outbox_disk import empty_disk, fill_disk
from tests.worker.supervised import ASK, Delivered, feed, make, until
from worker.supervisor import Supervisor


def frames(number: int, camera_id: str = "yard") -> list[Frame]:
    return [frame_at(float(index), camera_id=camera_id) for index in range(number)]


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


def test_an_event_that_is_on_when_a_file_ends_ends_with_it() -> None:
    """uiprotect#1088, frigate#4510."""
    publisher = Delivered()
    played = feed(lambda: ScriptedSource(frames(5)), is_endless=False)
    supervisor = make(
        played,
        publisher=publisher,
        question=replace(ASK, rule=EventRule(confirm_n=1, confirm_m=1)),
        answers=lambda _c, q: Answer(q.kind, "yes", 0.9, 0),
    )
    assert supervisor.run(health_port=0) == 0
    assert [(one["phase"], one["reason"]) for one in publisher.data("event")] == [
        ("start", None),
        ("end", "camera_lost"),
    ]
    assert publisher.data("event")[1]["ended_at"] == publisher.data("answer")[4]["captured_at"]


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
    once = feed(lambda: HungSource(ever), lambda: ScriptedSource(frames(3)), stuck_after_s=0.4)
    running(make(once, publisher=publisher))
    until(lambda: len(publisher.data("answer")) >= 3)
    assert ("offline", "stalled") in [(s["state"], s["reason"]) for s in publisher.data("status")]
    ever.set()


def test_a_source_that_tells_why_no_picture_comes_is_not_taken_for_one_that_hangs(
    running: Callable[[Supervisor], Thread],
) -> None:
    ever, is_over = Event(), Event()

    def build(_wanted: Wanted, tell: Tell) -> FrameSource:
        def hold_back() -> Iterator[Frame]:
            yield frame_at(0.0)
            while not is_over.is_set() and not ever.wait(0.05):
                tell("yard", "damaged", "packets of its video are lost")
            tell("yard", "damaged", None)
            yield frame_at(1.0, picture(101))
            ever.wait()

        source = ScriptedSource([])
        source.frames = hold_back  # type: ignore[method-assign]  # a slow script
        return source

    publisher = Delivered()
    once = replace(feed(stuck_after_s=2.0), build=build)
    running(make(once, publisher=publisher))
    until(lambda: len(publisher.data("status")) >= 3)
    time.sleep(3.0)  # longer than it may be silent
    is_over.set()
    until(lambda: len(publisher.data("status")) >= 4)
    said = [(one["state"], one["reason"]) for one in publisher.data("status")]
    assert said[-3:] == [("online", None), ("degraded", "damaged"), ("online", None)]
    assert "offline" not in [state for state, _ in said]
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
    running(make(feed(lambda: source), publisher=publisher, frozen_after_s=0.3))
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
    backlog = AdmissionBacklog()
    supervisor = make(feed(lambda: source), publisher=publisher, admission_backlog=backlog)
    worker = supervisor._worker

    def last() -> tuple[str, str | None, str | None]:
        told = publisher.data("status")[-1] if publisher.data("status") else {}
        return told.get("state", ""), told.get("reason"), told.get("detail")

    running(supervisor)
    until(lambda: last()[0] == "online")
    worker.load.level, worker.load.reason = 2, "frame_age"
    until(lambda: last() == ("degraded", "load_threshold", "level 2: frame_age"))
    backlog.refuse("yard", "needs 12 MiB, 3 MiB left", now_s=0.0)
    until(lambda: last() == ("degraded", "no_memory", "needs 12 MiB, 3 MiB left"))
    backlog.leave("yard")
    worker.load.level = 0
    until(lambda: last()[0] == "online")


def test_the_cameras_say_that_the_outboxs_disk_is_full_and_take_it_back(
    running: Callable[[Supervisor], Thread], tmp_path: Path
) -> None:
    """jellyfin#10187: the disk full, Redis well. The worker ended, and every restart with it."""

    def drip() -> Iterator[Frame]:
        for index in range(500):
            time.sleep(0.02)
            yield frame_at(float(index))

    clock = FakeClock()
    outbox = Outbox(tmp_path / "outbox.db", max_bytes=1 << 24, clock=clock)
    source = ScriptedSource([])
    source.frames = drip  # type: ignore[method-assign]  # a slow script
    publisher = Delivered()
    supervisor = make(feed(lambda: source), publisher=publisher, outbox=outbox)

    def last() -> tuple[str, str | None]:
        told = publisher.data("status")[-1] if publisher.data("status") else {}
        return told.get("state", ""), told.get("reason")

    running(supervisor)
    until(lambda: last() == ("online", None))
    fill_disk(outbox)
    filler = Message("caption", "yard", "filler", {"id": "filler", "data": {"text": "x" * 100_000}})
    outbox.put([filler])
    until(lambda: last() == ("degraded", "outbox"))
    assert "kept in memory" in publisher.data("status")[-1]["detail"]
    assert "full" in publisher.data("status")[-1]["detail"]
    assert "kept in memory" in str(supervisor._status()["outbox"])
    num_answers = len(publisher.data("answer"))
    until(lambda: len(publisher.data("answer")) > num_answers + 3)
    empty_disk(outbox)
    clock.seconds += LOOK_EVERY_S
    until(lambda: last() == ("online", None))
    assert supervisor._status()["outbox"] == "ok"
    assert publisher.seqs == list(range(1, len(publisher.seqs) + 1))


def test_private_regions_are_black_before_anything_sees_them(
    running: Callable[[Supervisor], Thread],
) -> None:
    publisher = Delivered()
    left = Region(0.0, 0.0, 0.5, 1.0)
    supervisor = make(
        feed(lambda: ScriptedSource(frames(3))), publisher=publisher, private={"yard": (left,)}
    )
    offered: list[Frame] = []
    lanes = supervisor._worker.lanes
    assert isinstance(lanes, Lanes)
    lane = lanes.lane("yard", overflow=Overflow.WAIT)
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
        stall_after_s=0.8,
    )
    assert supervisor.run(health_port=0) == 1
    ever.set()


def test_records_go_back_to_the_source_they_came_from(
    running: Callable[[Supervisor], Thread],
) -> None:
    stalled = SourceError("stalled", "no record")
    receipts = [Receipt(index) for index in range(4)]
    source = ScriptedSource([frame_at(float(i), receipt=Receipt(i)) for i in range(4)], stalled)
    other = ScriptedSource(frames(3, "gate"), stalled)
    topic = replace(feed(lambda: source, name="whatever it is called"), camera_ids=())
    running(make(topic, feed(lambda: other, name="gate"), publisher=Delivered()))
    until(lambda: len(source.settled) >= 4)
    assert source.settled[:4] == receipts
    assert other.settled == []


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
    supervisor._worker.outbox.close()


def test_a_heartbeat_tells_what_readers_of_redis_are_to_know_of_a_worker() -> None:
    supervisor = make(feed(lambda: ScriptedSource([])), publisher=Delivered())
    told = supervisor._heartbeat()
    supervisor._worker.outbox.close()
    assert told["model"] == "scripted"
    assert told["load"] == {"level": 0, "reason": None}
    assert (told["outbox_depth"], told["frames_dropped"]) == (0, 0)
    assert isinstance(told["memory_bytes"], int)
    assert told["memory_bytes"] > 1e7
    json.dumps(told)
