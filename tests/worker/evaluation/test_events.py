"""Events against hand-made truth."""

import pytest

from worker.evaluation.events import Matched, Span, Start, joined, match, total


def starts(*moments: float) -> list[Start]:
    """Events announced one second after they began."""
    return [Start(at_s, at_s + 1.0) for at_s in moments]


def test_spans_that_overlap_or_nearly_touch_are_one() -> None:
    spans = joined([(20.0, 30.0), (0.0, 10.0), (5.0, 12.0), (14.0, 18.0)], gap_s=3.0)
    assert spans == [Span(0.0, 30.0, again_s=(14.0, 20.0))]
    assert joined([(0.0, 10.0), (13.0, 15.0)], gap_s=3.0) == [Span(0.0, 10.0), Span(13.0, 15.0)]


def test_a_start_counts_from_shortly_before_a_span_to_its_end() -> None:
    spans = [Span(10.0, 20.0)]
    for at_s, found in ((8.9, 0), (9.0, 1), (20.0, 1), (20.1, 0)):
        assert match(starts(at_s), spans, shortest_s=2.0).num_found == found


def test_a_second_start_in_a_span_is_an_error() -> None:
    got = match(starts(10.0, 15.0), [Span(10.0, 20.0)], shortest_s=2.0)
    assert (got.precision, got.recall) == (0.5, 1.0)


def test_a_start_after_a_short_gap_is_neither_right_nor_wrong() -> None:
    spans = [Span(10.0, 30.0, again_s=(22.0,))]
    got = match(starts(10.0, 21.5), spans, shortest_s=2.0)
    assert (got.num_starts, got.num_found) == (1, 1)
    assert match(starts(10.0, 18.0), spans, shortest_s=2.0).num_starts == 2


def test_a_missed_span_costs_recall_and_a_false_start_precision() -> None:
    got = match(starts(11.0, 40.0), [Span(10.0, 20.0), Span(60.0, 70.0)], shortest_s=2.0)
    assert (got.precision, got.recall) == (0.5, 0.5)
    assert got.median_delay_s == pytest.approx(2.0)


def test_a_span_too_short_to_confirm_counts_for_nothing() -> None:
    spans = [Span(10.0, 11.5)]
    for at in ((), (10.0,)):
        got = match(starts(*at), spans, shortest_s=2.0)
        assert (got.num_spans, got.num_starts) == (0, 0)
        assert got.precision is got.recall is got.median_delay_s is None


def test_cameras_add_up() -> None:
    got = total([Matched(2, 1, 1, (1.0,)), Matched(1, 1, 2, (3.0,))])
    assert got == Matched(3, 2, 3, (1.0, 3.0))
    assert got.recall == got.precision == pytest.approx(2 / 3)
    assert got.median_delay_s == 2.0
