"""The small form of `python -m tests.benchmarks lag`: a worker's process that is really stopped."""

from functools import partial

import numpy as np
import pytest

from tests.benchmarks.lag import Playing, View, camera, halt, number_in, numbered, outcome

SMALL = View(height_px=144, width_px=256, fps=10, gop_s=2.0, round_s=30.0)


def test_a_number_is_read_as_it_was_drawn() -> None:
    pictures = list(numbered(View(height_px=144, width_px=256, fps=10, round_s=30.0)))
    assert [number_in(picture) for picture in pictures] == list(range(300))
    assert np.ptp(pictures[0][72:]) > 100


def test_a_picture_was_taken_in_the_last_round_before_it_came() -> None:
    playing = Playing("", 1000.0, SMALL)
    assert playing.taken_s(250, before_s=1026.0) == pytest.approx(1025.0)
    assert playing.taken_s(250, before_s=1071.0) == pytest.approx(1055.0)


def test_a_worker_that_is_stopped_for_5_s_says_so_and_how_old_its_pictures_are() -> None:
    """frigate#136: pictures 41 s old were given as 2 s old, and `online`."""
    with camera(SMALL) as playing:
        seen = outcome(
            partial(halt, seconds=5.0), is_halt=True, playing=playing, settle_s=3.0, after_s=14.0
        )
    assert len(seen.ages_s) > 5
    assert seen.worst_error_s < 1.0
    states = [(state, reason) for _, state, reason in seen.states if reason in (None, "lagging")]
    assert states == [("degraded", "lagging"), ("online", None)]
    assert seen.lagging_after_s is not None
    assert seen.lagging_after_s < 1.0
    assert seen.in_time_after_s < 3.0
