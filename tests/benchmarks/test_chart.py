"""Charts: round ticks, lines cut off at the axes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pen import PAPER, Pen
from tests.benchmarks.chart import PANEL_WIDTH_PX, Curve, Panel, chart, ticks, within

BLUE = (30, 80, 200)
RANGES = ((0.0, 1.0), (0.0, 10.0))


@given(low=st.floats(-1e4, 1e4), width=st.floats(1e-2, 1e4))
def test_ticks_lie_within_the_range_and_are_not_too_many(low: float, width: float) -> None:
    found = ticks(low, low + width)
    assert 1 <= len(found) <= 8
    assert all(low - 1e-6 * width <= value <= low + width + 1e-6 * width for value in found)


def test_ticks_are_round() -> None:
    assert ticks(0.0, 0.6) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert ticks(24.0, 48.0, most=6) == [25.0, 30.0, 35.0, 40.0, 45.0]


def test_a_line_is_cut_where_it_leaves_the_axes() -> None:
    (piece,) = within([(0.5, 5.0), (0.5, 20.0)], *RANGES)
    assert piece == [(0.5, 5.0), pytest.approx((0.5, 10.0))]


def test_a_line_that_comes_back_is_in_two_pieces() -> None:
    pieces = within([(0.2, 5.0), (0.4, 15.0), (0.6, 5.0)], *RANGES)
    assert [piece[0] for piece in pieces] == [(0.2, 5.0), pytest.approx((0.5, 10.0))]
    assert [piece[-1] for piece in pieces] == [pytest.approx((0.3, 10.0)), (0.6, 5.0)]


def test_a_line_outside_is_not_drawn() -> None:
    assert within([(2.0, 5.0), (3.0, 6.0)], *RANGES) == []


def test_panels_stand_side_by_side() -> None:
    curves = [
        Curve("a", BLUE, [(0.0, 0.0), (1.0, 10.0)]),
        Curve("b", BLUE, [(0.5, 2.0)], is_ring=True),
    ]
    panel = Panel("title", "x", "y", *RANGES, curves)
    picture = chart("title", "note", [[panel, panel]])
    assert picture.shape[1] == 2 * PANEL_WIDTH_PX
    assert (picture == BLUE).all(axis=2).any()
    assert tuple(picture[0, 0]) == PAPER


def test_a_box_of_no_height_is_not_drawn() -> None:
    pen = Pen(10, 10)
    pen.box((2, 2), (5, 0), BLUE)
    assert (pen.pixels() == PAPER).all()
