"""What changed between two pictures, token by token: the paper's measure and a better one.

Pure functions of integer arithmetic on numpy arrays; no state. The numbers named in the
explanations are those of a token of 28x28 px.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from model.errors import InputError
from model.types import TOKEN_PX

BLOCKS_PER_TOKEN = 4
"""Blocks along a token's side, where a token is as far off as its worst block."""

Pixels = NDArray[np.uint8]
Level = TypeVar("Level", np.bool_, np.int16, np.float32)


def paper_mask(
    pixels: Pixels,
    previous: Pixels | None,
    *,
    threshold: float = 0.1,
    token_px: int = TOKEN_PX,
) -> NDArray[np.bool_]:
    """Return DiffFP's keep mask for one frame: VideoLLaMA3's own rule.

    The reference (transformers' `VideoLlama3VideoProcessor._get_compression_mask`) takes the mean
    over a token's 2352 numbers of |p - q| / 127.5, times 255, in float32. That is s / 1176 for s
    the integer sum of |pixel - previous|, so the rule is s > 1176 * threshold, computed here
    without rounding. At the reference's threshold, 0.1, it asks whether s is 118 or more. The
    reference's own rounding, in whatever order it sums, is below 2e-4 of s (2352 additions and
    differences of numbers below 2, half a unit in the last place each), and 117.6 is 3e-3 away
    from 117 and 118: no clip exists on which the two differ. At another threshold they can
    differ only where s is within 2e-4 of 1176 * threshold, where the reference's answer depends
    on the machine it runs on.

    Args:
        pixels: (H, W, 3) RGB, sides multiples of token_px.
        previous: the frame before, of the same shape; None for the first, which is kept whole.
        threshold: on the reference's scale, twice the mean change in grey levels.
        token_px: side of a token.

    Returns:
        (rows, cols), True where a token is kept. The top left token is kept if no other is.

    Raises:
        InputError: another dtype or shape.
    """
    rows, cols = _cut_by(pixels, token_px)
    if previous is None:
        return np.ones((rows, cols), dtype=np.bool_)
    _same_shape(pixels, previous)
    change = np.maximum(pixels, previous) - np.minimum(pixels, previous)
    # Down, then across: numpy is five times slower when it reduces both axes at once.
    columns = change.reshape(rows, token_px, -1).sum(axis=1, dtype=np.uint16)
    sums = columns.reshape(rows, cols, token_px * 3).sum(axis=2, dtype=np.uint32)
    keep: NDArray[np.bool_] = sums > token_px**2 * 3 / 2 * threshold
    if not keep.any():
        keep[0, 0] = True
    return keep


def token_distance_levels(
    pixels: Pixels, reference: Pixels, *, token_px: int = TOKEN_PX
) -> NDArray[np.float32]:
    """Return how far each token is from its reference: its worst block, a quarter of its side.

    A block's distance is the largest over the channels of |mean(pixels) - mean(reference)|. Noise
    averages out of a signed mean (by 7 for white noise) and structure does not; the worst of 16
    blocks sees an object a quarter of a token wide; and the channels are kept apart because a
    change of colour at equal brightness is a change.

    Args:
        pixels: (H, W, 3) RGB, sides multiples of token_px.
        reference: of the same shape.
        token_px: side of a token, a multiple of 4.

    Returns:
        (rows, cols), grey levels in 0..255.

    Raises:
        InputError: another dtype or shape.
    """
    _same_shape(pixels, reference)
    _cut_by(pixels, token_px)
    block_px = token_px // BLOCKS_PER_TOKEN
    now, before = (block_sums(picture, block_px=block_px) for picture in (pixels, reference))
    return sums_distance_levels(now, before, block_px=block_px)


def block_sums(pixels: Pixels, *, block_px: int) -> NDArray[np.int16]:
    """Sum each square block: (H, W, 3) to (3, H / block_px, W / block_px).

    Sums are linear, so whoever keeps a reference can keep these in its place.

    Args:
        pixels: (H, W, 3) RGB, sides multiples of block_px.
        block_px: side of a block, below 12 (a sum fits 16 bits).

    Raises:
        InputError: another dtype or shape.
    """
    rows, cols = _cut_by(pixels, block_px)
    columns = pixels.reshape(rows, block_px, -1).sum(axis=1, dtype=np.int16)
    # Across with the pixels of a block outermost: ten times as fast as an inner axis of three.
    across = np.ascontiguousarray(columns.reshape(rows * cols, block_px * 3).T)
    sums: NDArray[np.int16] = across.reshape(block_px, 3, rows, cols).sum(axis=0, dtype=np.int16)
    return sums


def sums_distance_levels(
    sums: NDArray[np.int16], reference: NDArray[np.int16], *, block_px: int
) -> NDArray[np.float32]:
    """Return `token_distance_levels` from the `block_sums` of both pictures."""
    blocks = np.abs(sums - reference).max(axis=0)  # (H / block_px, W / block_px)
    worst = worst_of_tokens(blocks, per_token=BLOCKS_PER_TOKEN)
    return worst.astype(np.float32) / np.float32(block_px**2)


def block_means(pixels: Pixels, *, block_px: int) -> NDArray[np.float32]:
    """Average each square block: (H, W, 3) to (3, H / block_px, W / block_px), in grey levels."""
    return block_sums(pixels, block_px=block_px) * np.float32(1 / block_px**2)


def token_mean(blocks: NDArray[np.float32], *, per_token: int) -> NDArray[np.float32]:
    """Average over each token's blocks, `per_token` along its side.

    Args:
        blocks: (3, rows * per_token, cols * per_token).
        per_token: blocks along a token's side.

    Returns:
        (3, rows, cols).
    """
    num = per_token
    channels, height, width = blocks.shape
    down = blocks.reshape(channels, height // num, num, width).sum(axis=2)
    across = down.reshape(channels, height // num, width // num, num).sum(axis=3)
    means: NDArray[np.float32] = across * np.float32(1 / num**2)
    return means


def worst_of_tokens(blocks: NDArray[Level], *, per_token: int) -> NDArray[Level]:
    """Take the largest of each token's blocks, or any: (rows * per_token, ...) to (rows, cols)."""
    num = per_token
    rows, cols = (side // num for side in blocks.shape)
    down = blocks.reshape(rows, num, cols * num).max(axis=1)
    worst: NDArray[Level] = down.reshape(rows, cols, num).max(axis=2)
    return worst


def _cut_by(pixels: Pixels, side_px: int) -> tuple[int, int]:
    """Count the squares of that side, down and across.

    Raises:
        InputError: another dtype or shape, or the squares do not fit.
    """
    shape = pixels.shape
    if (
        pixels.dtype != np.uint8
        or len(shape) != 3
        or shape[2] != 3
        or 0 in shape
        or shape[0] % side_px
        or shape[1] % side_px
    ):
        raise InputError(
            f"frame: expected uint8 of (H, W, 3) with sides multiples of {side_px}, "
            f"got {pixels.dtype} of {shape}"
        )
    return shape[0] // side_px, shape[1] // side_px


def _same_shape(pixels: Pixels, other: Pixels) -> None:
    if other.dtype != pixels.dtype or other.shape != pixels.shape:
        raise InputError(
            f"frame to compare with: expected {pixels.dtype} of {pixels.shape}, "
            f"got {other.dtype} of {other.shape}"
        )
