"""What the tests of the Kafka source share: pictures, sources, and a look into topics."""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from PIL import Image

from model.videollama3.grid import pin_grid
from pipeline.clock import SystemClock
from pipeline.observer import UNOBSERVED, Observer
from pipeline.sources.kafka import KafkaConfig, KafkaSource
from pipeline.sources.silence import Silence
from pipeline.types import Frame, Receipt, RecordPlace, Tell, tell_nobody
from tests.servers.kafka import Sent

grid_of = partial(pin_grid, max_tokens=144)


def jpeg(grey: int = 128) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (320, 240), (grey, grey, grey)).save(file, "JPEG")
    return file.getvalue()


def gate(index: int) -> Sent:
    """The gate camera's frame number `index`."""
    return Sent(jpeg(index), key=b"gate")


def every_frame(camera_id: str, pts_s: float) -> bool:
    return bool(camera_id) and pts_s > 0


def config(bootstrap: str, topic: str, **options: Any) -> KafkaConfig:
    defaults = {"dead_letter_topic": f"{topic}-dead", "commit_interval_s": 0.1}
    return KafkaConfig(
        bootstrap_servers=bootstrap,
        topic=topic,
        group_id=f"vigil-{topic}",
        **{**defaults, **options},
    )


def source_of(
    source_config: KafkaConfig,
    wanted: Callable[[str, float], bool] = every_frame,
    *,
    observer: Observer = UNOBSERVED,
    tell: Tell = tell_nobody,
    silence: Silence | None = None,
) -> KafkaSource:
    return KafkaSource(
        config=source_config,
        wanted=wanted,
        grid_of=grid_of,
        clock=SystemClock(),
        observer=observer,
        tell=tell,
        silence=silence,
    )


@contextmanager
def reading(source: KafkaSource) -> Iterator[Iterator[Frame]]:
    try:
        yield source.frames()
    finally:
        source.close()


def receipt_of(frame: Frame) -> Receipt:
    assert frame.receipt is not None
    return frame.receipt


def place_of(frame: Frame) -> RecordPlace:
    assert isinstance(frame.receipt, RecordPlace)
    return frame.receipt


def read(source: KafkaSource, count: int) -> list[Frame]:
    with reading(source) as frames:
        return list(islice(frames, count))


def committed(bootstrap: str, topic: str) -> int | None:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=f"vigil-{topic}")
    try:
        offset: int | None = consumer.committed(TopicPartition(topic, 0), timeout_ms=10_000)
        return offset
    finally:
        consumer.close()


def dead_letters(bootstrap: str, topic: str) -> list[Any]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    partition = TopicPartition(topic, 0)
    try:
        consumer.assign([partition])
        end = consumer.end_offsets([partition])[partition]
        letters: list[Any] = []
        while len(letters) < end:
            for records in consumer.poll(timeout_ms=1000).values():
                letters += records
        return letters
    finally:
        consumer.close()


def members(bootstrap: str, topic: str) -> set[str]:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        group = admin.describe_groups([f"vigil-{topic}"])[f"vigil-{topic}"]
        return {member["member_id"] for member in group["members"]}
    finally:
        admin.close()


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.05)
