"""Which tokens of a camera's next frame the model is to see. One `Pruner` per camera."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.patch_diff import paper_mask, token_distance_levels
from model.types import PrunedFrame
from pipeline.types import Frame

PrunerMode = Literal["last_seen", "paper"]


class Pruner:
    """Compare a camera's frames with a reference, in two steps.

    `prune` decides and changes nothing; `sent` moves the reference to what has really gone to the
    model. A frame that was pruned and then dropped for a newer one therefore leaves no trace: the
    newer one carries its changes too. Between a `prune` and its `sent` no other call may come.

    Modes:
        last_seen: the reference is, for each token, the pixels the model last saw. A token is kept
            when some 7x7 px block of it differs from them by more than `threshold_levels` in the
            mean, so |frame - what the model last saw| stays below the threshold everywhere, always,
            and slow drift is sent once it gets there.
        paper: DiffFP to the bit. The reference is the previous frame, the distance the mean over
            2352 normalised values, and at least the first token is kept.

    A frame of which `refresh_ratio` or more of the tokens changed is sent whole, as a refresh: it
    is another picture (lights, a moved camera), and sent in part it would be two pictures in one.
    """

    def __init__(
        self,
        *,
        mode: PrunerMode = "last_seen",
        threshold_levels: float = 6.0,
        refresh_ratio: float = 0.6,
    ) -> None:
        self._mode = mode
        self._threshold_levels = threshold_levels
        self._refresh_ratio = refresh_ratio
        self._reference: NDArray[np.uint8] | None = None

    def prune(self, frame: Frame) -> PrunedFrame:
        """Return the frame with its keep mask and leave the reference as it is.

        The first frame, the first after `reset` and the first of another size are refreshes.
        """
        shape = (frame.grid.rows, frame.grid.cols)
        reference = self._reference
        if reference is None or reference.shape != frame.pixels.shape:
            keep_mask = np.ones(shape, dtype=np.bool_)
            is_refresh = True
        elif self._mode == "paper":
            keep_mask = paper_mask(frame.pixels, reference)
            is_refresh = False
        else:
            keep_mask = token_distance_levels(frame.pixels, reference) > self._threshold_levels
            is_refresh = bool(keep_mask.mean() >= self._refresh_ratio)
            keep_mask |= is_refresh
        return PrunedFrame(
            stream_id=frame.camera_id,
            pixels=frame.pixels,
            keep_mask=keep_mask,
            pts_s=frame.pts_s,
            is_refresh=is_refresh,
        )

    def sent(self, pruned: PrunedFrame) -> None:
        """Note that the model now sees the kept tokens of `pruned`."""
        if self._reference is None or pruned.is_refresh or self._mode == "paper":
            self._reference = pruned.pixels
            return
        if not pruned.num_kept:
            return
        rows, cols = pruned.keep_mask.shape
        token_px = pruned.pixels.shape[0] // rows
        tiles = (rows, token_px, cols, token_px, 3)
        reference = self._reference.copy()  # the old one may still be some frame's pixels
        np.copyto(
            reference.reshape(tiles),
            pruned.pixels.reshape(tiles),
            where=pruned.keep_mask[:, None, :, None, None],
        )
        self._reference = reference

    def reset(self) -> None:
        """Forget the reference: the next frame is a refresh."""
        self._reference = None
