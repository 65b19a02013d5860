from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.ticks import ASKED_TOGETHER, WIDEN_AFTER_S, AskPhase, Ticks, halton

NUM_CAMERAS = st.integers(1, 200)


def ticks(per_period: int = 4, period_s: float = 1.0) -> Ticks:
    return Ticks(period_s=period_s, per_period=per_period)


def tick_of(one: Ticks, camera_id: str, now_s: float = 0.0) -> int:
    """The tick a camera's second frame is in time for, by its place in the period."""
    arrived_s = now_s + one.first_gap_s(camera_id, now_s)
    return round(one.due_s(arrived_s) / one.tick_s) % round(one.period_s / one.tick_s)


@given(NUM_CAMERAS, st.sampled_from([1, 2, 4, 8, 16]), st.floats(0.0, 1e6))
def test_cameras_are_spread_evenly(number: int, per_period: int, now_s: float) -> None:
    one = ticks(per_period)
    filled = Counter(tick_of(one, f"c{n}", now_s) for n in range(number))
    sizes = [filled[tick] for tick in range(per_period)]
    assert max(sizes) - min(sizes) <= 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=60))
def test_a_camera_that_comes_or_goes_moves_nobody(steps: list[tuple[bool, int]]) -> None:
    one = ticks()
    here: dict[str, int] = {}
    for comes, n in steps:
        if comes:
            here[f"c{n}"] = one.number(f"c{n}")
        else:
            one.remove(f"c{n}")
            here.pop(f"c{n}", None)
        assert {camera_id: one.number(camera_id) for camera_id in here} == here
        assert len(set(here.values())) == len(here)


@given(st.floats(0.0, 1e6), st.integers(1, 20), st.floats(0.05, 10.0))
def test_a_frame_is_due_within_a_tick_of_its_arrival(
    arrived_s: float, per_period: int, period_s: float
) -> None:
    one = ticks(per_period, period_s)
    wait_s = one.due_s(arrived_s) - arrived_s
    assert -1e-6 < wait_s <= one.tick_s + 1e-6


@given(NUM_CAMERAS, st.floats(0.0, 1e6), st.floats(0.05, 10.0))
def test_the_first_gap_is_about_a_period(number: int, now_s: float, period_s: float) -> None:
    gap_s = ticks(4, period_s).first_gap_s(f"c{number}", now_s)
    assert period_s / 2 <= gap_s < 1.5 * period_s


@given(st.integers(0, 10_000), st.sampled_from([2, 3, 5]))
def test_the_points_are_shares_and_all_different(number: int, base: int) -> None:
    assert 0.0 <= halton(number, base) < 1.0
    assert halton(number, base) != halton(number + 1, base)


def test_cameras_of_a_tick_are_asked_in_groups_and_the_groups_are_spread() -> None:
    one = ticks()
    groups: dict[AskPhase, list[int]] = {}
    for n in range(4 * ASKED_TOGETHER * 5):
        groups.setdefault(one.ask_phase(f"c{n}"), []).append(tick_of(one, f"c{n}"))
    assert len(groups) == 4 * 5
    for members in groups.values():
        assert len(members) == ASKED_TOGETHER
        assert len(set(members)) == 1  # a pass takes them all
    seconds = Counter((int(5 * phase.within), ticks[0]) for phase, ticks in groups.items())
    assert max(seconds.values()) <= 2  # of groups in one tick of one of five seconds


@pytest.mark.parametrize("num_groups", [4, 8])
@pytest.mark.parametrize(("every_s", "caption_every_s"), [(5, 10), (5, 60), (5, 15), (10, 10)])
def test_neither_questions_nor_captions_of_groups_meet(
    num_groups: int, every_s: int, caption_every_s: int
) -> None:
    one = Ticks(period_s=1.0, per_period=4, asked_together=1)
    phases = [one.ask_phase(f"c{n}") for n in range(num_groups)]
    asked = [phase.within * every_s for phase in phases]
    captioned = [
        at_s + int(phase.among * (caption_every_s // every_s)) * every_s
        for at_s, phase in zip(asked, phases, strict=True)
    ]
    for times, period_s in ((asked, every_s), (captioned, caption_every_s)):
        gaps = np.diff([*sorted(times), min(times) + period_s])
        assert min(gaps) > 0.5


def test_a_tick_that_was_too_much_is_halved_and_widens_with_time() -> None:
    one = ticks()
    for n in range(16):
        one.number(f"c{n}")
    assert one.max_frames(0.0) is None
    one.narrow(16, 0.0)
    assert one.max_frames(1.0) == 8
    one.narrow(1, 2.0)
    assert one.max_frames(3.0) == 1
    widths = [one.max_frames(2.0 + WIDEN_AFTER_S * (1 + n)) for n in range(5)]
    assert widths == [2, 4, 8, 16, None]


def test_ticks_of_no_length_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected a positive period"):
        ticks(0)
