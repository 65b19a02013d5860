"""Figures by hand, and how far they can be believed."""

import numpy as np
import pytest

from worker.evaluation.labelled import scores
from worker.evaluation.labelled.confidence import (
    block_s_of,
    by_block,
    share,
    wilson,
    with_interval,
)


def flags(*values: int) -> np.ndarray:
    return np.asarray(values, dtype=np.bool_)


def test_average_precision_is_the_mean_precision_at_each_true_one() -> None:
    p = np.asarray([0.9, 0.8, 0.7, 0.6])
    assert scores.average_precision(p, flags(1, 0, 1, 0)) == pytest.approx((1 + 2 / 3) / 2)
    assert scores.average_precision(p, flags(1, 1, 0, 0)) == 1.0
    assert scores.average_precision(p, flags(0, 0, 0, 0)) is None
    assert scores.average_precision(p, flags(1, 1, 1, 1)) is None


def test_equal_probabilities_are_one_step_whatever_their_order() -> None:
    p = np.asarray([0.5, 0.5, 0.5, 0.5])
    assert scores.average_precision(p, flags(1, 0, 0, 0)) == pytest.approx(0.25)
    assert scores.average_precision(p, flags(0, 0, 0, 1)) == pytest.approx(0.25)


def test_answers_and_calibration() -> None:
    said, is_true = flags(1, 1, 0, 0), flags(1, 0, 1, 0)
    assert scores.precision(said, is_true) == 0.5
    assert scores.recall(said, is_true) == 0.5
    assert scores.f1(said, is_true) == 0.5
    assert scores.precision(flags(0, 0), flags(1, 0)) is None
    assert scores.recall(flags(1, 0), flags(0, 0)) is None
    assert scores.f1(flags(0, 0), flags(0, 0)) is None
    p = np.asarray([0.0, 0.05, 0.95, 1.0])
    assert scores.brier(p, flags(0, 0, 1, 1)) == pytest.approx(0.00125)
    bins = scores.reliability(p, flags(0, 1, 1, 1))
    assert [(one.number, one.share_true) for one in bins] == [(2, 0.5), (2, 1.0)]
    assert scores.calibration_error(bins) == pytest.approx((2 * 0.475 + 2 * 0.025) / 4)
    assert scores.calibration_error([]) is None


def mean_of(values: np.ndarray) -> object:
    return lambda at: float(values[at].mean()) if len(at) else None


def test_an_interval_is_wider_where_answers_of_a_block_are_alike() -> None:
    rng = np.random.default_rng(3)
    number, size = 40, 25
    apart = rng.random(number * size) < 0.5
    alike = np.repeat(rng.random(number) < 0.5, size)
    blocks = by_block([place // size for place in range(number * size)])
    widths = []
    for values in (apart, alike):
        figure = with_interval(
            mean_of(values),  # type: ignore[arg-type]
            blocks,
            counting=lambda _at: True,
            why_none="",
        )
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low < float(values.mean()) < figure.high
        widths.append(figure.high - figure.low)
    assert widths[1] > 3 * widths[0]


def test_all_right_is_not_certainty() -> None:
    values = np.ones(60, dtype=np.bool_)
    blocks = by_block([place // 10 for place in range(60)])
    figure = with_interval(
        mean_of(values),  # type: ignore[arg-type]
        blocks,
        counting=lambda _at: True,
        why_none="",
    )
    assert (figure.low, figure.high) == wilson(6, 6)
    assert figure.low == pytest.approx(0.61, abs=0.01)
    few = with_interval(
        mean_of(values),  # type: ignore[arg-type]
        blocks[:4],
        counting=lambda _at: True,
        why_none="",
    )
    assert (few.value, few.low) == (1.0, None)
    assert share(3, 4, why_none="").low is None
    assert share(0, 0, why_none="there was none").why_none == "there was none"
    assert wilson(50, 100) == pytest.approx((0.404, 0.596), abs=0.001)
    assert (block_s_of(3600.0), block_s_of(120.0)) == (60.0, 12.0)


def test_area_under_roc_is_how_often_the_true_one_has_more() -> None:
    rng = np.random.default_rng(3)
    p, is_true = np.round(rng.random(200), 1), rng.random(200) < 0.3
    pairs = p[is_true][:, None] - p[~is_true][None, :]
    expected = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    assert scores.area_under_roc(p, is_true) == pytest.approx(expected)
    assert scores.area_under_roc(p, np.zeros(200, dtype=np.bool_)) is None
