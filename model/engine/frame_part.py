"""The part of a frame that goes through the encoder: its tokens, pixels and positions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from model.errors import InputError
from model.types import PatchGrid, PrunedFrame


@dataclass(frozen=True, slots=True)
class FramePart:
    """What a pass encodes of one frame, and what it gives of that.

    Attributes:
        frame: the frame.
        run: (t,) int64, ascending: tokens that go through the encoder.
        sent: (n,) int64, ascending: which of those, counted from 0, come out.
    """

    frame: PrunedFrame
    run: NDArray[np.int64]
    sent: NDArray[np.int64]

    @classmethod
    def whole(cls, frame: PrunedFrame) -> Self:
        """Every token goes through and comes out."""
        every = np.arange(frame.grid.num_tokens)
        return cls(frame, every, every)

    @classmethod
    def kept_of_whole(cls, frame: PrunedFrame) -> Self:
        """Every token goes through, for the kept ones; none where none is kept."""
        kept = np.flatnonzero(frame.keep_mask)
        return cls(frame, np.arange(frame.grid.num_tokens) if len(kept) else kept, kept)

    @classmethod
    def kept(cls, frame: PrunedFrame) -> Self:
        """The kept tokens go through and come out."""
        kept = np.flatnonzero(frame.keep_mask)
        return cls(frame, kept, np.arange(len(kept)))

    @classmethod
    def changed(cls, frame: PrunedFrame) -> Self:
        """Kept and stale tokens go through, the kept ones come out."""
        if frame.stale_mask is None:
            return cls.kept(frame)
        run = np.flatnonzero(frame.keep_mask | frame.stale_mask)
        return cls(frame, run, np.searchsorted(run, np.flatnonzero(frame.keep_mask)))

    @property
    def has_first(self) -> bool:
        """Whether the frame's first token goes through."""
        return len(self.run) > 0 and self.run[0] == 0

    def with_first(self) -> Self:
        """Let the first token come out too, if it goes through."""
        if not self.has_first or (len(self.sent) and self.sent[0] == 0):
            return self
        return replace(self, sent=np.concatenate([[0], self.sent]))

    def num_patches(self, merge_size: int) -> int:
        """Count the patches that go through."""
        return len(self.run) * merge_size**2

    def patches(self, merge_size: int) -> NDArray[np.int64]:
        """List those patches, (num_patches,), as rows of the whole frame in the encoder's order."""
        per_token = merge_size**2
        return (self.run[:, None] * per_token + np.arange(per_token)).ravel()

    def positions(self, merge_size: int) -> NDArray[np.int64]:
        """List the (row, column) of each of those patches, (num_patches, 2)."""
        cols = self.frame.grid.cols
        corners = np.stack((self.run // cols, self.run % cols), axis=-1) * merge_size
        inside = np.indices((merge_size, merge_size)).reshape(2, -1).T  # (merge_size², 2)
        return (corners[:, None] + inside).reshape(-1, 2)

    def cut(self, out: NDArray[np.uint8]) -> None:
        """Write the tokens' pixels to `out` (t, token_px, token_px, 3), a picture for each."""
        rows, cols = self.frame.keep_mask.shape
        token_px = out.shape[1]
        # A row of a token's pixels is one element: numpy gathers those ten times as fast as bytes.
        line = np.dtype((np.void, token_px * 3))
        pixels = np.ascontiguousarray(self.frame.pixels)
        lines = pixels.reshape(rows, token_px, cols, line.itemsize).view(line)[..., 0]
        into = out.reshape(-1, token_px, line.itemsize).view(line)[..., 0]
        into[...] = lines[self.run // cols, :, self.run % cols]


def check_frame(frame: PrunedFrame, *, token_px: int) -> None:
    """Refuse a frame whose arrays or time do not fit each other, or the family's tokens.

    Raises:
        InputError: with what was expected of which stream, and what came.
    """
    name, mask, stale, pixels = (
        f"stream {frame.stream_id}",
        frame.keep_mask,
        frame.stale_mask,
        frame.pixels,
    )
    if mask.ndim != 2 or mask.dtype != np.bool_ or not mask.size:
        raise InputError(
            f"{name}: expected a keep mask of bool (rows, cols), got {mask.dtype} {mask.shape}"
        )
    if stale is not None and (stale.dtype != np.bool_ or stale.shape != mask.shape):
        raise InputError(
            f"{name}: expected a stale mask of bool {mask.shape}, got {stale.dtype} {stale.shape}"
        )
    expected = (mask.shape[0] * token_px, mask.shape[1] * token_px, 3)
    if pixels.shape != expected or pixels.dtype != np.uint8:
        raise InputError(
            f"{name}: expected pixels of uint8 {expected}, got {pixels.dtype} {pixels.shape}"
        )
    if not math.isfinite(frame.pts_s):
        raise InputError(f"{name}: expected a finite pts_s, got {frame.pts_s}")


def check_frames(
    frames: Sequence[PrunedFrame], pinned: Mapping[str, PatchGrid], *, token_px: int
) -> None:
    """Refuse a batch with a frame that cannot be shown.

    Args:
        frames: of any number of streams, in order.
        pinned: the grid of each stream before them.
        token_px: side of a token.

    Raises:
        InputError: a frame is malformed, or changes its stream's grid without being a refresh.
    """
    grids = dict(pinned)
    for frame in frames:
        check_frame(frame, token_px=token_px)
        grid = grids.get(frame.stream_id, frame.grid)
        if frame.grid != grid and not frame.is_refresh:
            raise InputError(
                f"stream {frame.stream_id}: expected a refresh where the grid changes from "
                f"{grid.rows}x{grid.cols} to {frame.grid.rows}x{frame.grid.cols} tokens"
            )
        grids[frame.stream_id] = frame.grid
