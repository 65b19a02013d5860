"""Topics as they are at their worst: late, full of junk, compressed, silent, deadly."""

import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest

from pipeline.metrics import (
    CAMERA_LAG,
    DEAD_LETTERS,
    KAFKA_PASSED_OVER,
    KAFKA_RECORDS,
)
from pipeline.sources.fair_queue import HEAVY_S
from pipeline.sources.image import DecodedImage, decode_image
from pipeline.types import Overflow
from tests.fakes import Recorder
from tests.pipeline.sources.mortal import DEADLY
from tests.pipeline.sources.topics import (
    committed,
    config,
    dead_letters,
    gate,
    jpeg,
    place_of,
    read,
    reading,
    receipt_of,
    source_of,
    wait_until,
)
from tests.servers.kafka import Sent, create_topic, produce

pytestmark = pytest.mark.usefixtures("every_socket_is_closed")


def ago(seconds: float, *, key: bytes = b"gate", value: bytes | None = None) -> Sent:
    """A record that was made so long ago."""
    made = datetime.now(UTC) - timedelta(seconds=seconds)
    return Sent(value or jpeg(), key=key, timestamp_ms=int(made.timestamp() * 1000))


class Told(list[tuple[str, str, bool]]):
    """What a source said of its cameras: (camera_id, reason, whether it began)."""

    def __call__(self, camera_id: str, reason: str, detail: str | None) -> None:
        one = (camera_id, reason, detail is not None)
        if one not in self[-1:]:
            self.append(one)


# ---------------------------------------------------------------- codecs


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compressed_topics_are_read(kafka_bootstrap: str, kafka_topic: str, codec: str) -> None:
    """kafka-python#2021, aiokafka#922: a topic in snappy, lz4 or zstd was never read."""
    records = [gate(index) for index in range(5)]
    produce(kafka_bootstrap, kafka_topic, records, compression=codec)
    frames = read(source_of(config(kafka_bootstrap, kafka_topic)), 5)
    assert [place_of(frame).offset for frame in frames] == list(range(5))


# ---------------------------------------------------------------- time


def test_late_records_and_those_from_2099_are_passed_over_and_settled(
    kafka_bootstrap: str, kafka_topic: str
) -> None:
    """confluent-kafka-dotnet#1872, MassTransit#4777, tiflow#11823: every tenth came 5 s late."""
    stamps_s = [30.0 - second for second in range(20)]
    stamps_s[9] += 5
    stamps_s[19] += 5
    in_2099 = Sent(jpeg(), key=b"gate", headers=(("captured-at", b"2099-01-01T00:00:00Z"),))
    records = [ago(stamp_s) for stamp_s in stamps_s]
    produce(kafka_bootstrap, kafka_topic, [*records[:5], in_2099, *records[5:]])
    observer = Recorder()
    source = source_of(config(kafka_bootstrap, kafka_topic), observer=observer)
    with reading(source) as frames:
        taken = list(islice(frames, 18))
        for frame in taken:
            source.settle(receipt_of(frame))
        wait_until(lambda: committed(kafka_bootstrap, kafka_topic) == 21)
    moments = [frame.captured_at for frame in taken]
    assert moments == sorted(moments)
    assert observer.totals(KAFKA_PASSED_OVER, by="reason") == {"late": 2, "future": 1}


@pytest.mark.parametrize(
    "bound", [{"overflow": Overflow.LATEST}, {"max_lag_s": 30.0}], ids=["latest", "max_lag"]
)
def test_an_hours_backlog_is_jumped_over_where_old_pictures_are_not_wanted(
    kafka_bootstrap: str, kafka_topic: str, bound: dict[str, object]
) -> None:
    """It was read record by record, 33 to 83 a second."""
    backlog = [ago(3600.0 - second) for second in range(3000)]
    produce(kafka_bootstrap, kafka_topic, [*backlog, ago(5.0), ago(4.0)])
    observer = Recorder()
    source = source_of(config(kafka_bootstrap, kafka_topic, **bound), observer=observer)
    with reading(source) as frames:
        first = next(frames)
        assert datetime.now(UTC) - first.captured_at < timedelta(seconds=30)
        source.settle(receipt_of(first))
        for frame in islice(frames, int(place_of(first).offset == 3000)):
            source.settle(receipt_of(frame))
        wait_until(lambda: committed(kafka_bootstrap, kafka_topic) == 3002)
    assert observer.totals(KAFKA_PASSED_OVER, by="reason")["jumped"] == 3000
    assert observer.total(KAFKA_RECORDS) == 2


