"""Frames by a real Kafka topic in, a real Redis out; the worker is killed in between."""

import io
import time
from collections.abc import Callable

import numpy as np
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.structs import TopicPartition
from PIL import Image, ImageDraw

from tests.e2e.conftest import Inbox, StartWorker

GROUP = "vigil-e2e"


def jpeg(step: int) -> bytes:
    """A grey yard with a box that moves."""
    rng = np.random.default_rng(step)
    noise = rng.integers(-3, 4, (270, 480, 3))
    image = Image.fromarray((np.full((270, 480, 3), 120) + noise).astype(np.uint8))
    ImageDraw.Draw(image).rectangle((20 * step % 400, 100, 20 * step % 400 + 60, 180), fill="red")
    out = io.BytesIO()
    image.save(out, format="JPEG", quality=90)
    return out.getvalue()


def committed(bootstrap: str, topic: str) -> int:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        offsets = admin.list_group_offsets(GROUP)[GROUP]
    finally:
        admin.close()
    place = offsets.get(TopicPartition(topic, 0))
    return -1 if place is None else int(place.offset)


def test_frames_text_and_a_kill(
    kafka_bootstrap: str,
    kafka_topic: str,
    redis_url: str,
    inbox: Inbox,
    start_worker: StartWorker,
) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka_bootstrap)
    began_ms = int(time.time() * 1000) - 3_600_000

    def produce(first: int, last: int) -> None:
        for step in range(first, last):
            producer.send(kafka_topic, jpeg(step), key=b"c2", timestamp_ms=began_ms + 1000 * step)
        producer.flush(timeout=20)

    def answered(until_step: int) -> Callable[[Inbox], bool]:
        moment = time.strftime("%H:%M:%S", time.gmtime((began_ms + 1000 * until_step) / 1000))
        return lambda seen: any(
            one["captured_at"][11:19] == moment for one in seen.on("vigil:c2:answers")
        )

    worker = start_worker(
        VIGIL_KAFKA__BOOTSTRAP_SERVERS=kafka_bootstrap,
        VIGIL_KAFKA__TOPIC=kafka_topic,
        VIGIL_KAFKA__GROUP_ID=GROUP,
        VIGIL_KAFKA__DEAD_LETTER_TOPIC=f"{kafka_topic}-dead",
        VIGIL_QUESTIONS__PERSON__ASK="Is a person in view?",
        VIGIL_QUESTIONS__PERSON__EVERY="1s",
        VIGIL_CAPTION_EVERY="5s",
        VIGIL_REDIS__URL=redis_url,
    )
    produce(0, 10)
    producer.send(kafka_topic, b"hello, I am no picture", key=b"c2")
    produce(10, 20)
    inbox.until(answered(19), limit_s=90)
    assert len(inbox.on("vigil:c2:captions")) >= 3

    dead = KafkaConsumer(
        f"{kafka_topic}-dead",
        bootstrap_servers=kafka_bootstrap,
        auto_offset_reset="earliest",
        consumer_timeout_ms=15_000,
    )
    letter = next(iter(dead))
    dead.close()
    headers = dict(letter.headers)
    assert letter.value == b"hello, I am no picture"
    assert headers["reason"] == b"bad_image"
    assert b"expected a JPEG" in headers["detail"]
    assert 'vigil_dead_letters_total{reason="bad_image"} 1.0' in worker.get("/metrics")

    end_s = time.monotonic() + 30
    while committed(kafka_bootstrap, kafka_topic) < 21:
        assert time.monotonic() < end_s, "the offset is not committed"
        time.sleep(0.3)
    worker.kill()
    assert committed(kafka_bootstrap, kafka_topic) == 21
    answers = len(inbox.on("vigil:c2:answers"))
    produce(20, 30)
    worker.start()
    inbox.until(answered(29), limit_s=90)
    again = inbox.on("vigil:c2:answers")[answers:]
    first = min(one["captured_at"] for one in again)
    assert first[11:19] == time.strftime("%H:%M:%S", time.gmtime((began_ms + 1000 * 20) / 1000)), (
        "it goes on after the committed offset, neither before nor later"
    )
    assert worker.stop() == 0
    producer.close()
