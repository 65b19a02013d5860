import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
from structlog.testing import capture_logs

from pipeline.errors import ConfigError, SourceError
from pipeline.metrics import (
    DEAD_LETTERS,
    KAFKA_COMMITS,
    KAFKA_LAG,
    KAFKA_PASSED_OVER,
    KAFKA_RECORDS,
)
from pipeline.sources.base import FrameSource
from pipeline.sources.broker import Connector
from pipeline.sources.consumer import MAX_POLLED_RECORDS
from pipeline.sources.dead_letters import LOG_EVERY_S, DeadLetters, Letter
from pipeline.sources.image import decode_image
from pipeline.sources.kafka import KafkaConfig
from pipeline.types import Receipt, RecordPlace
from tests.fakes import FakeClock, Recorder
from tests.pipeline.sources.topics import (
    committed,
    config,
    dead_letters,
    gate,
    grid_of,
    jpeg,
    members,
    place_of,
    read,
    reading,
    receipt_of,
    source_of,
    wait_until,
)
from tests.servers.kafka import (
    Sent,
    create_topic,
    produce,
)

pytestmark = pytest.mark.usefixtures("every_socket_is_closed")


# ---------------------------------------------------------------- frames


def test_frames_arrive_with_camera_time_and_pixels(kafka_bootstrap: str, kafka_topic: str) -> None:
    captured = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
    timestamp_ms = int(captured.timestamp() * 1000)
    produce(
        kafka_bootstrap,
        kafka_topic,
        [
            Sent(jpeg(10), key=b"gate", timestamp_ms=timestamp_ms),
            Sent(
                jpeg(20),
                key=b"yard",
                headers=(("captured-at", b"2026-03-01T13:00:00.250+01:00"),),
            ),
            Sent(
                jpeg(30), key=b"yard", headers=(("captured-at", str(timestamp_ms + 500).encode()),)
            ),
        ],
    )
    frames = read(source_of(config(kafka_bootstrap, kafka_topic)), 3)
    assert [frame.camera_id for frame in frames] == ["gate", "yard", "yard"]
    assert [frame.captured_at - captured for frame in frames] == [
        timedelta(),
        timedelta(),
        timedelta(milliseconds=500),
    ]
    assert all(frame.pts_s == frame.captured_at.timestamp() for frame in frames)
    assert [place_of(frame) for frame in frames] == [
        RecordPlace(kafka_topic, 0, offset) for offset in range(3)
    ]
    for frame, grey in zip(frames, (10, 20, 30), strict=True):
        expected = decode_image(jpeg(grey), grid_of=grid_of)
        assert frame.grid == expected.grid
        np.testing.assert_array_equal(frame.pixels, expected.pixels)


def test_unwanted_frames_are_settled_without_being_decoded(
    kafka_bootstrap: str, kafka_topic: str
) -> None:
    broken = Sent(b"\xff\xd8\xff broken", key=b"gate")
    produce(kafka_bootstrap, kafka_topic, [broken, broken, Sent(jpeg(), key=b"yard")])
    observer = Recorder()
    source = source_of(
        config(kafka_bootstrap, kafka_topic),
        wanted=lambda camera_id, _: camera_id == "yard",
        observer=observer,
    )
    (frame,) = read(source, 1)
    assert frame.camera_id == "yard"
    assert observer.totals(DEAD_LETTERS, by="reason") == {}
    assert committed(kafka_bootstrap, kafka_topic) == 2


def test_records_older_than_the_lag_are_passed_over_and_counted(
    kafka_bootstrap: str, kafka_topic: str
) -> None:
    def captured(ago_s: float) -> Sent:
        moment = datetime.now(UTC) - timedelta(seconds=ago_s)
        return Sent(jpeg(), key=b"gate", headers=(("captured-at", moment.isoformat().encode()),))

    produce(kafka_bootstrap, kafka_topic, [captured(3600), captured(600), captured(0)])
    observer = Recorder()
    source = source_of(config(kafka_bootstrap, kafka_topic, max_lag_s=300), observer=observer)
    (frame,) = read(source, 1)
    assert place_of(frame).offset == 2
    assert observer.total(KAFKA_PASSED_OVER, topic=kafka_topic) == 2


