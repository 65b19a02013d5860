"""A record that kills a process in a container too small for it killed every restart, for ever."""

import pytest

from pipeline.sources.attempts import CAUTIOUS_RECORDS, IN_GOOD_ORDER, MAX_DEATHS, Attempts


@pytest.mark.parametrize("metadata", [IN_GOOD_ORDER, "another consumer's", "vigil:trying:x:1"])
def test_after_an_end_in_good_order_nothing_is_suspected(metadata: str) -> None:
    attempts = Attempts(metadata, position=7)
    assert not attempts.is_cautious
    assert attempts.deaths(7) == 0
    assert attempts.metadata != IN_GOOD_ORDER


def test_a_record_is_known_at_its_second_death_wherever_it_stood_at_the_first() -> None:
    first = Attempts(IN_GOOD_ORDER, position=5)  # dies at 8, which nobody has named
    second = Attempts(first.metadata, position=5)
    assert second.is_cautious
    for offset in (5, 6, 7):
        second.begin(offset)
        second.end(offset)
    second.begin(8)  # dies
    third = Attempts(second.metadata, position=5)
    assert [third.deaths(offset) for offset in (5, 6, 7, 8, 9)] == [0, 0, 0, MAX_DEATHS, 0]


def test_one_death_alone_does_not_condemn_what_was_in_flight() -> None:
    second = Attempts(Attempts(IN_GOOD_ORDER, position=5).metadata, position=5)
    assert all(second.deaths(offset) < MAX_DEATHS for offset in range(5, 10))


def test_what_kills_while_it_is_fetched_is_counted_without_being_tried() -> None:
    metadata, position = Attempts(IN_GOOD_ORDER, position=5).metadata, 5
    deaths = []
    for _ in range(4):
        attempts = Attempts(metadata, position=position)
        deaths.append(attempts.deaths(position))
        metadata = attempts.metadata
    assert deaths == [1, 2, 3, 4]


def test_the_blame_is_kept_until_the_record_is_reached_and_dropped_behind_it() -> None:
    attempts = Attempts("vigil:trying:8:2", position=5)
    assert attempts.metadata == "vigil:trying:8:2"
    attempts.end(5)
    assert attempts.metadata == "vigil:trying:8:2"
    attempts.end(8)
    assert attempts.deaths(8) == 0
    assert attempts.metadata == Attempts(IN_GOOD_ORDER, position=9).metadata


def test_caution_ends() -> None:
    attempts = Attempts(Attempts(IN_GOOD_ORDER, position=0).metadata, position=0)
    for offset in range(CAUTIOUS_RECORDS):
        assert attempts.is_cautious
        attempts.begin(offset)
        attempts.end(offset)
    assert not attempts.is_cautious
    assert attempts.deaths(CAUTIOUS_RECORDS) == 0
