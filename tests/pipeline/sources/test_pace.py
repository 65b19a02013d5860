import pytest

from pipeline.sources.pace import Pace


def paced(fps: float, *, gop: int, seconds: float = 10.0, start_s: float = 100.0) -> Pace:
    pace = Pace()
    for number in range(round(seconds * fps)):
        pace.packet(start_s + number / fps, is_key=number % gop == 0)
    return pace


@pytest.mark.parametrize(("fps", "gop"), [(25.0, 25), (21.0, 42), (12.5, 50), (1.0, 1)])
def test_pictures_and_key_frames_are_timed_as_they_come(fps: float, gop: int) -> None:
    pace = paced(fps, gop=gop)
    assert pace.fps == pytest.approx(fps, abs=0.1)
    assert pace.keyframe_every_s == pytest.approx(gop / fps, abs=0.1)


def test_nothing_is_known_of_a_stream_that_has_just_begun() -> None:
    pace = paced(25.0, gop=25, seconds=0.12)
    assert (pace.fps, pace.keyframe_every_s) == (None, None)


def test_what_was_known_stays_known_over_the_seam_of_a_loop() -> None:
    pace = paced(10.0, gop=20)
    pace.packet(0.0, is_key=True)
    assert (pace.fps, pace.keyframe_every_s) == (10.0, 2.0)


def test_pictures_that_are_sent_ahead_of_their_time_do_not_bend_the_rate() -> None:
    pace = Pace()
    for number in range(100):
        pace.packet(number / 25 + (0.08 if number % 3 == 0 else -0.04), is_key=number % 25 == 0)
    assert pace.fps == pytest.approx(25.0, abs=1.0)
