"""The sampler's clockwork."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cadence import Cadence
from pipeline.errors import ConfigError

WRAP_S = 2**33 / 90_000


def taken(cadence: Cadence, times_s: list[float]) -> list[float]:
    return [t_s for t_s in times_s if cadence.due(t_s)]


def test_first_moment_is_taken() -> None:
    assert Cadence(1.0).due(123.4)


def test_a_frame_a_second_is_taken_of_twenty_five() -> None:
    times_s = [i / 25 for i in range(25 * 60)]
    assert len(taken(Cadence(1.0), times_s)) == pytest.approx(60, abs=1)


def test_the_second_question_waits_a_whole_period() -> None:
    assert taken(Cadence(5.0), [float(t) for t in range(21)]) == [0, 5, 10, 15, 20]


def test_a_late_moment_does_not_delay_the_next() -> None:
    assert taken(Cadence(1.0), [0.0, 1.4, 2.0, 3.0]) == [0.0, 1.4, 2.0, 3.0]


def test_a_gap_is_not_made_up() -> None:
    times_s = [0.0, *(30 + i / 25 for i in range(40))]
    assert taken(Cadence(1.0), times_s) == pytest.approx([0.0, 30.0, 30.92], abs=0.05)


@given(st.floats(10.0, 500.0), st.floats(2.5, 7.5))
def test_a_grid_that_is_kept_goes_on_after_a_gap(gap_s: float, first_gap_s: float) -> None:
    cadence = Cadence(5.0, tolerance_s=0.0, first_gap_s=first_gap_s, is_kept_in_gaps=True)
    taken(cadence, [i / 8 for i in range(8 * 20)])
    at_once, *after = taken(cadence, [20 + gap_s + i / 8 for i in range(8 * 30)])
    assert at_once == 20 + gap_s
    assert after[0] - at_once >= 2.5
    assert all((t_s - first_gap_s + 1e-6) % 5.0 <= 0.126 for t_s in after)


def test_a_wrap_of_the_time_stamps_is_a_new_start() -> None:
    times_s = [(WRAP_S - 5 + i) % WRAP_S for i in range(10)]
    assert taken(Cadence(1.0), times_s) == times_s


def test_frames_slightly_out_of_order_change_nothing() -> None:
    assert taken(Cadence(1.0), [0.0, 0.12, 0.04, 0.08, 1.0, 0.96, 1.04]) == [0.0, 1.0]


def test_reset_takes_the_next_moment() -> None:
    cadence = Cadence(1.0)
    cadence.due(10.0)
    assert not cadence.due(10.2)
    cadence.reset()
    assert cadence.due(10.2)


@pytest.mark.parametrize(("period_s", "tolerance_s"), [(0.0, None), (-1.0, None), (1.0, 0.5)])
def test_a_cadence_that_cannot_work_is_refused(period_s: float, tolerance_s: float | None) -> None:
    with pytest.raises(ConfigError, match="expected a"):
        Cadence(period_s, tolerance_s=tolerance_s)


@given(st.lists(st.floats(-0.045, 0.045), min_size=2, max_size=200), st.floats(0.0, 1e6))
def test_jittered_key_frames_are_all_taken(jitter_s: list[float], start_s: float) -> None:
    times_s = [start_s + i + jitter for i, jitter in enumerate(jitter_s)]
    assert taken(Cadence(1.0), times_s) == times_s


@given(st.floats(0.98, 1.02))
def test_a_camera_whose_clock_is_off_loses_next_to_nothing(interval_s: float) -> None:
    times_s = [i * interval_s for i in range(500)]
    lost = len(times_s) - len(taken(Cadence(1.0), times_s))
    assert lost <= 2 * max(0.0, 1 / interval_s - 1) * 500 + 1


@given(
    st.lists(st.floats(0.0, 3.0), max_size=300),
    st.sampled_from([0.2, 1.0, 5.0]),
)
def test_no_more_than_one_a_period_whatever_comes(steps_s: list[float], period_s: float) -> None:
    t_s, times_s = 0.0, [0.0]
    for step_s in steps_s:
        t_s += step_s
        times_s.append(t_s)
    cadence = Cadence(period_s)
    chosen = taken(cadence, times_s)
    # One to begin with, one for every period, and what the tolerance lends once. A moment more than
    # half a period late moves the grid, later only.
    assert len(chosen) <= 1 + (t_s + cadence.tolerance_s) / period_s + 1e-6
    spacing_s = [b - a for a, b in pairwise(chosen)]
    assert all(gap_s >= period_s / 2 - cadence.tolerance_s - 1e-9 for gap_s in spacing_s)


@given(st.lists(st.floats(0.01, 0.5), min_size=1, max_size=300))
def test_no_moment_is_missed_while_frames_keep_coming(steps_s: list[float]) -> None:
    cadence = Cadence(1.0)
    t_s, last_s = 0.0, 0.0
    cadence.due(t_s)
    for step_s in steps_s:
        t_s += step_s
        if cadence.due(t_s):
            last_s = t_s
        assert t_s - last_s < 1.5


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=100))
def test_after_any_jumps_a_steady_stream_is_taken_again(jumps_s: list[float]) -> None:
    cadence = Cadence(1.0)
    taken(cadence, jumps_s)
    steady_s = [jumps_s[-1] + i for i in range(1, 12)]
    assert len(taken(cadence, steady_s)) >= 9
