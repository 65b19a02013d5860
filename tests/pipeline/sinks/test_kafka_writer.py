"""Records onto a real broker, and what becomes of them when it refuses or is away."""

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

import pytest

from pipeline.clock import SystemClock
from pipeline.errors import PublishError
from pipeline.metrics import INGEST_DROPPED
from pipeline.sinks.buffer import FrameBuffer
from pipeline.sinks.kafka import KafkaWriter
from pipeline.sinks.outlet import OutRecord
from pipeline.sources.kafka import connector_of
from tests.fakes import Recorder
from tests.pipeline.sources.topics import config, dead_letters, jpeg, wait_until
from tests.servers.kafka import create_topic

NOW = datetime.now(UTC)


@pytest.fixture
def buffer(observer: Recorder) -> Iterator[FrameBuffer]:
    opened = FrameBuffer(None, max_bytes=2**24, clock=SystemClock(), observer=observer)
    yield opened
    opened.close()


def record(second: float, value: bytes = b"", *, camera_id: str = "gate") -> OutRecord:
    return OutRecord(camera_id, NOW + timedelta(seconds=second), "online", value)


def writer(bootstrap: str, topic: str) -> KafkaWriter:
    return KafkaWriter(connector_of(config(bootstrap, topic)), topic=topic, timeout_s=3.0)


def run(one: KafkaWriter, buffer: FrameBuffer, works: Callable[[], bool]) -> None:
    """Run until nothing waits."""
    stop = Event()
    thread = Thread(target=one.run, args=(buffer, stop), kwargs={"works": works})
    thread.start()
    wait_until(lambda: buffer.num_waiting == 0)
    stop.set()
    thread.join(timeout=10)
    assert not thread.is_alive()
    one.close()


def test_records_arrive_in_order_with_what_a_worker_reads_of_them(
    kafka_bootstrap: str, kafka_topic: str, buffer: FrameBuffer
) -> None:
    said: list[bool] = []

    def works() -> bool:
        said.append(True)
        return False

    for second in range(100):
        buffer.put(record(second, jpeg(second) if second % 3 == 0 else b""))
    run(writer(kafka_bootstrap, kafka_topic), buffer, works)
    assert said
    records = dead_letters(kafka_bootstrap, kafka_topic)
    made_ms = [int((NOW.timestamp() + second) * 1000) for second in range(100)]
    assert [one.timestamp for one in records] == made_ms
    assert {one.key for one in records} == {b"gate"}
    assert dict(records[0].headers) == {
        "captured-at": str(made_ms[0]).encode(),
        "camera-state": b"online",
    }
    assert dict(records[1].headers)["unchanged"] == b"1"
    assert [bool(one.value) for one in records] == [second % 3 == 0 for second in range(100)]


def test_what_the_broker_finds_too_large_is_dropped_with_what_stands_for_it(
    kafka_bootstrap: str, buffer: FrameBuffer, observer: Recorder
) -> None:
    topic = f"small-{uuid.uuid4().hex[:8]}"
    create_topic(kafka_bootstrap, topic, max_message_bytes=20_000)
    put = [record(0, b"a" * 100), record(1), record(2, b"b" * 50_000), record(3), record(4)]
    put += [record(4, b"c", camera_id="yard"), record(5, b"d")]
    for one in put:
        buffer.put(one)
    run(writer(kafka_bootstrap, topic), buffer, lambda: False)
    arrived = [(one.key, (one.value or b"")[:1]) for one in dead_letters(kafka_bootstrap, topic)]
    assert arrived == [(b"gate", b"a"), (b"gate", b""), (b"yard", b"c"), (b"gate", b"d")]
    assert observer.total(INGEST_DROPPED, camera="gate", reason="too_large") == 3


@pytest.mark.parametrize("where", ["no broker", "no topic"])
def test_where_they_cannot_go_the_reason_is_told_and_they_wait_on(
    kafka_bootstrap: str, refused_port: int, buffer: FrameBuffer, where: str
) -> None:
    bootstrap = kafka_bootstrap if where == "no topic" else f"127.0.0.1:{refused_port}"
    buffer.put(record(0, jpeg()))
    one = writer(bootstrap, "nowhere")
    try:
        with pytest.raises(PublishError) as failed:
            one.run(buffer, Event())
    finally:
        one.close()
    assert failed.value.reason == ("not_found" if where == "no topic" else "unreachable")
    assert buffer.num_waiting == 1
