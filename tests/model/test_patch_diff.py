import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers.models.video_llama_3.video_processing_video_llama_3 import (
    VideoLlama3VideoProcessor,
)

from model.errors import InputError
from model.patch_diff import (
    block_means,
    block_sums,
    paper_mask,
    sums_distance_levels,
    token_distance_levels,
    token_mean,
    worst_of_tokens,
)
from tests.model.tiny import clip

Frames = NDArray[np.uint8]
SEEDS = st.integers(0, 2**32 - 1)


def reference_mask(frames: Frames) -> NDArray[np.bool_]:
    """The keep mask that transformers' video processor gives a whole clip, (T, rows, cols)."""
    processor = VideoLlama3VideoProcessor(do_resize=False, use_token_compression=True)
    video = torch.from_numpy(frames).permute(0, 3, 1, 2)
    out = processor(videos=[video], return_tensors="pt", do_sample_frames=False)
    mask: NDArray[np.bool_] = out["video_compression_mask"].numpy()
    num_frames, height_px, width_px, _ = frames.shape
    return mask.reshape(num_frames, height_px // 28, width_px // 28)


def clip_mask(frames: Frames, *, threshold: float = 0.1) -> NDArray[np.bool_]:
    previous = [None, *frames[:-1]]
    return np.stack(
        [
            paper_mask(now, before, threshold=threshold)
            for now, before in zip(frames, previous, strict=True)
        ]
    )


def changed_by(frame: Frames, sums: NDArray[np.int64], rng: np.random.Generator) -> Frames:
    """Change each token of a frame so that |change| sums to exactly `sums` (rows, cols)."""
    signed = frame.astype(np.int64)
    for (row, col), total in np.ndenumerate(sums):
        token = signed[row * 28 : row * 28 + 28, col * 28 : col * 28 + 28]
        left = int(total)
        while left:
            y, x, c = rng.integers(28), rng.integers(28), rng.integers(3)
            origin = int(frame[row * 28 + y, col * 28 + x, c])
            if token[y, x, c] != origin:
                continue
            step = min(left, int(rng.integers(1, 9)))
            token[y, x, c] = origin + (step if origin < 128 else -step)
            left -= step
    return signed.astype(np.uint8)


@given(SEEDS, st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_paper_mask_is_bit_equal_to_the_reference_on_changing_scenes(
    seed: int, num_frames: int, rows: int, cols: int
) -> None:
    frames = clip(num_frames, rows, cols, seed=seed)
    assert np.array_equal(clip_mask(frames), reference_mask(frames))


@given(SEEDS, st.sampled_from([0.05, 0.1, 0.2, 0.5, 2.0]))
def test_paper_mask_is_bit_equal_to_the_reference_under_noise(seed: int, sigma: float) -> None:
    rng = np.random.default_rng(seed)
    scene = rng.uniform(0, 255, (56, 84, 3))
    noisy = scene + rng.normal(0, sigma, (3, *scene.shape))
    frames = noisy.round().clip(0, 255).astype(np.uint8)
    assert np.array_equal(clip_mask(frames), reference_mask(frames))


@given(SEEDS)
def test_paper_mask_is_bit_equal_to_the_reference_on_the_threshold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sums = rng.integers(114, 122, (3, 4))
    frame = rng.integers(0, 256, (84, 112, 3), dtype=np.uint8)
    frames = np.stack([frame, changed_by(frame, sums, rng)])
    mask = clip_mask(frames)
    assert np.array_equal(mask, reference_mask(frames))
    assert np.array_equal(mask[1].flat[1:], (sums >= 118).flat[1:])


def test_first_frame_keeps_every_token() -> None:
    (frame,) = clip(1, 3, 4)
    assert paper_mask(frame, None).all()


def test_identical_frame_keeps_the_top_left_token_alone() -> None:
    (frame,) = clip(1, 3, 4)
    mask = paper_mask(frame, frame.copy())
    assert mask[0, 0]
    assert mask.sum() == 1


@given(SEEDS, st.floats(0, 60), st.floats(0, 60))
def test_raising_the_threshold_never_keeps_more(seed: int, one: float, other: float) -> None:
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 256, (84, 84, 3), dtype=np.uint8)
    before = changed_by(frame, rng.integers(0, 2000, (3, 3)), rng)
    low, high = sorted((one, other))
    kept_low = paper_mask(frame, before, threshold=low)
    kept_high = paper_mask(frame, before, threshold=high)
    kept_high[0, 0] &= kept_low[0, 0]  # the one that is kept if no other is
    assert not (kept_high & ~kept_low).any()


@given(SEEDS)
def test_distance_is_the_worst_block_mean_of_the_worst_channel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 256, (2, 56, 84, 3), dtype=np.uint8)
    change = one.astype(np.float64) - other
    blocks = change.reshape(2, 4, 7, 3, 4, 7, 3).mean(axis=(2, 5))  # (rows, 4, cols, 4, channel)
    expected = np.abs(blocks).max(axis=(1, 3, 4))
    got = token_distance_levels(one, other)
    assert got.dtype == np.float32
    assert got.shape == (2, 3)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert np.array_equal(got, token_distance_levels(other, one))


