"""Clips that were made once, kept on disk: a memo, never the truth."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.types import TOKEN_PX, PrunedFrame


class ClipMemo:
    """Frames by key; only what was kept of each is stored.

    A frame comes back with the pixels the model last saw where it kept nothing: the same for an
    encoder that reads kept patches alone, and within the pruner's threshold for one that does not.
    """

    def __init__(self, folder: Path) -> None:
        """Use a folder, made when missing."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def get(self, key: str, make: Callable[[], Sequence[PrunedFrame]]) -> tuple[PrunedFrame, ...]:
        """Give the frames of `key`; what is missing is made, and kept for the next time."""
        path = self._folder / f"{key}.npz"
        if path.is_file():
            with np.load(path) as arrays:
                return _unpacked(arrays["tokens"], arrays["masks"], arrays["pts_s"])
        frames = tuple(make())
        part = path.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as file:
            np.savez(
                file,
                tokens=np.concatenate([_tokens(frame)[frame.keep_mask] for frame in frames]),
                masks=np.stack([frame.keep_mask for frame in frames]),
                pts_s=np.array([frame.pts_s for frame in frames]),
            )
        part.replace(path)
        return frames


def _tokens(frame: PrunedFrame) -> NDArray[np.uint8]:
    """View a frame as (rows, cols, 28, 28, 3)."""
    grid = frame.grid
    blocks = frame.pixels.reshape(grid.rows, TOKEN_PX, grid.cols, TOKEN_PX, 3)
    return blocks.transpose(0, 2, 1, 3, 4)


def _unpacked(
    tokens: NDArray[np.uint8], masks: NDArray[np.bool_], pts_s: NDArray[np.float64]
) -> tuple[PrunedFrame, ...]:
    rows, cols = masks.shape[1:]
    seen = np.zeros((rows, cols, TOKEN_PX, TOKEN_PX, 3), dtype=np.uint8)
    frames = []
    start = 0
    for mask, time_s in zip(masks, pts_s, strict=True):
        end = start + int(mask.sum())
        seen[mask] = tokens[start:end]
        pixels = seen.transpose(0, 2, 1, 3, 4).reshape(rows * TOKEN_PX, cols * TOKEN_PX, 3)
        frames.append(
            PrunedFrame("", np.ascontiguousarray(pixels), mask, float(time_s), is_refresh=False)
        )
        start = end
    return tuple(frames)