# ---------------------------------------------------------------- dead letters


def test_what_is_no_frame_ends_in_the_dead_letter_topic_and_the_stream_goes_on(
    kafka_bootstrap: str, kafka_topic: str
) -> None:
    bad = {
        "bad_image": Sent(b"hello world", key=b"gate", headers=(("camera", b"x"),)),
        "no_key": Sent(jpeg()),
        "bad_key": Sent(jpeg(), key=b"Gate 1"),
        "unknown_camera": Sent(jpeg(), key=b"roof"),
        "not_by_kafka": Sent(jpeg(), key=b"wall"),
        "bad_captured_at": Sent(jpeg(), key=b"gate", headers=(("captured-at", b"noon"),)),
        "too_large": Sent(jpeg() + bytes(300_000), key=b"gate"),
    }
    truncated = Sent(jpeg()[:-200], key=b"gate")
    no_value = Sent(None, key=b"gate")
    records = [*bad.values(), truncated, no_value]
    produce(kafka_bootstrap, kafka_topic, [gate(1), *records, gate(2)])
    observer = Recorder()
    source = source_of(
        config(
            kafka_bootstrap,
            kafka_topic,
            camera_ids=frozenset({"gate"}),
            only_configured=True,
            elsewhere=frozenset({"wall"}),
            max_record_bytes=200_000,
        ),
        observer=observer,
    )
    with capture_logs() as logs:
        frames = read(source, 2)

    assert [place_of(frame).offset for frame in frames] == [0, len(records) + 1]
    counted = observer.totals(DEAD_LETTERS, by="reason")
    assert counted == {**dict.fromkeys(bad, 1), "bad_image": 3}
    assert {(log["event"], log["reason"]) for log in logs} == {
        ("record_dead_lettered", reason) for reason in bad
    }
    letters = dead_letters(kafka_bootstrap, f"{kafka_topic}-dead")
    letters.sort(key=lambda letter: int(dict(letter.headers)["offset"]))
    assert [(letter.key, letter.value) for letter in letters] == [
        (record.key, record.value) for record in records
    ]
    for place, (letter, reason) in enumerate(
        zip(letters, [*bad, "bad_image", "bad_image"], strict=True)
    ):
        headers = dict(letter.headers)
        assert headers["reason"].decode() == reason
        assert headers["topic"].decode() == kafka_topic
        assert headers["partition"] == b"0"
        assert headers["offset"].decode() == str(place + 1)
        assert b"expected" in headers["detail"]
    first = dict(letters[0].headers)
    assert first["camera"] == b"x"
    assert first["detail"] == (
        b"expected a JPEG, PNG or WebP image, got 11 bytes starting b'hello world'"
    )


def test_more_cameras_than_allowed_are_refused(kafka_bootstrap: str, kafka_topic: str) -> None:
    keys = [b"a", b"b", b"c", b"a"]
    produce(kafka_bootstrap, kafka_topic, [Sent(jpeg(), key=key) for key in keys])
    observer = Recorder()
    source = source_of(config(kafka_bootstrap, kafka_topic, max_cameras=2), observer=observer)
    assert [frame.camera_id for frame in read(source, 3)] == ["a", "b", "a"]
    assert observer.totals(DEAD_LETTERS, by="reason") == {"too_many_cameras": 1}


def test_a_dead_letter_that_is_too_long_goes_without_its_value(
    kafka_bootstrap: str, kafka_topic: str
) -> None:
    narrow = f"{kafka_topic}-narrow"
    create_topic(kafka_bootstrap, narrow, max_message_bytes=2000)
    produce(kafka_bootstrap, kafka_topic, [Sent(b"x" * 5000, key=b"gate"), gate(1)])
    source = source_of(config(kafka_bootstrap, kafka_topic, dead_letter_topic=narrow))
    (frame,) = read(source, 1)
    assert place_of(frame).offset == 1
    (letter,) = dead_letters(kafka_bootstrap, narrow)
    assert (letter.key, letter.value) == (b"gate", b"")
    headers = dict(letter.headers)
    assert (headers["topic"].decode(), headers["offset"]) == (kafka_topic, b"0")
    assert headers["value"] == b"left out: too large"


