"""A worker takes a topic up where another left it: its answers soon reach back as that one's."""

from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition

from tests.e2e.conftest import Inbox, StartWorker
from tests.e2e.test_kafka_to_redis import jpeg
from tests.pipeline.sources.topics import wait_until

WINDOW_S = 90
PAST_S = 80


def header(moment: datetime) -> list[tuple[str, bytes]]:
    return [("captured-at", moment.isoformat().encode())]


class Camera(Thread):
    """Sends a picture a second, from long ago to now and on; every second one as `unchanged`."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        super().__init__(daemon=True)
        self._topic = topic
        self._producer = KafkaProducer(bootstrap_servers=bootstrap)
        self._begun = datetime.now(UTC) - timedelta(seconds=PAST_S)
        self._ended = Event()
        for second in range(PAST_S):
            self._send(second)
        self._producer.flush(timeout=20)

    def run(self) -> None:
        second = PAST_S
        while not self._ended.wait(self._due_s(second)):
            self._send(second)
            second += 1
        self._producer.close()

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def _due_s(self, second: int) -> float:
        moment = self._begun + timedelta(seconds=second)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())

    def _send(self, second: int) -> None:
        moment = self._begun + timedelta(seconds=second)
        is_unchanged = second % 2 == 1
        self._producer.send(
            self._topic,
            b"" if is_unchanged else jpeg(second),
            key=b"gate",
            headers=header(moment) + ([("unchanged", b"1")] if is_unchanged else []),
            timestamp_ms=int(moment.timestamp() * 1000),
        )


def commit_end(bootstrap: str, topic: str, group: str) -> None:
    """Leave a group as if a member had settled all there is."""
    one = TopicPartition(topic, 0)
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=group)
    consumer.assign([one])
    end = consumer.end_offsets([one])[one]
    consumer.commit({one: OffsetAndMetadata(end, "", -1)})
    consumer.close()


def reach_s(said: dict[str, Any]) -> float:
    start, end = (datetime.fromisoformat(said["window"][name]) for name in ("start", "end"))
    return (end - start).total_seconds()


def test_a_window_reaches_back_before_the_offset_that_a_worker_takes_up(
    kafka_bootstrap: str,
    kafka_topic: str,
    redis_url: str,
    inbox: Inbox,
    start_worker: StartWorker,
) -> None:
    camera = Camera(kafka_bootstrap, kafka_topic)
    commit_end(kafka_bootstrap, kafka_topic, f"vigil-{kafka_topic}")
    worker = start_worker(
        VIGIL_KAFKA__BOOTSTRAP_SERVERS=kafka_bootstrap,
        VIGIL_KAFKA__TOPIC=kafka_topic,
        VIGIL_KAFKA__GROUP_ID=f"vigil-{kafka_topic}",
        VIGIL_KAFKA__DEAD_LETTER_TOPIC=f"{kafka_topic}-dead",
        VIGIL_QUESTIONS__PERSON__ASK="Is a person in view?",
        VIGIL_QUESTIONS__PERSON__EVERY="1s",
        VIGIL_CAPTION_EVERY="60s",
        VIGIL_WINDOW=f"{WINDOW_S}s",
        VIGIL_MODEL__MAX_TOKENS_PER_FRAME="40",
        VIGIL_REDIS__URL=redis_url,
    )

    def answers(seen: Inbox) -> list[dict[str, Any]]:
        return seen.on("vigil:gate:answers")

    wait_until(lambda: '"event": "worker_started"' in worker.log, timeout_s=60.0)
    camera.start()
    inbox.until(lambda seen: any(reach_s(one) >= WINDOW_S / 2 for one in answers(seen)), limit_s=60)
    assert reach_s(answers(inbox)[0]) < 5.0, "answered at once, by what had come"
    assert '"event": "window_rebuilt"' in worker.log
    assert 'vigil_window_rebuilds_total{outcome="rebuilt"} 1.0' in worker.get("/metrics")
    camera.stop()
    assert worker.stop() == 0
