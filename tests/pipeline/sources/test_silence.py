from pipeline.sources.silence import Silence
from tests.fakes import FakeClock


def test_who_stops_is_silent_after_the_time_and_no_longer_when_it_comes_back() -> None:
    clock = FakeClock()
    silence = Silence(clock)
    silence.heard(0, ["gate", "yard"])
    clock.seconds = 10
    silence.heard(0, ["yard"])
    clock.seconds = 16
    assert silence.longer_than(15.0, here={0, 1}) == {"gate"}
    silence.heard(0, ["gate"])
    assert silence.longer_than(15.0, here={0, 1}) == frozenset()


def test_a_partition_that_is_held_back_makes_nobody_silent() -> None:
    clock = FakeClock()
    silence = Silence(clock)
    silence.heard(0, ["gate"])
    silence.heard(1, ["yard"])
    clock.seconds = 16
    silence.held_back(0)
    assert silence.longer_than(15.0, here={0, 1}) == {"yard"}


def test_another_members_cameras_are_not_this_ones_to_miss() -> None:
    clock = FakeClock()
    silence = Silence(clock)
    silence.heard(0, ["gate"])
    clock.seconds = 16
    assert silence.elsewhere({1}) == ["gate"]
    assert silence.elsewhere({1}) == [], "told once"
    assert silence.longer_than(15.0, here={0, 1}) == frozenset()


def test_a_camera_whose_partition_changed_is_heard_where_it_is_now() -> None:
    clock = FakeClock()
    silence = Silence(clock)
    silence.heard(0, ["gate"])
    clock.seconds = 16
    silence.heard(1, ["gate"])
    assert silence.longer_than(15.0, here={0, 1}) == frozenset()
    assert silence.elsewhere({1}) == [], "it comes here all the same"


def test_nobody_is_missed_before_its_partition_is_here_nor_for_the_time_before() -> None:
    clock = FakeClock()
    silence = Silence(clock)
    silence.heard(0, ["gate"])
    clock.seconds = 16
    assert silence.longer_than(15.0, here=()) == frozenset()
    silence.held_back(0)
    clock.seconds = 30
    assert silence.longer_than(15.0, here={0}) == frozenset()
    clock.seconds = 32
    assert silence.longer_than(15.0, here={0}) == {"gate"}


def test_who_is_expected_is_missed_unless_something_was_heard_of_it() -> None:
    clock = FakeClock()
    silence = Silence(clock)
    silence.heard(1, ["gate"])
    clock.seconds = 16
    silence.expect(0, ["gate", "yard"])
    assert silence.longer_than(15.0, here={0, 1}) == {"gate"}
    clock.seconds = 32
    silence.heard(1, ["gate"])
    assert silence.longer_than(15.0, here={0, 1}) == {"yard"}