def test_a_dead_letter_that_cannot_be_written_is_not_lost(
    kafka_bootstrap: str, kafka_topic: str
) -> None:
    produce(kafka_bootstrap, kafka_topic, [gate(1), Sent(b"hello", key=b"gate")])
    source_config = config(
        kafka_bootstrap, kafka_topic, dead_letter_topic="nowhere", connect_timeout_s=2.0
    )
    source = source_of(source_config)
    with reading(source) as frames:
        source.settle(receipt_of(next(frames)))
        with pytest.raises(SourceError, match="writing to 'nowhere'"):
            next(frames)
    assert committed(kafka_bootstrap, kafka_topic) == 1


def test_dead_letters_are_all_counted_and_of_each_reason_a_line_a_minute_is_logged(
    kafka_bootstrap: str, kafka_topic: str
) -> None:
    clock, observer = FakeClock(), Recorder()
    failures: list[SourceError] = []
    letters = DeadLetters(
        Connector({"bootstrap_servers": [kafka_bootstrap]}, timeout_s=10.0, secret=""),
        topic=kafka_topic,
        timeout_s=10.0,
        clock=clock,
        observer=observer,
        failed=failures.append,
    )
    record = SimpleNamespace(
        key=b"gate", value=b"?", headers=(), topic="frames", partition=0, offset=7
    )
    written: list[str] = []

    def put(reason: str, detail: str) -> None:
        letters.put(Letter(record, reason, detail, written=lambda: written.append(reason)))

    with capture_logs() as logs, closing(letters):
        for reason in ("bad_image", "no_key", "bad_image", "bad_image"):
            put(reason, "see rtsp://me:secret@gate/")
        wait_until(lambda: len(written) == 4)
        clock.seconds = LOG_EVERY_S
        put("bad_image", "once more")
        wait_until(lambda: len(written) == 5)
    assert failures == []
    assert observer.totals(DEAD_LETTERS, by="reason") == {"bad_image": 4, "no_key": 1}
    assert [(log["reason"], log["count"], log["detail"]) for log in logs] == [
        ("bad_image", 1, "see rtsp://***@gate/"),
        ("no_key", 1, "see rtsp://***@gate/"),
        ("bad_image", 3, "once more"),
    ]


# ---------------------------------------------------------------- offsets


def test_a_new_source_goes_on_from_the_first_unsettled_record(
    kafka_bootstrap: str, kafka_topic: str
) -> None:
    produce(kafka_bootstrap, kafka_topic, [gate(i) for i in range(5)])
    source = source_of(config(kafka_bootstrap, kafka_topic))
    with reading(source) as frames:
        first = list(islice(frames, 5))
        for index in (0, 1, 3, 4):
            source.settle(receipt_of(first[index]))
    assert committed(kafka_bootstrap, kafka_topic) == 2

    again = read(source_of(config(kafka_bootstrap, kafka_topic)), 3)
    assert [place_of(frame).offset for frame in again] == [2, 3, 4]


def test_nothing_settled_comes_again(kafka_bootstrap: str, kafka_topic: str) -> None:
    produce(kafka_bootstrap, kafka_topic, [gate(i) for i in range(3)])
    source = source_of(config(kafka_bootstrap, kafka_topic))
    with reading(source) as frames:
        for frame in islice(frames, 3):
            source.settle(receipt_of(frame))
    assert committed(kafka_bootstrap, kafka_topic) == 3
    produce(kafka_bootstrap, kafka_topic, [gate(3)])
    (frame,) = read(source_of(config(kafka_bootstrap, kafka_topic)), 1)
    assert place_of(frame).offset == 3


