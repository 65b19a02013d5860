"""A record that kills a process in a container too small for it killed every restart, for ever."""

import secrets

import pytest

from pipeline.sources.attempts import CAUTIOUS_RECORDS, IN_GOOD_ORDER, MAX_DEATHS, Attempts


def found(metadata: str, *, position: int) -> Attempts:
    """What a process finds that nobody has been before."""
    return Attempts(metadata, position=position, process=secrets.token_hex(4))


@pytest.mark.parametrize("metadata", [IN_GOOD_ORDER, "another consumer's", "vigil:trying:x:1"])
def test_after_an_end_in_good_order_nothing_is_suspected(metadata: str) -> None:
    attempts = found(metadata, position=7)
    assert not attempts.is_cautious
    assert attempts.deaths(7) == 0
    assert attempts.metadata != IN_GOOD_ORDER


def test_a_record_is_known_at_its_second_death_wherever_it_stood_at_the_first() -> None:
    first = found(IN_GOOD_ORDER, position=5)  # dies at 8, which nobody has named
    second = found(first.metadata, position=5)
    assert second.is_cautious
    for offset in (5, 6, 7):
        second.begin(offset)
        second.end(offset)
    second.begin(8)  # dies
    third = found(second.metadata, position=5)
    assert [third.deaths(offset) for offset in (5, 6, 7, 8, 9)] == [0, 0, 0, MAX_DEATHS, 0]


def test_one_death_alone_does_not_condemn_what_was_in_flight() -> None:
    second = found(found(IN_GOOD_ORDER, position=5).metadata, position=5)
    assert all(second.deaths(offset) < MAX_DEATHS for offset in range(5, 10))


def test_what_kills_while_it_is_fetched_is_counted_without_being_tried() -> None:
    metadata, position = found(IN_GOOD_ORDER, position=5).metadata, 5
    deaths = []
    for _ in range(4):
        attempts = found(metadata, position=position)
        deaths.append(attempts.deaths(position))
        metadata = attempts.metadata
    assert deaths == [1, 2, 3, 4]


def test_the_blame_is_kept_until_the_record_is_reached_and_dropped_behind_it() -> None:
    attempts = found("vigil:trying:8:2", position=5)
    assert attempts.metadata == "vigil:trying:8:2"
    attempts.end(5)
    assert attempts.metadata == "vigil:trying:8:2"
    attempts.end(8)
    assert attempts.deaths(8) == 0
    after = found(attempts.metadata, position=9)
    assert [after.deaths(offset) for offset in (8, 9)] == [1, 1]


def test_caution_ends() -> None:
    attempts = found(found(IN_GOOD_ORDER, position=0).metadata, position=0)
    for offset in range(CAUTIOUS_RECORDS):
        assert attempts.is_cautious
        attempts.begin(offset)
        attempts.end(offset)
    assert not attempts.is_cautious
    assert attempts.deaths(CAUTIOUS_RECORDS) == 0


def test_a_process_that_finds_its_own_words_has_not_died() -> None:
    """After a restart of the broker it suspected what it then read, and a kill condemned that."""
    before = Attempts(IN_GOOD_ORDER, position=5, process="me")
    after = Attempts(before.metadata, position=5, process="me")
    assert not after.is_cautious
    assert after.deaths(5) == 0


def test_a_process_that_finds_a_name_of_its_own_counts_the_deaths_of_others_alone() -> None:
    careful = Attempts(found(IN_GOOD_ORDER, position=5).metadata, position=5, process="me")
    careful.begin(7)
    again = Attempts(careful.metadata, position=5, process="me")
    assert (again.deaths(7), again.is_cautious) == (1, True)
    assert found(careful.metadata, position=5).deaths(7) == MAX_DEATHS


def test_who_dies_between_two_records_has_named_none() -> None:
    careful = found(found(IN_GOOD_ORDER, position=5).metadata, position=5)
    careful.end(5)
    careful.begin(6)
    assert careful.is_trying
    careful.end(6)
    assert not careful.is_trying
    third = found(careful.metadata, position=5)
    assert [third.deaths(offset) for offset in (5, 6, 7)] == [1, 1, 1]
