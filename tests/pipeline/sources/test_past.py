"""A topic's cameras once more, by a real broker."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import numpy as np
import pytest

from pipeline.clock import SystemClock
from pipeline.errors import SourceError
from pipeline.sources.base import PastFrames, Seen
from pipeline.sources.past import MAX_WAITING, PastReader
from pipeline.types import Frame, Receipt, RecordPlace
from tests.pipeline.sources.topics import committed, config, grid_of, jpeg, read, source_of
from tests.servers.kafka import Sent, produce

START = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=300)


def at(second: float, grey: int | None, camera: str = "gate") -> Sent:
    """A camera's record of a second: a picture, or that nothing has changed."""
    moment = START + timedelta(seconds=second)
    headers = [("captured-at", moment.isoformat().encode())]
    headers += [("unchanged", b"1")] if grey is None else []
    return Sent(
        b"" if grey is None else jpeg(grey),
        key=camera.encode(),
        headers=tuple(headers),
        timestamp_ms=made_ms(second),
    )


def made_ms(second: float) -> int:
    """When the broker got it: half a second later."""
    return int((START.timestamp() + second) * 1000) + 500


def half_black(frame: Frame) -> Frame:
    pixels = frame.pixels.copy()
    pixels[:, : pixels.shape[1] // 2] = 0
    return replace(frame, pixels=pixels)


@pytest.fixture
def reader(kafka_bootstrap: str, kafka_topic: str) -> Iterator[PastReader]:
    reader = PastReader(
        config(kafka_bootstrap, kafka_topic, whole_every_s=5.0),
        grid_of=grid_of,
        masked=half_black,
        sample_period_s=1.0,
        clock=SystemClock(),
    )
    yield reader
    reader.close()


def taken(frames: PastFrames) -> list[Frame]:
    """All of them."""
    found: list[Frame] = []
    end_s = time.monotonic() + 20.0
    while not frames.is_over:
        assert time.monotonic() < end_s, f"only {len(found)} came"
        frame = frames.take()
        if frame is None:
            time.sleep(0.01)
        else:
            found.append(frame)
    return found


def seen(topic: str, *offsets_and_seconds: tuple[int, float]) -> Sequence[Seen]:
    return [
        Seen(
            START.timestamp() + second,
            Receipt(RecordPlace(topic, 0, offset, made_ms=made_ms(second))),
        )
        for offset, second in offsets_and_seconds
    ]


def seconds_of(frames: Sequence[Frame]) -> list[float]:
    return [frame.pts_s - START.timestamp() for frame in frames]


def test_a_camera_comes_once_more_masked_up_to_its_last_live_frame(
    kafka_bootstrap: str, kafka_topic: str, reader: PastReader
) -> None:
    records = [at(second, 60 if second % 4 == 0 else None) for second in range(20)]
    others = [at(second, 200, "roof") for second in range(20)]
    no_pictures = [
        Sent(b"no picture", key=b"gate", timestamp_ms=records[12].timestamp_ms),
        Sent(b"no key", timestamp_ms=records[12].timestamp_ms),
        replace(at(12, 10), headers=(("captured-at", b"yesterday"),)),
    ]
    rows = [one for pair in zip(records, others, strict=True) for one in pair]
    produce(kafka_bootstrap, kafka_topic, [*rows[:24], *no_pictures, *rows[24:]])
    assert reader.group(Receipt(RecordPlace(kafka_topic, 3, 7))) == 3
    assert reader.group(Receipt(RecordPlace("another", 3, 7))) is None
    assert reader.group(None) is None
    # of the live ones the sampler had left one out, and the last two are not seen yet
    live = seen(kafka_topic, (24 + 3, 12.0), (28 + 3, 14.0), (30 + 3, 15.0))
    frames = taken(reader.open("gate", live, since_s=START.timestamp() + 4.5))
    assert seconds_of(frames) == [5, 6, 7, 8, 9, 10, 11, 12, 14, 15]
    assert {frame.camera_id for frame in frames} == {"gate"}
    assert {frame.receipt for frame in frames} == {None}, "nobody settles them"
    for frame in frames:
        width = frame.pixels.shape[1]
        assert not frame.pixels[:, : width // 2].any(), "what is private stays so"
        assert abs(int(frame.pixels[:, width // 2 :].mean()) - 60) <= 1
    assert committed(kafka_bootstrap, kafka_topic) is None
    more = taken(reader.open("gate", live, since_s=START.timestamp() + 12.0))
    assert seconds_of(more) == [14, 15], "the rest of it"


def test_it_is_read_at_the_samplers_pace_and_the_live_frames_keep_their_times(
    kafka_bootstrap: str, kafka_topic: str, reader: PastReader
) -> None:
    produce(kafka_bootstrap, kafka_topic, [at(step / 4, step) for step in range(60)])
    live = seen(kafka_topic, (41, 10.3), (45, 11.3))
    frames = taken(reader.open("gate", live, since_s=START.timestamp() + 3.9))
    assert seconds_of(frames) == pytest.approx([4, 5, 6, 7, 8, 9, 10, 10.3, 11.3])


def test_reading_waits_for_who_takes_the_frames_and_ends_when_they_are_not_wanted(
    kafka_bootstrap: str, kafka_topic: str, reader: PastReader
) -> None:
    produce(kafka_bootstrap, kafka_topic, [at(second, 100) for second in range(40)])
    first = reader.open("gate", seen(kafka_topic, (39, 39.0)), since_s=0.0)
    second = reader.open("gate", seen(kafka_topic, (5, 5.0)), since_s=0.0)
    end_s = time.monotonic() + 20.0
    for _ in range(3):
        while first.take() is None:
            assert time.monotonic() < end_s
            time.sleep(0.01)
    assert not first.is_over
    assert len(first._waiting) <= MAX_WAITING  # type: ignore[attr-defined]  # the bound itself
    first.close()
    assert first.is_over
    assert len(taken(second)) == 6, "the next one has its turn"


def test_cameras_of_one_partition_are_read_in_one_go(
    kafka_bootstrap: str,
    kafka_topic: str,
    reader: PastReader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    groups: list[list[str]] = []
    read_group = reader._read

    def counted(consumer: Any, group: Sequence[Any]) -> None:
        groups.append([frames.camera_id for frames in group])
        read_group(consumer, group)

    monkeypatch.setattr(reader, "_read", counted)
    cameras = ("gate", "roof", "yard")
    rows = [at(second, 100, camera) for second in range(12) for camera in cameras]
    produce(kafka_bootstrap, kafka_topic, rows)
    asked = [
        reader.open(camera, seen(kafka_topic, (3 * last + index, last)), since_s=0.0)
        for index, (camera, last) in enumerate(zip(cameras, (11, 5, 8), strict=True))
    ]
    asked[2].close()  # nobody waits for what is no longer wanted
    found: list[list[float]] = [[], []]
    end_s = time.monotonic() + 20.0
    while not (asked[0].is_over and asked[1].is_over):
        assert time.monotonic() < end_s
        for frames, seconds in zip(asked, found, strict=False):
            if (frame := frames.take()) is not None:
                seconds += seconds_of([frame])
    assert found == [list(range(12)), list(range(6))]
    assert [sorted(group) for group in groups] == [["gate", "roof"]]


def test_a_topic_that_keeps_less_gives_what_it_has(
    kafka_bootstrap: str, kafka_topic: str, reader: PastReader
) -> None:
    produce(kafka_bootstrap, kafka_topic, [at(second, 100) for second in range(3)])
    frames = taken(reader.open("gate", seen(kafka_topic, (0, 0.0)), since_s=0.0))
    assert seconds_of(frames) == [0], "the live one alone"


def test_a_broker_that_is_away_is_a_failure_and_not_for_ever(
    kafka_bootstrap: str, kafka_topic: str, reader: PastReader
) -> None:
    away = PastReader(
        config("127.0.0.1:9", kafka_topic, connect_timeout_s=0.3),
        grid_of=grid_of,
        masked=half_black,
        sample_period_s=1.0,
        clock=SystemClock(),
    )
    live = seen(kafka_topic, (0, 0.0))
    with pytest.raises(SourceError):
        taken(away.open("gate", live, since_s=0.0))
    with pytest.raises(SourceError):
        taken(away.open("gate", live, since_s=0.0))
    away.close()
    away.close()
    produce(kafka_bootstrap, kafka_topic, [at(0, 100)])
    assert len(taken(reader.open("gate", live, since_s=0.0))) == 1


def test_what_comes_once_more_is_what_the_source_gave(
    kafka_bootstrap: str, kafka_topic: str
) -> None:
    produce(kafka_bootstrap, kafka_topic, [at(step, 7 * step) for step in range(8)])
    live = read(source_of(config(kafka_bootstrap, kafka_topic)), 8)
    reader = PastReader(
        config(kafka_bootstrap, kafka_topic),
        grid_of=grid_of,
        masked=lambda frame: frame,
        sample_period_s=1.0,
        clock=SystemClock(),
    )
    seen_now = [Seen(frame.pts_s, frame.receipt) for frame in islice(live, 6, None)]
    again = taken(reader.open("gate", seen_now, since_s=0.0))
    reader.close()
    assert len(again) == len(live)
    for one, other in zip(again, live, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        whole = replace(one, receipt=other.receipt, record=other.record)
        assert {**asdict(whole), "pixels": None} == {**asdict(other), "pixels": None}
