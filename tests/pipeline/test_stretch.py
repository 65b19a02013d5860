from dataclasses import replace
from datetime import timedelta
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from model.types import PrunedFrame
from pipeline.pruner import Pruner
from pipeline.stretch import Stretch
from pipeline.types import PrunedSample
from tests.fakes import frame_at

FRAME = frame_at(0.0)
PRUNED: PrunedFrame = Pruner().prune(FRAME)


def sent(captured_s: float, arrived_s: float, *, is_live: bool) -> PrunedSample:
    captured_at = FRAME.captured_at + timedelta(seconds=captured_s)
    return PrunedSample(replace(FRAME, captured_at=captured_at), PRUNED, arrived_s, is_live)


def breaks(
    times: list[tuple[float, float]], *, is_live: bool = True, lost_s: float = -inf
) -> tuple[list[int], float]:
    """Which of the (captured, arrived) frames begin a stretch, and how far the stream came."""
    stretch = Stretch()
    found = [
        n
        for n, (captured_s, arrived_s) in enumerate(times)
        if stretch.advance(sent(captured_s, arrived_s, is_live=is_live), lost_s=lost_s)
    ]
    return found, stretch.stream_s


def test_a_pause_that_is_not_the_cameras_own_begins_a_new_stretch() -> None:
    assert breaks([(t, t) for t in (0, 1, 2, 27, 28)]) == ([0, 3], 28.0)
    assert breaks([(t, t) for t in (0, 1, 2, 8, 9)]) == ([0], 9.0), "a slow moment"


def test_a_camera_that_sends_rarely_has_no_gaps() -> None:
    assert breaks([(t, t) for t in range(0, 600, 60)])[0] == [0, 1]


def test_a_reconnection_begins_a_new_stretch_however_short() -> None:
    times = [(t, t) for t in (0.0, 1.0, 2.0, 3.0, 4.0)]
    assert breaks(times, lost_s=2.5) == ([0, 3], 4.0)


def test_a_clock_that_is_set_is_no_gap_and_does_not_turn_a_live_stream() -> None:
    times = [(t if t < 3 else t - 3600.0, t) for t in (0.0, 1.0, 2.0, 3.0, 4.0)]
    assert breaks(times) == ([0], 4.0)


def test_a_file_that_is_read_fast_is_measured_by_its_own_time() -> None:
    times = [(float(t), t / 100) for t in range(10)]
    assert breaks(times, is_live=False) == ([0], 9.0)


def test_constant_stamps_of_a_source_that_is_held_back_do_not_stop_the_stream() -> None:
    assert breaks([(0.0, float(t)) for t in range(10)], is_live=False) == ([0], 9.0)


@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(0, 1e6)), min_size=1), st.data())
def test_a_stream_never_goes_back(times: list[tuple[float, float]], data: st.DataObject) -> None:
    is_live = data.draw(st.booleans(), label="is live")
    stretch, before_s, arrived_s = Stretch(), 0.0, 0.0
    for captured_s, pause_s in times:
        arrived_s += pause_s
        stretch.advance(sent(captured_s, arrived_s, is_live=is_live), lost_s=-inf)
        assert stretch.stream_s >= before_s
        before_s = stretch.stream_s
    if is_live:
        assert abs(stretch.stream_s - (arrived_s - times[0][1])) < 1e-3
