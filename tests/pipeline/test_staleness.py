import math

import numpy as np

from pipeline.pruner import Pruner
from pipeline.staleness import Staleness
from tests.fakes import SMALL, frame_at

NOTHING = np.zeros((SMALL.rows, SMALL.cols), dtype=np.bool_)


def test_every_token_goes_to_the_cache_again_within_its_time_and_never_in_one_burst() -> None:
    staleness = Staleness(max_staleness_s=24.0)
    staleness.sent(~NOTHING, pts_s=0.0)
    last_s = np.zeros(NOTHING.shape)
    for second in range(1, 100):
        stale = staleness.stale(NOTHING, pts_s=float(second))
        staleness.sent(stale, pts_s=float(second))
        last_s[stale] = second
        assert (second - last_s).max() <= 24
        assert stale.sum() <= 2


def test_a_kept_token_is_not_stale() -> None:
    staleness = Staleness(max_staleness_s=10.0)
    staleness.sent(~NOTHING, pts_s=0.0)
    assert not staleness.stale(~NOTHING, pts_s=100.0).any()
    assert staleness.stale(NOTHING, pts_s=100.0).all()


def test_time_that_jumps_back_begins_anew() -> None:
    staleness = Staleness(max_staleness_s=10.0)
    staleness.sent(~NOTHING, pts_s=1000.0)
    assert not staleness.stale(NOTHING, pts_s=5.0).any()
    staleness.sent(NOTHING, pts_s=5.0)
    assert not staleness.stale(NOTHING, pts_s=6.0).any()


def test_what_whole_frames_keep_young_is_never_stale() -> None:
    staleness = Staleness(max_staleness_s=math.inf)
    staleness.sent(~NOTHING, pts_s=0.0)
    assert not staleness.stale(NOTHING, pts_s=1e9).any()


def test_stale_tokens_are_no_tokens_for_the_language_model() -> None:
    pruner = Pruner(max_staleness_s=5.0)
    pruner.sent(pruner.prune(frame_at(0.0)))
    pruned = pruner.prune(frame_at(60.0))
    assert pruned.num_kept == 0
    assert pruned.stale_mask is not None
    assert pruned.stale_mask.all()
    pruner.sent(pruned)
    again = pruner.prune(frame_at(61.0)).stale_mask
    assert again is not None
    assert not again.any()
