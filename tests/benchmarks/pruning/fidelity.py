"""How far what the model last saw is from what is there, and what that costs in tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.patch_diff import paper_mask
from model.types import TOKEN_PX
from pipeline.pruner import Pruner
from pipeline.types import Frame

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

ERROR_BLOCK_PX = 4
PAPER_THRESHOLD = 0.1
MAX_PAPER_THRESHOLD = 64.0
PAPER_STEPS = 12


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Figures of one rule on one clip, its first frame left out.

    Attributes:
        kept_ratio: tokens sent per token.
        median_block_levels: the worst 4x4 px block of a frame, in the median frame.
        worst_block_levels: the same in the worst frame.
        psnr_db: of all frames together; infinite where every frame is sent whole.
    """

    kept_ratio: float
    median_block_levels: float
    worst_block_levels: float
    psnr_db: float


def pruner_masks(frames: Sequence[Frame], pruner: Pruner) -> list[Mask]:
    """Return what `pruner` sends of each frame when the model takes every one."""
    masks = []
    for frame in frames:
        pruned = pruner.prune(frame)
        pruner.sent(pruned)
        masks.append(pruned.keep_mask)
    return masks


def paper_masks(frames: Sequence[Frame], threshold: float) -> list[Mask]:
    """Return what DiffFP sends of each frame at a threshold on its own scale."""
    before: list[Pixels | None] = [None, *(frame.pixels for frame in frames[:-1])]
    return [
        paper_mask(frame.pixels, previous, threshold=threshold)
        for frame, previous in zip(frames, before, strict=True)
    ]


def paper_threshold_for(frames: Sequence[Frame], kept_ratio: float) -> float:
    """Search, by bisection, the threshold at which DiffFP keeps nearest to `kept_ratio`."""
    low, high = 0.0, MAX_PAPER_THRESHOLD
    for _ in range(PAPER_STEPS):
        middle = (low + high) / 2
        if kept(paper_masks(frames, middle)) > kept_ratio:
            low = middle
        else:
            high = middle
    return min((low, high), key=lambda one: abs(kept(paper_masks(frames, one)) - kept_ratio))


def kept(masks: Sequence[Mask]) -> float:
    """Return the tokens sent per token after the first frame."""
    return float(np.mean(masks[1:]))


def fidelity(frames: Sequence[Frame], masks: Sequence[Mask]) -> Fidelity:
    """Compare every frame with what the model last saw of each token."""
    seen = frames[0].pixels.copy()
    blocks, squares = [], []
    for frame, mask in zip(frames[1:], masks[1:], strict=True):
        np.copyto(seen, frame.pixels, where=over_pixels(mask))
        error = frame.pixels.astype(np.float32) - seen
        blocks.append(float(np.abs(block_means(error, ERROR_BLOCK_PX)).max()))
        squares.append(float(np.square(error).mean()))
    square = float(np.mean(squares))
    return Fidelity(
        kept_ratio=kept(masks),
        median_block_levels=float(np.median(blocks)),
        worst_block_levels=max(blocks),
        psnr_db=10 * float(np.log10(255**2 / square)) if square else float("inf"),
    )


def block_means(picture: NDArray[np.float32], block_px: int) -> NDArray[np.float32]:
    """Average over blocks: (H, W, C) to (H / block_px, W / block_px, C)."""
    height, width, channels = picture.shape
    rows = picture.reshape(height // block_px, block_px, width * channels).mean(axis=1)
    means: NDArray[np.float32] = rows.reshape(-1, width // block_px, block_px, channels).mean(
        axis=2
    )
    return means


def over_pixels(mask: Mask) -> Mask:
    """Spread a token mask over the picture: (rows, cols) to (rows * 28, cols * 28, 1)."""
    return mask.repeat(TOKEN_PX, axis=0).repeat(TOKEN_PX, axis=1)[..., None]
