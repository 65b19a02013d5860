from fractions import Fraction
from math import isqrt
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers.models.video_llama_3.image_processing_video_llama_3 import smart_resize
from transformers.models.video_llama_3.video_processing_video_llama_3 import (
    VideoLlama3VideoProcessor,
)

from model.errors import InputError
from model.types import PatchGrid
from model.videollama3.grid import pin_grid
from model.videollama3.patches import patchify
from tests.model.tiny import clip

SIDES = st.integers(1, 4000)
BUDGETS = st.integers(16, 2000)


def reference_rows(frames: NDArray[np.uint8], *, merge_size: int = 2) -> Any:
    processor = VideoLlama3VideoProcessor(do_resize=False, merge_size=merge_size)
    video = torch.from_numpy(frames).permute(0, 3, 1, 2)
    return processor(videos=[video], return_tensors="pt", do_sample_frames=False)


def has_whole_root(fraction: Fraction) -> bool:
    return (
        isqrt(fraction.numerator) ** 2 == fraction.numerator
        and isqrt(fraction.denominator) ** 2 == fraction.denominator
    )


@pytest.mark.parametrize(
    ("height_px", "width_px", "max_tokens", "grid"),
    [
        pytest.param(1080, 1920, 144, PatchGrid(9, 16), id="1080p at the default budget"),
        pytest.param(1920, 1080, 144, PatchGrid(16, 9), id="a portrait camera"),
        pytest.param(480, 640, 144, PatchGrid(10, 13), id="vga"),
        pytest.param(252, 448, 144, PatchGrid(9, 16), id="already there"),
        pytest.param(28, 28, 144, PatchGrid(4, 4), id="too small is scaled up"),
        pytest.param(1080, 1920, 16, PatchGrid(3, 5), id="the smallest budget"),
    ],
)
def test_grid_of_a_camera(height_px: int, width_px: int, max_tokens: int, grid: PatchGrid) -> None:
    assert pin_grid(height_px, width_px, max_tokens=max_tokens) == grid


@given(SIDES, SIDES, BUDGETS)
def test_grid_equals_the_references_where_its_floats_are_exact(
    height_px: int, width_px: int, max_tokens: int
) -> None:
    assume(max(height_px, width_px) <= 200 * min(height_px, width_px))
    grid = pin_grid(height_px, width_px, max_tokens=max_tokens)
    expected = smart_resize(
        height_px, width_px, factor=28, min_pixels=16 * 28 * 28, max_pixels=max_tokens * 28 * 28
    )
    aspect = Fraction(height_px, width_px)
    for side_px, expected_px, ratio in zip(
        (grid.height_px, grid.width_px), expected, (aspect, 1 / aspect), strict=True
    ):
        if has_whole_root(max_tokens * ratio) or has_whole_root(16 * ratio):
            assert abs(side_px - expected_px) <= 28
        else:
            assert side_px == expected_px


@given(SIDES, SIDES, BUDGETS)
def test_grid_keeps_the_budget_for_any_picture_that_is_no_strip(
    height_px: int, width_px: int, max_tokens: int
) -> None:
    assume(max(height_px, width_px) <= 16 * min(height_px, width_px))
    grid = pin_grid(height_px, width_px, max_tokens=max_tokens)
    rounded_up_at_most = 32
    assert grid.num_tokens <= max(max_tokens, rounded_up_at_most)
    assert grid.rows >= 1
    assert grid.cols >= 1


@pytest.mark.parametrize(
    ("height_px", "width_px", "max_tokens"),
    [(0, 640, 144), (10, 2001, 144), (1080, 1920, 15)],
)
def test_grid_of_an_impossible_picture_is_refused(
    height_px: int, width_px: int, max_tokens: int
) -> None:
    with pytest.raises(InputError, match=r"expected .* got"):
        pin_grid(height_px, width_px, max_tokens=max_tokens)


@pytest.mark.parametrize(("rows", "cols"), [(4, 4), (2, 9), (7, 3)])
@pytest.mark.parametrize("merge_size", [1, 2])
def test_rows_are_bit_equal_to_the_references(rows: int, cols: int, merge_size: int) -> None:
    frames = clip(3, rows, cols)
    expected = reference_rows(frames, merge_size=merge_size)["pixel_values_videos"]
    assert torch.equal(patchify(frames, merge_size=merge_size), expected)


def test_a_batch_is_its_frames_end_to_end() -> None:
    frames = clip(3, 3, 4)
    assert torch.equal(patchify(frames), torch.cat([patchify(frame) for frame in frames]))


def test_a_read_only_frame_and_a_tensor_give_the_same_rows() -> None:
    (frame,) = clip(1, 3, 4)
    rows = patchify(torch.from_numpy(frame))
    frame.flags.writeable = False
    assert torch.equal(patchify(frame), rows)
    assert rows.min() >= -1
    assert rows.max() <= 1


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(np.zeros((28, 28, 3), np.float32), id="float"),
        pytest.param(np.zeros((28, 28, 4), np.uint8), id="alpha"),
        pytest.param(np.zeros((28, 28), np.uint8), id="grey"),
        pytest.param(np.zeros((28, 42, 3), np.uint8), id="half a token"),
        pytest.param(np.zeros((0, 28, 3), np.uint8), id="empty"),
    ],
)
def test_a_frame_that_is_not_on_a_grid_is_refused(pixels: NDArray[Any]) -> None:
    with pytest.raises(InputError, match=r"expected uint8 .* got"):
        patchify(pixels)
