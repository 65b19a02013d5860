"""Records of a producer that leaves out what has not changed, and judges its cameras itself."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice

import numpy as np
import pytest

from pipeline.metrics import DEAD_LETTERS, KAFKA_PASSED_OVER
from pipeline.sources.record import RecordError, camera_state
from pipeline.types import Frame
from tests.fakes import Recorder
from tests.pipeline.sources.topics import (
    committed,
    config,
    dead_letters,
    jpeg,
    place_of,
    read,
    reading,
    receipt_of,
    source_of,
)
from tests.servers.kafka import Sent, produce

START = datetime.now(UTC)


@pytest.fixture(autouse=True)
def start(monkeypatch: pytest.MonkeyPatch, kafka_topic: str) -> None:  # noqa: ARG001 (it takes time)
    """Begin the camera's seconds now: what is older comes late."""
    monkeypatch.setitem(globals(), "START", datetime.now(UTC) - timedelta(seconds=6))


def at(second: float, grey: int | None = None, state: str | None = "online") -> Sent:
    """The gate camera's record of a second: a picture, or that nothing has changed."""
    moment = START + timedelta(seconds=second)
    headers = [("captured-at", moment.isoformat().encode())]
    headers += [("unchanged", b"1")] if grey is None else []
    headers += [("camera-state", state.encode())] if state is not None else []
    return Sent(b"" if grey is None else jpeg(grey), key=b"gate", headers=tuple(headers))


def grey_of(frame: Frame) -> int:
    return int(frame.pixels.mean())


def test_the_last_picture_is_shown_again_with_its_new_time(
    kafka_bootstrap: str, kafka_topic: str
) -> None:
    records = [at(0), at(1, 60), at(2), at(3), at(4, 90), at(5)]
    produce(kafka_bootstrap, kafka_topic, records)
    observer = Recorder()
    frames = read(source_of(config(kafka_bootstrap, kafka_topic), observer=observer), 5)
    assert [grey_of(frame) for frame in frames] == [60, 60, 60, 90, 90]
    seconds = [round((frame.captured_at - START).total_seconds(), 3) for frame in frames]
    assert seconds == [1, 2, 3, 4, 5]
    assert frames[2].pixels is frames[0].pixels, "decoded once"
    assert [place_of(frame).offset for frame in frames] == [1, 2, 3, 4, 5]
    # the first one stood for a picture that nobody here has seen
    assert observer.totals(KAFKA_PASSED_OVER, by="reason")["no_picture"] == 1
    assert committed(kafka_bootstrap, kafka_topic) == 1


def test_the_sampler_that_leaves_a_picture_out_does_not_bring_back_the_one_before(
    kafka_bootstrap: str, kafka_topic: str
) -> None:
    produce(kafka_bootstrap, kafka_topic, [at(0, 60), at(1, 200), at(2)])
    left_out = (START + timedelta(seconds=1)).timestamp()
    source = source_of(
        config(kafka_bootstrap, kafka_topic), wanted=lambda _, pts_s: abs(pts_s - left_out) > 0.5
    )
    assert [grey_of(frame) for frame in read(source, 2)] == [60, 200]


def test_a_cameras_state_is_told_as_it_was_judged_where_the_camera_is(
    kafka_bootstrap: str, kafka_topic: str
) -> None:
    told: list[tuple[str, bool]] = []
    records = [
        at(0, 60),
        at(1, state="frozen"),
        at(2, state="damaged"),  # no picture comes while it is
        at(3, 70, state="damaged_shown"),
        at(4, 80, state="lagging"),
        at(5, 80),
    ]
    produce(kafka_bootstrap, kafka_topic, records)
    source = source_of(
        config(kafka_bootstrap, kafka_topic),
        tell=lambda _camera_id, reason, detail: told.append((reason, detail is not None)),
    )
    frames = read(source, 5)
    assert [grey_of(frame) for frame in frames] == [60, 60, 70, 80, 80]
    assert [frame.is_damaged for frame in frames] == [False, False, True, False, False]
    assert not any(frame.is_coded_anew for frame in frames), "nobody else is to judge freezing"
    assert told == [
        ("identical_frames", True),
        ("identical_frames", False),
        ("damaged", True),
        ("damaged", False),
        ("damaged_shown", True),
        ("damaged_shown", False),
        ("lagging", True),
        ("lagging", False),
    ]


