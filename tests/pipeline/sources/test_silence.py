from pipeline.sources.silence import Silence
from tests.fakes import FakeClock


def test_who_stops_is_silent_after_the_time_and_no_longer_when_it_comes_back() -> None:
    clock = FakeClock()
    silence = Silence(clock)
    silence.heard(0, ["gate", "yard"])
    clock.seconds = 10
    silence.heard(0, ["yard"])
    clock.seconds = 16
    assert silence.longer_than(15.0) == {"gate"}
    silence.heard(0, ["gate"])
    assert silence.longer_than(15.0) == frozenset()


def test_a_partition_that_is_held_back_makes_nobody_silent() -> None:
    clock = FakeClock()
    silence = Silence(clock)
    silence.heard(0, ["gate"])
    silence.heard(1, ["yard"])
    clock.seconds = 16
    silence.held_back(0)
    assert silence.longer_than(15.0) == {"yard"}


def test_another_members_cameras_are_not_this_ones_to_miss() -> None:
    clock = FakeClock()
    silence = Silence(clock)
    silence.heard(0, ["gate"])
    clock.seconds = 16
    assert silence.gone(0) == ["gate"]
    assert not silence.knows("gate")
    assert silence.longer_than(15.0) == frozenset()


def test_a_camera_whose_partition_changed_is_heard_where_it_is_now() -> None:
    clock = FakeClock()
    silence = Silence(clock)
    silence.heard(0, ["gate"])
    clock.seconds = 16
    silence.heard(1, ["gate"])
    assert silence.longer_than(15.0) == frozenset()