def test_a_backlog_that_is_worked_off_is_lagging_until_it_is_over(
    kafka_bootstrap: str, kafka_topic: str
) -> None:
    produce(kafka_bootstrap, kafka_topic, [ago(3600.0), ago(1800.0), ago(8.0), ago(1.0)])
    observer, told = Recorder(), Told()
    source = source_of(config(kafka_bootstrap, kafka_topic), observer=observer, tell=told)
    read(source, 4)
    assert told == [("gate", "lagging", True), ("gate", "lagging", False)]
    lags_s = observer.numbers(CAMERA_LAG, camera="gate")
    assert lags_s[:2] == [pytest.approx(3600, abs=15), pytest.approx(1800, abs=15)]
    assert lags_s[-1] < 15


def test_a_camera_that_stops_is_stalled_within_its_time_and_back_with_its_next_picture(
    kafka_bootstrap: str, kafka_topic: str
) -> None:
    """It was `online`, its event open, after 120 s."""
    told = Told()
    source = source_of(
        config(
            kafka_bootstrap, kafka_topic, stall_after_s=2.0, camera_ids=frozenset({"never-came"})
        ),
        tell=told,
    )
    produce(kafka_bootstrap, kafka_topic, [gate(1), Sent(jpeg(), key=b"yard")])
    with reading(source) as frames:
        assert {frame.camera_id for frame in islice(frames, 2)} == {"gate", "yard"}
        began_s = time.monotonic()
        while ("gate", "stalled", True) not in told:
            produce(kafka_bootstrap, kafka_topic, [Sent(jpeg(), key=b"yard")])
            next(frames)
            assert time.monotonic() - began_s < 10
        assert time.monotonic() - began_s > 1.5
        wait_until(lambda: bool(next_yard(kafka_bootstrap, kafka_topic, frames, told)))
        produce(kafka_bootstrap, kafka_topic, [gate(2)])
        assert next(frames).camera_id == "gate"
    assert [one for one in told if one[0] == "gate"] == [
        ("gate", "stalled", True),
        ("gate", "stalled", False),
    ]
    assert not [one for one in told if one[0] == "yard"]


def next_yard(bootstrap: str, topic: str, frames: Iterator[object], told: Told) -> bool:
    """Keep one camera going; say whether the one that never came is missed."""
    produce(bootstrap, topic, [Sent(jpeg(), key=b"yard")])
    next(frames)
    return ("never-came", "stalled", True) in told


# ---------------------------------------------------------------- cameras


def test_a_topic_of_junk_keeps_no_camera_waiting(kafka_bootstrap: str, kafka_topic: str) -> None:
    """Junk keys before a configured camera's held the topic up, at 80 dead letters a second."""
    junk = [Sent(jpeg(), key=f"junk-{number}".encode()) for number in range(2000)]
    produce(kafka_bootstrap, kafka_topic, [*junk, gate(1)])
    observer = Recorder()
    source = source_of(
        config(kafka_bootstrap, kafka_topic, camera_ids=frozenset({"gate"}), only_configured=True),
        observer=observer,
    )
    with reading(source) as frames:
        first = next(frames)
        assert first.camera_id == "gate"
        source.settle(receipt_of(first))
        wait_until(lambda: committed(kafka_bootstrap, kafka_topic) == 2001)
    assert observer.totals(DEAD_LETTERS, by="reason") == {"unknown_camera": 2000}
    assert len(dead_letters(kafka_bootstrap, f"{kafka_topic}-dead")) == 2000


def test_a_camera_with_an_address_gets_no_picture_from_the_topic(
    kafka_bootstrap: str, kafka_topic: str
) -> None:
    """A key equal to an RTSP camera's id put a picture into its context: false events."""
    produce(kafka_bootstrap, kafka_topic, [Sent(jpeg(), key=b"wall"), gate(1)])
    source = source_of(config(kafka_bootstrap, kafka_topic, elsewhere=frozenset({"wall"})))
    (frame,) = read(source, 1)
    assert frame.camera_id == "gate"
    (letter,) = dead_letters(kafka_bootstrap, f"{kafka_topic}-dead")
    assert dict(letter.headers)["reason"] == b"not_by_kafka"


