"""When two answers agree, how far apart their probabilities are, and what is made of many."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from model import Answer, Question
from model.kinds.base import Doubt
from pipeline.questions import StandingQuestion
from pipeline.types import Frame
from tests.fakes import SMALL, picture
from worker.benchmarks.report import Row
from worker.evaluation.self_check.two_ways import Compared, Pair, compared_rows, moments

FIRE = StandingQuestion("fire", Question("yes_no", "Is there fire?"), 5.0, doubt=Doubt())
DOOR = StandingQuestion("door", Question("choice", "The door is", ("open", "closed", "ajar")), 5.0)
CARS = StandingQuestion("cars", Question("count", "How many cars are there?"), 5.0)
WHAT = StandingQuestion("what", Question("text", "What is there?"), 5.0)


def fire(p: float, mass: float = 1.0) -> Answer:
    return Answer("yes_no", "yes" if p >= 0.5 else "no", p, 0, mass=mass)


def door(*shares: float) -> Answer:
    p = max(shares)
    value = DOOR.question.options[shares.index(p)]
    return Answer("choice", value, p, 0, mass=1.0, shares=shares)


def cars(*shares: float) -> Answer:
    p = max(shares)
    return Answer("count", shares.index(p), p, 0, mass=1.0, shares=shares)


@pytest.mark.parametrize(
    ("pair", "agrees", "apart"),
    [
        (Pair(FIRE, fire(0.9), fire(0.7)), True, 0.2),
        (Pair(FIRE, fire(0.1), fire(0.7)), False, 0.6),
        (Pair(FIRE, fire(0.7), fire(0.59)), False, 0.11),  # yes and in doubt
        (Pair(FIRE, fire(0.45), fire(0.55)), True, 0.1),  # both in doubt
        (Pair(FIRE, fire(0.9), fire(0.9, mass=0.01)), False, None),
        (Pair(FIRE, fire(0.9, mass=0.01), fire(0.1, mass=0.01)), True, None),
        (Pair(DOOR, door(0.6, 0.3, 0.1), door(0.7, 0.2, 0.1)), True, 0.1),
        (Pair(DOOR, door(0.6, 0.3, 0.1), door(0.1, 0.2, 0.7)), False, 0.5),
        (Pair(CARS, cars(0.1, 0.1, 0.8), cars(0.7, 0.1, 0.2)), False, 0.6),
        (Pair(CARS, cars(0.1, 0.1, 0.8), cars(0.9, 0.1)), False, 0.8),
    ],
)
def test_answers_agree_as_they_are_published(pair: Pair, *, agrees: bool, apart: float) -> None:
    assert pair.is_counted
    assert pair.agrees is agrees
    assert pair.p_difference == (None if apart is None else pytest.approx(apart))


def rows_of(*pairs: Pair) -> dict[str, Row]:
    compared = Compared(pairs, 2, num_tokens=200, kept_by_reference=190, kept_in_effect=40)
    return {row.name: row for row in compared_rows(compared, min_mass=0.1)}


def test_one_of_a_hundred_may_differ_and_two_may_not() -> None:
    same, other = Pair(FIRE, fire(0.9), fire(0.9)), Pair(FIRE, fire(0.9), fire(0.1))
    rows = rows_of(*[same] * 99, other)
    assert rows["agreement_with_reference"].holds is True
    assert rows["p_differences_above_0.1"].holds is True
    assert rows["largest_p_difference"].value == pytest.approx(0.8)
    rows = rows_of(*[same] * 98, other, other)
    assert rows["agreement_with_reference"].holds is False
    assert rows["p_differences_above_0.1"].holds is False


def test_probabilities_may_be_apart_where_answers_agree() -> None:
    rows = rows_of(*[Pair(FIRE, fire(0.95), fire(0.7))] * 3)
    assert rows["agreement_with_reference"].holds is True
    assert rows["p_differences_above_0.1"].holds is False


def test_words_are_shown_and_not_counted() -> None:
    words = Pair(WHAT, Answer("text", "a dog", None, 2), Answer("text", "a cat", None, 2))
    rows = rows_of(Pair(FIRE, fire(0.9), fire(0.9)), words)
    assert rows["what_agreement"].value == 0
    assert rows["what_agreement"].unit == "ratio, not counted"
    assert rows["agreement_with_reference"].terms == {"agree": 1, "answers": 1, "unanswered": 0}
    assert rows["fire_agreement"].terms["largest_p_difference"] == 0


def test_a_model_that_never_answers_has_no_difference_of_p() -> None:
    rows = rows_of(*[Pair(FIRE, fire(0.9, mass=0.0), fire(0.1, mass=0.01))] * 3)
    assert rows["clip_mass_median"].holds is False
    assert "largest_p_difference" not in rows
    agreement = rows["agreement_with_reference"]
    assert (agreement.value, agreement.holds) == (None, None)
    assert agreement.terms == {"unanswered": 3}
    assert rows["tokens_kept_by_reference"].value == 0.95
    assert rows["tokens_kept_in_effect"].value == 0.2


def test_what_neither_way_answers_does_not_count_for_agreement() -> None:
    mute = Pair(FIRE, fire(0.9, mass=0.0), fire(0.9, mass=0.0))
    half = Pair(FIRE, fire(0.9), fire(0.9, mass=0.0))
    row = rows_of(*[mute] * 99, half)["agreement_with_reference"]
    assert (row.value, row.holds) == (0, False)
    assert row.terms == {"agree": 0, "answers": 1, "unanswered": 99}


def frames(*times_s: float) -> Iterator[Frame]:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for at_s in times_s:
        yield Frame("file", picture(), SMALL, at_s, start + timedelta(seconds=at_s))


def test_a_moment_is_every_fifth_second_even_of_frames_that_come_unevenly() -> None:
    times_s = (0.0, 2.0, 4.95, 5.4, 6.0, 9.4, 11.2, 12.0, 31.0, 32.0, 35.0)
    found = [frame.pts_s for frame, is_moment in moments(frames(*times_s)) if is_moment]
    assert found == [4.95, 11.2, 31.0, 35.0]