def test_settled_offsets_are_committed_while_the_source_runs(
    kafka_bootstrap: str, kafka_topic: str
) -> None:
    produce(kafka_bootstrap, kafka_topic, [gate(1), gate(2)])
    observer = Recorder()
    source = source_of(config(kafka_bootstrap, kafka_topic), observer=observer)
    with reading(source) as frames:
        receipts = [receipt_of(frame) for frame in islice(frames, 2)]
        settlers = [threading.Thread(target=source.settle, args=(one,)) for one in receipts]
        for settler in settlers:
            settler.start()
        for settler in settlers:
            settler.join()
        wait_until(lambda: committed(kafka_bootstrap, kafka_topic) == 2)
        wait_until(lambda: observer.total(KAFKA_COMMITS, topic=kafka_topic) > 0)


def test_the_lag_is_what_is_not_settled_yet(kafka_bootstrap: str, kafka_topic: str) -> None:
    produce(kafka_bootstrap, kafka_topic, [gate(i) for i in range(5)])
    observer = Recorder()
    source = source_of(config(kafka_bootstrap, kafka_topic), observer=observer)

    def lag() -> float:
        return (observer.numbers(KAFKA_LAG, topic=kafka_topic) or [-1])[-1]

    with reading(source) as frames:
        first = list(islice(frames, 5))
        wait_until(lambda: lag() == 5)
        for frame in first[:3]:
            source.settle(receipt_of(frame))
        wait_until(lambda: lag() == 2)
        produce(kafka_bootstrap, kafka_topic, [gate(i) for i in range(4)])
        wait_until(lambda: lag() == 6)


def test_receipts_that_are_not_its_own_settle_nothing(
    kafka_bootstrap: str, kafka_topic: str
) -> None:
    produce(kafka_bootstrap, kafka_topic, [gate(1)])
    source = source_of(config(kafka_bootstrap, kafka_topic))
    with reading(source) as frames:
        next(frames)
        source.settle(Receipt(RecordPlace("another", 0, 0)))
        source.settle(Receipt(RecordPlace(kafka_topic, 7, 0)))
        source.settle(Receipt("no place at all"))
    assert committed(kafka_bootstrap, kafka_topic) in (None, 0)


# ---------------------------------------------------------------- the group


def test_a_slow_reader_keeps_its_place_in_the_group(kafka_bootstrap: str, kafka_topic: str) -> None:
    num_records = 3 * MAX_POLLED_RECORDS
    produce(kafka_bootstrap, kafka_topic, [gate(i) for i in range(num_records)])
    observer = Recorder()
    source = source_of(
        config(kafka_bootstrap, kafka_topic, session_timeout_s=1.5, max_poll_interval_s=1.5),
        observer=observer,
    )
    with reading(source) as frames:
        first = next(frames)
        before = members(kafka_bootstrap, kafka_topic)
        source.settle(receipt_of(first))
        time.sleep(4.0)
        assert committed(kafka_bootstrap, kafka_topic) == 1
        assert members(kafka_bootstrap, kafka_topic) == before
        assert observer.total(KAFKA_RECORDS, topic=kafka_topic) <= 2 * MAX_POLLED_RECORDS
        offsets = [place_of(frame).offset for frame in islice(frames, num_records - 1)]
    assert offsets == list(range(1, num_records))


# ---------------------------------------------------------------- configuration


def test_the_dead_letter_topic_is_another_one() -> None:
    with pytest.raises(ConfigError, match="expected another topic than 'frames'"):
        KafkaConfig(
            bootstrap_servers="kafka:9092",
            topic="frames",
            group_id="vigil",
            dead_letter_topic="frames",
        )


def test_camera_ids_are_slugs() -> None:
    with pytest.raises(ConfigError, match="got 'Gate'"):
        config("kafka:9092", "frames", camera_ids=frozenset({"Gate"}))


def test_kafka_is_a_frame_source() -> None:
    source: FrameSource = source_of(config("kafka:9092", "frames"))
    source.close()