def test_one_cameras_heavy_pictures_do_not_delay_the_others(
    kafka_bootstrap: str, kafka_topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They made the answers about the others 22.9 s old."""

    def slow_decode(value: bytes, **options: Any) -> DecodedImage:
        if value.endswith(b"heavy"):
            begun_s = time.thread_time()
            while time.thread_time() - begun_s < 2 * HEAVY_S:
                pass
        return decode_image(value, **options)

    monkeypatch.setattr("pipeline.sources.topic_pictures.decode_image", slow_decode)
    heavy = [ago(60.0 - second, key=b"heavy", value=jpeg() + b"heavy") for second in range(12)]
    light = [ago(2.0 - second, key=b"light") for second in range(2)]
    produce(kafka_bootstrap, kafka_topic, [light[0], *heavy, light[1]])
    observer = Recorder()
    source = source_of(config(kafka_bootstrap, kafka_topic), observer=observer)
    with reading(source) as frames:
        cameras = [frame.camera_id for frame in islice(frames, 4)]
        rest = [frame.camera_id for frame in islice(frames, 3)]
    assert cameras.count("light") == 2
    assert rest == ["heavy"] * 3
    assert observer.totals(KAFKA_PASSED_OVER, by="reason")["heavy"] >= 5


def test_a_process_that_was_stopped_while_it_decoded_gives_up_no_picture(
    kafka_bootstrap: str, kafka_topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What had waited meanwhile was taken for heavy, and an event in it was never seen."""
    sleeps_s = iter([0.0, 8 * HEAVY_S])

    def stopped_once(value: bytes, **options: Any) -> DecodedImage:
        time.sleep(next(sleeps_s, 0.0))
        return decode_image(value, **options)

    monkeypatch.setattr("pipeline.sources.topic_pictures.decode_image", stopped_once)
    records = [ago(60.0 - second, key=b"gate") for second in range(12)]
    produce(kafka_bootstrap, kafka_topic, [ago(61.0, key=b"yard"), *records])
    frames = read(source_of(config(kafka_bootstrap, kafka_topic)), 13)
    assert [place_of(frame).offset for frame in frames] == list(range(13))


# ---------------------------------------------------------------- a record that kills


def run_mortal(bootstrap: str, topic: str, worker: str, count: int) -> tuple[int, list[int]]:
    """Run a worker; return its exit status and the offsets that it has seen."""
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.pipeline.sources.mortal",
            bootstrap,
            topic,
            worker,
            f"{count}",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr[-2000:]
    return ended.returncode, [int(word) for word in ended.stdout.splitlines() if word.isdigit()]


def test_a_record_at_which_two_workers_died_is_dead_lettered_by_the_third(
    kafka_bootstrap: str, kafka_topic: str
) -> None:
    """A picture of 2.5 kB killed the worker in a container of 1.25 GiB, 3 of 3 restarts."""
    deadly = Sent(jpeg() + DEADLY, key=b"gate")
    records = [gate(index) for index in range(6)]
    produce(kafka_bootstrap, kafka_topic, [*records[:3], deadly, *records[3:]])
    assert run_mortal(kafka_bootstrap, kafka_topic, "one", 6)[0] == -signal.SIGKILL
    assert run_mortal(kafka_bootstrap, kafka_topic, "two", 6)[0] == -signal.SIGKILL
    before = committed(kafka_bootstrap, kafka_topic) or 0
    assert before <= 3
    status, seen = run_mortal(kafka_bootstrap, kafka_topic, "three", 6 - before)
    assert status == 0
    assert seen == [*range(before, 3), 4, 5, 6]
    (letter,) = dead_letters(kafka_bootstrap, f"{kafka_topic}-dead")
    headers = dict(letter.headers)
    assert (headers["reason"], headers["offset"]) == (b"killed_the_worker", b"3")
    assert committed(kafka_bootstrap, kafka_topic) == 7


def test_every_partition_is_read_to_its_end_though_it_was_paused_on_the_way(
    kafka_bootstrap: str,
) -> None:
    """The driver sets aside what it holds of a paused partition, and forgot about it."""
    topic = f"frames-{uuid.uuid4().hex[:12]}"
    create_topic(kafka_bootstrap, topic, num_partitions=4)
    create_topic(kafka_bootstrap, f"{topic}-dead")
    begun_ms = int(time.time() * 1000) - 100_000
    records = [
        Sent(jpeg(), f"c{camera}".encode(), timestamp_ms=begun_ms + 1000 * second, partition=camera)
        for second in range(90)
        for camera in range(4)
    ]
    produce(kafka_bootstrap, topic, records)
    source, counts = source_of(config(kafka_bootstrap, topic)), Counter[str]()
    with reading(source) as frames:
        for frame in islice(frames, len(records)):
            counts[frame.camera_id] += 1
            source.settle(receipt_of(frame))
    assert counts == {f"c{camera}": 90 for camera in range(4)}
