import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.load import JUDGE_EVERY_S, LADDER, Load


class Day:
    """A load that is told of one tick a second."""

    def __init__(self) -> None:
        self.load = Load(max_age_s=2.0, period_s=1.0, recover_after_s=30.0)
        self.now_s = 0.0
        self.levels = [0]

    def go(
        self,
        seconds: int,
        *,
        age_s: float = 0.2,
        busy: float = 0.1,
        dropped: int = 0,
        num_late: int = 0,
    ) -> int:
        """Let seconds pass with a frame of ten cameras in each; return the level after them."""
        for _ in range(seconds):
            self.load.note(
                begun_s=self.now_s,
                ended_s=self.now_s + busy,
                ages_s=[age_s] * 10,
                num_dropped=dropped,
                lags_s={str(n): 1.5 if n < num_late else 0.1 for n in range(10)},
            )
            self.now_s += max(1.0, busy)
            if self.load.judge(self.now_s):
                self.levels.append(self.load.level)
        return self.load.level


def test_it_goes_down_and_up_the_ladder_step_by_step() -> None:
    day = Day()
    assert day.go(60, age_s=3.0) == 3
    assert day.load.reason == "frame_age"
    assert day.go(200) == 0
    assert day.load.reason is None
    assert day.levels == [0, 1, 2, 3, 2, 1, 0]


def test_the_order_is_captions_then_threshold_then_frame_rate() -> None:
    assert [step.name for step in LADDER] == [
        None,
        "load_captions",
        "load_threshold",
        "load_frame_rate",
    ]
    whole, captions, threshold, frame_rate = LADDER
    assert (whole.caption_stretch, whole.threshold_ratio, whole.period_ratio) == (1, 1.0, 1.0)
    assert captions.caption_stretch > 1
    assert (captions.threshold_ratio, captions.period_ratio) == (1.0, 1.0)
    assert threshold.threshold_ratio > 1
    assert threshold.period_ratio == 1.0
    assert frame_rate.period_ratio == 2.0


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [({"dropped": 2}, "frames_dropped"), ({"busy": 1.5}, "tick_overrun")],
)
def test_other_signs_of_overload(trouble: dict[str, float], reason: str) -> None:
    day = Day()
    day.go(20, **trouble)  # type: ignore[arg-type]
    assert day.load.level
    assert day.load.reason == reason


def test_cameras_that_come_late_are_load_where_most_do_and_not_where_some_do() -> None:
    """frigate#136: decoding fell 41 s behind, and nothing was given up."""
    day = Day()
    assert day.go(60, num_late=5) == 0
    assert day.go(60, num_late=6) == 3
    assert day.load.reason == "cameras_lag"
    assert day.go(200) == 0


def test_one_bad_moment_is_no_overload() -> None:
    day = Day()
    for _ in range(10):
        day.go(int(JUDGE_EVERY_S), age_s=9.0)
        day.go(int(JUDGE_EVERY_S))
    assert day.load.level == 0


def test_it_does_not_climb_while_it_is_busy_or_frames_are_oldish() -> None:
    day = Day()
    assert day.go(15, age_s=3.0) == 1
    assert day.go(100, busy=0.9) == 1
    assert day.go(100, age_s=1.9) == 1


def test_a_relapse_doubles_the_calm_that_is_asked_for() -> None:
    day = Day()
    waits = []
    for _ in range(3):
        while not day.load.level:
            day.go(1, age_s=3.0)
        begun_s = day.now_s
        while day.load.level:
            day.go(1)
        waits.append(day.now_s - begun_s)
    assert waits[1] > 1.7 * waits[0]
    assert waits[2] > 1.7 * waits[1]


def test_a_worker_with_nothing_to_do_recovers() -> None:
    day = Day()
    day.go(15, age_s=3.0)
    for _ in range(80):
        day.now_s += 0.5
        day.load.judge(day.now_s)
    assert day.load.level == 0


@given(
    st.lists(
        st.tuples(st.floats(0, 10), st.floats(0, 5), st.integers(0, 5), st.integers(1, 40)),
        max_size=30,
    )
)
def test_levels_move_by_one_and_a_level_has_a_reason(
    spells: list[tuple[float, float, int, int]],
) -> None:
    day = Day()
    for age_s, busy, dropped, seconds in spells:
        day.go(seconds, age_s=age_s, busy=busy, dropped=dropped)
        assert (day.load.level > 0) == (day.load.reason is not None)
    steps = [abs(b - a) for a, b in zip(day.levels, day.levels[1:], strict=False)]
    assert set(steps) <= {1}
