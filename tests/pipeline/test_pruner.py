import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.patch_diff import paper_mask, token_distance_levels
from pipeline.pruner import Pruner
from tests.fakes import SMALL, frame_at, picture


def with_patch(base: int, row: int, col: int, level: int) -> np.ndarray:
    """A flat picture with one token of another level."""
    pixels = picture(base)
    pixels[row * 28 : row * 28 + 28, col * 28 : col * 28 + 28] = level
    return pixels


def test_the_first_frame_is_a_refresh() -> None:
    pruned = Pruner().prune(frame_at(0.0))
    assert pruned.is_refresh
    assert pruned.num_kept == SMALL.num_tokens


def test_an_unchanged_frame_keeps_nothing() -> None:
    pruner = Pruner()
    pruner.sent(pruner.prune(frame_at(0.0)))
    assert pruner.prune(frame_at(1.0)).num_kept == 0


def test_a_changed_token_alone_is_kept() -> None:
    pruner = Pruner()
    pruner.sent(pruner.prune(frame_at(0.0)))
    pruned = pruner.prune(frame_at(1.0, with_patch(100, 1, 2, 140)))
    assert np.argwhere(pruned.keep_mask).tolist() == [[1, 2]]
    assert not pruned.is_refresh


def test_a_frame_that_was_never_sent_leaves_no_trace() -> None:
    pruner = Pruner()
    pruner.sent(pruner.prune(frame_at(0.0)))
    pruner.prune(frame_at(1.0, with_patch(100, 1, 2, 140)))  # dropped on its way
    again = pruner.prune(frame_at(2.0, with_patch(100, 1, 2, 140)))
    assert np.argwhere(again.keep_mask).tolist() == [[1, 2]]


def test_slow_drift_is_sent_before_it_passes_the_threshold() -> None:
    pruner = Pruner(threshold_levels=6.0)
    pruner.sent(pruner.prune(frame_at(0.0, picture(100))))
    last_seen, sent = 100, 0
    for step in range(1, 60):
        pruned = pruner.prune(frame_at(float(step), picture(100 + step)))
        if pruned.num_kept:
            last_seen, sent = 100 + step, sent + 1
        pruner.sent(pruned)
        assert 100 + step - last_seen <= 6
    assert 5 <= sent <= 10


def test_a_global_change_is_one_refresh() -> None:
    pruner = Pruner()
    pruner.sent(pruner.prune(frame_at(0.0, picture(100))))
    dark = pruner.prune(frame_at(1.0, picture(30)))
    pruner.sent(dark)
    assert dark.is_refresh
    assert pruner.prune(frame_at(2.0, picture(30))).num_kept == 0


def test_reset_and_another_size_are_refreshes() -> None:
    pruner = Pruner()
    pruner.sent(pruner.prune(frame_at(0.0)))
    pruner.reset()
    assert pruner.prune(frame_at(1.0)).is_refresh
    pruner.sent(pruner.prune(frame_at(1.0)))
    other = type(SMALL)(rows=4, cols=4)
    assert pruner.prune(frame_at(2.0, picture(grid=other), grid=other)).is_refresh


@given(st.integers(0, 2**32 - 1), st.lists(st.booleans(), min_size=1, max_size=12))
def test_what_the_model_last_saw_is_never_further_off_than_the_threshold(
    seed: int, taken: list[bool]
) -> None:
    """Whatever frames are dropped, every token of the last frame taken is within the threshold of
    what was sent of it last."""
    rng = np.random.default_rng(seed)
    pruner = Pruner(threshold_levels=6.0)
    frame = rng.integers(0, 256, picture().shape, dtype=np.uint8)
    model_saw = np.zeros_like(frame)
    for index, is_taken in enumerate([True, *taken]):
        moved = rng.integers(-12, 13, frame.shape)
        where = rng.random(frame.shape[:2]) < 0.1
        frame = np.clip(frame + moved * where[..., None], 0, 255).astype(np.uint8)
        pruned = pruner.prune(frame_at(float(index), frame))
        if not is_taken:
            continue
        pruner.sent(pruned)
        kept = pruned.keep_mask.repeat(28, axis=0).repeat(28, axis=1)
        model_saw[kept] = frame[kept]
        assert token_distance_levels(frame, model_saw).max() <= 6.0


def test_paper_mode_is_the_paper_over_a_clip() -> None:
    rng = np.random.default_rng(7)
    pruner = Pruner(mode="paper")
    previous = None
    for index in range(6):
        frame = np.where(rng.random(picture().shape) < 0.04, 101, picture()).astype(np.uint8)
        pruned = pruner.prune(frame_at(float(index), frame))
        assert np.array_equal(pruned.keep_mask, paper_mask(frame, previous))
        pruner.sent(pruned)
        previous = frame


@pytest.mark.parametrize("mode", ["last_seen", "paper"])
def test_sent_pixels_are_not_changed_afterwards(mode: str) -> None:
    pruner = Pruner(mode=mode)  # type: ignore[arg-type]  # parametrised
    first = pruner.prune(frame_at(0.0))
    pruner.sent(first)
    before = first.pixels.copy()
    pruner.sent(pruner.prune(frame_at(1.0, with_patch(100, 0, 0, 200))))
    assert np.array_equal(first.pixels, before)
