import pytest

from pipeline.load import LADDER, Load
from pipeline.sampler import Sampler
from pipeline.ticks import Ticks
from tests.fakes import FakeClock


class Bench:
    """A sampler at one frame a second, and the load it looks at."""

    def __init__(self, *, is_live: bool) -> None:
        self.load = Load(max_age_s=2.0, period_s=1.0, recover_after_s=30.0)
        self.sampler = Sampler(
            1.0,
            is_live=is_live,
            ticks=Ticks(period_s=1.0, per_period=4),
            load=self.load,
            clock=FakeClock(),
        )

    def taken(self, camera_id: str = "yard", *, until_s: int = 30) -> list[float]:
        """Moments that are taken of a camera that shows ten frames a second."""
        moments = [tenth / 10 for tenth in range(10 * until_s)]
        return [pts_s for pts_s in moments if self.sampler.wanted(camera_id, pts_s)]


@pytest.mark.parametrize("bench", [Bench(is_live=True), Bench(is_live=False)])
def test_one_frame_a_period_is_taken_and_the_first_at_once(bench: Bench) -> None:
    taken = bench.taken()
    assert taken[0] == 0.0
    assert 29 <= len(taken) <= 31


def test_live_cameras_are_taken_in_turns() -> None:
    bench = Bench(is_live=True)
    phases = {round(bench.taken(camera)[5] % 1.0, 1) for camera in ("yard", "gate", "dock")}
    assert len(phases) == 3


def test_cameras_of_a_source_that_is_held_back_keep_their_own_time() -> None:
    bench = Bench(is_live=False)
    assert bench.taken("yard") == bench.taken("gate")
    assert len(bench.taken("dock")) == 30


def test_live_cameras_are_taken_more_seldom_under_load() -> None:
    bench = Bench(is_live=True)
    bench.load.level = len(LADDER) - 1
    assert 14 <= len(bench.taken()) <= 16
    held_back = Bench(is_live=False)
    held_back.load.level = len(LADDER) - 1
    assert len(held_back.taken()) == 30


def test_load_is_heeded_in_the_middle_of_a_stream() -> None:
    bench = Bench(is_live=True)
    before = sum(bench.sampler.wanted("yard", tenth / 10) for tenth in range(100))
    bench.load.level = len(LADDER) - 1
    after = sum(bench.sampler.wanted("yard", tenth / 10) for tenth in range(100, 200))
    assert before == pytest.approx(10, abs=1)
    assert after == pytest.approx(5, abs=1)


def test_after_a_reset_the_next_frame_is_taken() -> None:
    bench = Bench(is_live=True)
    assert bench.sampler.wanted("yard", 100.0)
    assert not bench.sampler.wanted("yard", 100.2)
    bench.sampler.reset()
    assert bench.sampler.wanted("yard", 100.2)
