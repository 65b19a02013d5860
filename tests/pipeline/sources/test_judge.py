from datetime import timedelta
from types import SimpleNamespace

import pytest

from pipeline.sources.fair_queue import Taken
from pipeline.sources.judge import MAX_AHEAD_S, Door, Judge, PassedOver
from pipeline.sources.last_pictures import LastPictures
from pipeline.sources.record import RecordError
from pipeline.types import Wanted
from tests.fakes import FakeClock


def door(**options: object) -> Door:
    defaults: dict[str, object] = {
        "camera_ids": frozenset({"gate"}),
        "elsewhere": frozenset({"wall"}),
        "only_configured": False,
        "max_strangers": 2,
    }
    return Door(**{**defaults, **options})  # type: ignore[arg-type]  # a test's own words


def refusal(one: Door, camera_id: str) -> str | None:
    try:
        one.admit(camera_id)
    except RecordError as exc:
        return exc.reason
    return None


def test_a_camera_with_an_address_has_no_second_door() -> None:
    """A Kafka key equal to an RTSP camera's id put its pictures into that camera's context."""
    assert refusal(door(), "wall") == "not_by_kafka"
    assert refusal(door(), "gate") is None


def test_strangers_never_take_a_configured_cameras_place() -> None:
    """Junk keys before a configured camera's made it `too_many_cameras` for ever."""
    one = door()
    assert [refusal(one, key) for key in ("a", "b", "c", "a")] == [
        None,
        None,
        "too_many_cameras",
        None,
    ]
    assert refusal(one, "gate") is None


def test_where_only_configured_cameras_are_watched_no_stranger_is() -> None:
    one = door(only_configured=True)
    assert refusal(one, "gate") is None
    assert refusal(one, "a") == "unknown_camera"


def test_a_stranger_of_whom_no_picture_was_read_gives_its_place_back() -> None:
    one = door(max_strangers=1)
    assert refusal(one, "junk") is None
    one.was_junk("junk")
    assert refusal(one, "yard") is None
    one.was_read("yard")
    one.was_junk("yard")  # one broken picture of a real camera
    assert refusal(one, "other") == "too_many_cameras"


class Topic:
    """Records of one camera, judged by a clock that stands."""

    def __init__(self, *, max_lag_s: float | None = None) -> None:
        self.clock = FakeClock()
        self.wants: Wanted = lambda _camera_id, _pts_s: True
        self.judge = Judge(
            door(),
            wanted=lambda camera_id, pts_s: self.wants(camera_id, pts_s),
            clock=self.clock,
            max_lag_s=max_lag_s,
            max_record_bytes=100,
        )

    def verdict(
        self,
        ago_s: float,
        *,
        key: bytes = b"gate",
        value: bytes = b"\xff\xd8",
        headers: tuple[tuple[str, bytes], ...] = (),
    ) -> Taken | PassedOver | None:
        made = self.clock.now() - timedelta(seconds=ago_s)
        record = SimpleNamespace(
            key=key,
            value=value,
            headers=headers,
            timestamp=int(made.timestamp() * 1000),
            partition=0,
        )
        verdict = self.judge.judge(record)
        assert not isinstance(verdict, RecordError)
        return verdict


def test_what_is_older_than_the_newest_taken_of_its_camera_is_late() -> None:
    """confluent-kafka-dotnet#1872, MassTransit#4777, tiflow#11823: a late record in ten cut the
    window of 40 frames to 10, and answers were older than the one before."""
    topic = Topic()
    assert isinstance(topic.verdict(10.0), Taken)
    assert topic.verdict(15.0) == "late"
    assert isinstance(topic.verdict(15.0, key=b"yard"), Taken)
    assert isinstance(topic.verdict(9.0), Taken)


@pytest.mark.parametrize("ahead_s", [MAX_AHEAD_S + 1, 3600.0, 73 * 365 * 86400.0])
def test_records_from_2099_are_passed_over_and_block_nobody(ahead_s: float) -> None:
    topic = Topic()
    assert topic.verdict(-ahead_s) == "future"
    assert isinstance(topic.verdict(1.0), Taken)