def test_pictures_without_a_state_are_judged_here(kafka_bootstrap: str, kafka_topic: str) -> None:
    produce(kafka_bootstrap, kafka_topic, [at(0, 60, state=None), at(1, state=None)])
    frames = read(source_of(config(kafka_bootstrap, kafka_topic)), 2)
    assert [frame.is_coded_anew for frame in frames] == [True, False]
    np.testing.assert_array_equal(frames[0].pixels, frames[1].pixels)


def test_a_state_that_is_none_is_a_dead_letter_and_the_stream_goes_on(
    kafka_bootstrap: str, kafka_topic: str
) -> None:
    produce(kafka_bootstrap, kafka_topic, [at(0, 60, state="sleepy"), at(1)])
    observer = Recorder()
    (frame,) = read(source_of(config(kafka_bootstrap, kafka_topic), observer=observer), 1)
    assert grey_of(frame) == 60, "its picture was the camera's last one all the same"
    assert observer.totals(DEAD_LETTERS, by="reason")["bad_camera_state"] == 1
    (letter,) = dead_letters(kafka_bootstrap, kafka_topic + "-dead")
    assert b"expected one of online, frozen" in dict(letter.headers)["detail"]


@pytest.mark.parametrize("word", [b"", b"Frozen", b"\xff", b"frozen "])
def test_a_state_is_one_of_a_few_words(word: bytes) -> None:
    with pytest.raises(RecordError, match="camera-state header: expected one of online"):
        camera_state([("camera-state", word)])
    assert camera_state([("camera-state", word), ("camera-state", b"frozen")]) == "frozen"
    assert camera_state([("other", b"x")]) is None


def takeover(kafka_bootstrap: str, kafka_topic: str, number: int) -> None:
    """Let a member of the group settle so many frames, and go."""
    source = source_of(config(kafka_bootstrap, kafka_topic))
    with reading(source) as frames:
        for frame in islice(frames, number):
            source.settle(receipt_of(frame))


def test_who_takes_a_partition_up_finds_the_picture_from_before(
    kafka_bootstrap: str, kafka_topic: str
) -> None:
    produce(kafka_bootstrap, kafka_topic, [at(0, 60), at(1), at(2)])
    takeover(kafka_bootstrap, kafka_topic, 3)
    assert committed(kafka_bootstrap, kafka_topic) == 3
    roof = Sent(b"", key=b"roof", headers=(("unchanged", b"1"),))  # whose picture is nowhere
    produce(kafka_bootstrap, kafka_topic, [roof, at(3), at(4, 90), roof, at(5)])
    observer = Recorder()
    source = source_of(config(kafka_bootstrap, kafka_topic), observer=observer)
    with reading(source) as frames:
        shown = list(islice(frames, 3))
        for frame in shown:
            source.settle(receipt_of(frame))
    assert [grey_of(frame) for frame in shown] == [60, 90, 90]
    assert [place_of(frame).offset for frame in shown] == [4, 5, 7], "each record once"
    assert observer.totals(KAFKA_PASSED_OVER, by="reason")["no_picture"] == 2
    assert committed(kafka_bootstrap, kafka_topic) == 8


def test_it_is_looked_no_further_back_than_a_whole_picture_can_be(
    kafka_bootstrap: str, kafka_topic: str
) -> None:
    produce(kafka_bootstrap, kafka_topic, [replace(at(0, 60), timestamp_ms=1_000_000)])
    takeover(kafka_bootstrap, kafka_topic, 1)
    produce(kafka_bootstrap, kafka_topic, [at(1), at(2, 90), at(3)])
    source = source_of(config(kafka_bootstrap, kafka_topic))
    assert [grey_of(frame) for frame in read(source, 2)] == [90, 90]