def test_distance_spans_the_whole_scale() -> None:
    black, white = np.zeros((28, 56, 3), np.uint8), np.full((28, 56, 3), 255, np.uint8)
    assert (token_distance_levels(black, black) == 0).all()
    assert (token_distance_levels(white, black) == 255).all()


def test_distance_sees_a_small_object_and_a_change_of_hue_that_the_paper_averages_away() -> None:
    grey = np.full((28, 56, 3), 100, np.uint8)
    changed = grey.copy()
    changed[7:14, 7:14] = 140  # one block of sixteen
    changed[0:7, 28:35] = (130, 85, 100)  # as bright, but red
    np.testing.assert_array_equal(token_distance_levels(changed, grey), [[40, 30]])


def test_distance_averages_noise_that_the_paper_counts() -> None:
    rng = np.random.default_rng(0)
    scene = np.full((252, 448, 3), 128.0)
    one, other = (scene + rng.normal(0, 5, (2, *scene.shape))).round().astype(np.uint8)
    per_pixel = np.abs(one.astype(int) - other).mean()
    assert per_pixel > 5
    assert np.median(token_distance_levels(one, other)) < 4


def test_sums_kept_in_place_of_a_reference_give_the_same_distance() -> None:
    one, other = clip(2, 3, 4)
    kept = block_sums(other, block_px=7)
    assert kept.shape == (3, 12, 16)
    assert np.array_equal(
        sums_distance_levels(block_sums(one, block_px=7), kept, block_px=7),
        token_distance_levels(one, other),
    )


def test_a_crop_of_a_larger_array_is_measured_as_its_copy() -> None:
    one, other = clip(2, 4, 4)
    crop = np.s_[28:84, 28:112]
    expected = token_distance_levels(one[crop].copy(), other[crop].copy())
    assert np.array_equal(token_distance_levels(one[crop], other[crop]), expected)
    assert np.array_equal(
        paper_mask(one[crop], other[crop]), paper_mask(one[crop].copy(), other[crop].copy())
    )


@pytest.mark.parametrize(
    ("pixels", "other"),
    [
        pytest.param(np.zeros((28, 28, 3), np.float32), np.zeros((28, 28, 3)), id="float"),
        pytest.param(np.zeros((28, 30, 3), np.uint8), np.zeros((28, 30, 3), np.uint8), id="grid"),
        pytest.param(np.zeros((28, 28, 3), np.uint8), np.zeros((28, 56, 3), np.uint8), id="sizes"),
        pytest.param(np.zeros((28, 28, 3), np.uint8), np.zeros((28, 28, 3), np.int8), id="dtypes"),
    ],
)
def test_frames_that_do_not_fit_are_refused(pixels: NDArray[Any], other: NDArray[Any]) -> None:
    for measure in (paper_mask, token_distance_levels):
        with pytest.raises(InputError, match=r"expected .* got"):
            measure(pixels, other)


def test_importing_the_measure_does_not_load_torch() -> None:
    code = "import sys, model.patch_diff; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("block_px", [4, 7])
def test_block_means_are_means(block_px: int) -> None:
    (frame,) = clip(1, 2, 3)
    num = 28 // block_px
    expected = frame.reshape(2 * num, block_px, 3 * num, block_px, 3).mean(axis=(1, 3))
    got = block_means(frame, block_px=block_px)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected.transpose(2, 0, 1), rtol=1e-5)


@pytest.mark.parametrize("block_px", [4, 7])
def test_blocks_are_gathered_by_token(block_px: int) -> None:
    num = 28 // block_px
    blocks = np.random.default_rng(0).normal(size=(3, 2 * num, 3 * num)).astype(np.float32)
    tiles = blocks.reshape(3, 2, num, 3, num)
    np.testing.assert_allclose(
        token_mean(blocks, per_token=num), tiles.mean(axis=(2, 4)), atol=1e-6
    )
    worst = worst_of_tokens(blocks[0], per_token=num)
    assert np.array_equal(worst, tiles[0].max(axis=(1, 3)))