def test_a_clock_that_is_a_little_fast_is_taken_for_now_and_delays_no_later_record() -> None:
    topic = Topic()
    fast = topic.verdict(-(MAX_AHEAD_S - 1))
    assert isinstance(fast, Taken)
    assert fast.captured_at == topic.clock.now()
    topic.clock.seconds += 1
    assert isinstance(topic.verdict(0.0), Taken)


def test_what_is_older_than_the_lag_that_is_allowed_is_too_old() -> None:
    topic = Topic(max_lag_s=300)
    assert topic.verdict(301.0) == "too_old"
    assert isinstance(topic.verdict(299.0), Taken)


def test_another_member_that_had_the_camera_in_between_makes_nothing_late() -> None:
    topic = Topic()
    assert isinstance(topic.verdict(10.0), Taken)
    topic.judge.forget("gate")
    assert isinstance(topic.verdict(15.0), Taken)


def test_a_camera_whose_clock_was_set_back_is_soon_taken_again() -> None:
    topic = Topic()
    assert isinstance(topic.verdict(0.0), Taken)
    verdicts = [topic.verdict(3600.0 - second) for second in range(15)]
    assert verdicts[:10] == ["late"] * 10
    assert all(isinstance(verdict, Taken) for verdict in verdicts[10:])


def test_what_is_no_picture_makes_none_late() -> None:
    topic = Topic()
    assert isinstance(topic.verdict(0.0, value=b"hello"), Taken)  # its decoder will refuse it
    assert isinstance(topic.verdict(3600.0), Taken)


UNCHANGED = (("unchanged", b"1"),)


def test_an_unchanged_record_shows_the_last_picture_also_where_that_was_not_taken_itself() -> None:
    """The sampler that left the picture out did not make the camera show the one before it."""
    topic = Topic()
    assert isinstance(topic.verdict(3.0, value=b"\xff\xd8 empty"), Taken)
    topic.wants = lambda _camera_id, _pts_s: False
    assert topic.verdict(2.0, value=b"\xff\xd8 a thief") is None
    topic.wants = lambda _camera_id, _pts_s: True
    again = topic.verdict(1.0, value=b"", headers=UNCHANGED)
    assert isinstance(again, Taken)
    assert again.picture is not None
    assert again.picture.value == b"\xff\xd8 a thief"


def test_an_unchanged_record_shows_nothing_where_a_picture_may_have_been_missed() -> None:
    topic = Topic()
    first = topic.verdict(9.0, value=b"", headers=UNCHANGED)
    assert isinstance(first, Taken)
    assert first.picture is None
    topic.verdict(8.0)
    topic.judge.missed(0)
    missed = topic.verdict(7.0, value=b"", headers=UNCHANGED)
    assert isinstance(missed, Taken)
    assert missed.picture is None


def test_of_a_damaged_camera_no_picture_stands_for_what_is_there_now() -> None:
    topic = Topic()
    topic.verdict(9.0)
    damaged = topic.verdict(8.0, value=b"", headers=(*UNCHANGED, ("camera-state", b"damaged")))
    assert isinstance(damaged, Taken)
    assert (damaged.picture, damaged.state) == (None, "damaged")
    shown = topic.verdict(7.0, headers=(("camera-state", b"damaged_shown"),))
    assert isinstance(shown, Taken)
    assert shown.picture is shown.record


def test_the_last_pictures_of_all_cameras_take_no_more_than_their_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.sources.last_pictures.MAX_BYTES", 10)
    kept = LastPictures()
    for camera_id, num_bytes in (("a", 6), ("b", 4), ("a", 5), ("c", 3)):
        kept.keep(camera_id, SimpleNamespace(value=bytes(num_bytes), partition=0))
    assert [one for one in "abc" if kept.of(one) is not None] == ["a", "c"]
