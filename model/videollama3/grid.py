"""The grid a picture is resized to. Importing this loads no torch."""

from math import isqrt

from model.errors import InputError
from model.types import PatchGrid
from model.videollama3.config import MERGE_SIZE, PATCH_PX

MIN_TOKENS = 16
MAX_ASPECT_RATIO = 200


def pin_grid(
    height_px: int, width_px: int, *, max_tokens: int, merge_size: int = MERGE_SIZE
) -> PatchGrid:
    """Choose the token grid for one frame: transformers' `smart_resize`.

    Sides are rounded to whole tokens; where that is over budget, or below the 16 tokens the
    model was trained with, both are scaled and rounded down, or up. The square roots are taken
    of integers: the reference's floats can lose a row where the root is whole.

    The reference's rule has two corners, kept here: a side never falls below one token, so a
    strip longer than max_tokens : 1 passes the budget, and so can rounding up to the minimum.

    Args:
        height_px: of the source.
        width_px: of the source.
        max_tokens: budget of a full frame, at least 16.
        merge_size: patches along a token's side: 2 for video, 1 for the reference's pictures.

    Raises:
        InputError: an empty picture, one longer than 200 : 1, or a budget below 16.
    """
    long_px, short_px = max(height_px, width_px), min(height_px, width_px)
    if short_px < 1:
        raise InputError(f"picture: expected at least 1x1 px, got {width_px}x{height_px}")
    if long_px > MAX_ASPECT_RATIO * short_px:
        raise InputError(
            f"picture: expected an aspect ratio up to {MAX_ASPECT_RATIO}, "
            f"got {width_px}x{height_px}"
        )
    if max_tokens < MIN_TOKENS:
        raise InputError(f"max_tokens: expected at least {MIN_TOKENS}, got {max_tokens}")
    token_px = PATCH_PX * merge_size
    rows, cols = round(height_px / token_px), round(width_px / token_px)
    if rows * cols > max_tokens:
        rows = max(1, isqrt(max_tokens * height_px // width_px))
        cols = max(1, isqrt(max_tokens * width_px // height_px))
    elif rows * cols < MIN_TOKENS:
        rows = _ceil_sqrt(MIN_TOKENS * height_px, width_px)
        cols = _ceil_sqrt(MIN_TOKENS * width_px, height_px)
    return PatchGrid(rows, cols, token_px=token_px)


def _ceil_sqrt(numerator: int, denominator: int) -> int:
    """Return the square root of a positive fraction, rounded up."""
    return isqrt(-(-numerator // denominator) - 1) + 1
