"""Which tokens of a camera's next frame the model is to see. One `Pruner` per camera."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.patch_diff import paper_mask, token_distance_levels
from model.types import TOKEN_PX, PatchGrid, PrunedFrame
from pipeline.adaptive import Adaptive
from pipeline.errors import FrameError
from pipeline.regions import Region, blacked_out
from pipeline.staleness import Staleness
from pipeline.types import Frame

PrunerMode = Literal["adaptive", "last_seen", "paper"]


class Pruner:
    """Compare a camera's frames with a reference, in two steps.

    `prune` decides and changes nothing of the reference; `sent` moves it to what has really gone
    to the model. A frame that was pruned and then dropped for a newer one therefore leaves no
    trace there: the newer one carries its changes too. Between a `prune` and its `sent` no other
    call may come.

    Modes:
        adaptive: the reference is, for each token, what the model last saw of it, and a token is
            kept when it differs by more than the camera's own noise: see `pipeline.adaptive`.
        last_seen: the same with a fixed threshold: some block of it, a quarter of its side, differs
            by more than `threshold_levels` in the mean.
        paper: DiffFP to the bit. The reference is the previous frame, the distance the mean over
            2352 normalised values, and at least the first token is kept.

    A frame of which `refresh_ratio` or more of the tokens changed is sent whole, as a refresh: it
    is another picture (lights, a moved camera), and sent in part it would be two pictures in one.

    Attributes:
        threshold_ratio: 1; more, to send less at the price of what is faint. Not in `paper`.
    """

    def __init__(
        self,
        *,
        mode: PrunerMode = "adaptive",
        threshold_levels: float = 6.0,
        refresh_ratio: float = 0.7,
        refresh_every_s: float = 0.0,
        ignore: Sequence[Region] = (),
        max_staleness_s: float = 120.0,
    ) -> None:
        """Begin without a reference.

        Args:
            mode: how it compares.
            threshold_levels: for `last_seen`, in grey levels.
            refresh_ratio: share of changed tokens that makes a full frame; not in `paper`.
            refresh_every_s: a frame is sent whole when the last whole one is this much stream time
                ago; 0 for never.
            ignore: where changes do not count. The comparison sees black there, the model what is
                there whenever the token is sent for another reason.
            max_staleness_s: after so long a token is sent again, to the vision cache alone; `inf`
                where whole frames come often enough by themselves.
        """
        self._mode = mode
        self._threshold_levels = threshold_levels
        self._refresh_ratio = refresh_ratio
        self._refresh_every_s = refresh_every_s
        self._refreshed_pts_s: float | None = None
        self._is_new_picture = False  # of the frame last pruned
        self._ignore = tuple(ignore)
        self.threshold_ratio = 1.0
        self._adaptive = Adaptive()
        self._staleness = Staleness(max_staleness_s)
        self._reference: NDArray[np.uint8] | None = None
        self._compared: NDArray[np.uint8] | None = None

    @property
    def threshold_levels(self) -> float | None:
        """How far a large block may be off before its token is sent; None in `paper`."""
        if self._mode == "paper":
            return None
        is_adaptive = self._mode == "adaptive"
        own = self._adaptive.threshold_levels if is_adaptive else self._threshold_levels
        return own * self.threshold_ratio

    def prune(self, frame: Frame) -> PrunedFrame:
        """Return the frame with its keep mask and leave the reference as it is.

        The first frame, the first after `reset` and the first of another size are refreshes.

        Raises:
            FrameError: the pixels are not C-contiguous uint8 RGB of the size of the frame's grid,
                or no blocks fit a token of its side.
        """
        _check(frame)
        self._compared = blacked_out(frame.pixels, self._ignore)
        changed, self._is_new_picture = self._decide(frame, self._compared)
        is_refresh = self._is_new_picture or self._is_refresh_due(frame.pts_s)
        keep_mask = changed | is_refresh
        return PrunedFrame(
            stream_id=frame.camera_id,
            pixels=frame.pixels,
            keep_mask=keep_mask,
            pts_s=frame.pts_s,
            is_refresh=is_refresh,
            stale_mask=self._staleness.stale(keep_mask, pts_s=frame.pts_s),
        )

    def sent(self, pruned: PrunedFrame) -> None:
        """Note that the model now sees the kept tokens of `pruned`, the last frame pruned."""
        encoded = pruned.keep_mask
        if pruned.stale_mask is not None:
            encoded = encoded | pruned.stale_mask
        self._staleness.sent(encoded, pts_s=pruned.pts_s)
        if pruned.is_refresh:
            self._refreshed_pts_s = pruned.pts_s
        if self._mode == "adaptive":
            # one whose time has come is no other picture: what is known of the noise holds
            self._adaptive.sent(pruned.keep_mask, is_refresh=self._is_new_picture)
        elif self._reference is None or pruned.is_refresh or self._mode == "paper":
            self._reference = self._compared
        elif pruned.num_kept and self._compared is not None:
            rows, cols = pruned.keep_mask.shape
            token_px = pruned.pixels.shape[0] // rows
            tiles = (rows, token_px, cols, token_px, 3)
            reference = self._reference.copy()  # the old one may still be some frame's pixels
            np.copyto(
                reference.reshape(tiles),
                self._compared.reshape(tiles),
                where=pruned.keep_mask[:, None, :, None, None],
            )
            self._reference = reference

    def reset(self) -> None:
        """Forget the reference: the next frame is a refresh."""
        self._reference = self._compared = None
        self._refreshed_pts_s = None
        self._adaptive.reset()
        self._staleness.reset()

    def _is_refresh_due(self, pts_s: float) -> bool:
        """Say whether the last whole frame is too long ago, or later than this one."""
        if not self._refresh_every_s or self._refreshed_pts_s is None:
            return False
        return not 0 <= pts_s - self._refreshed_pts_s < self._refresh_every_s

    def _decide(self, frame: Frame, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], bool]:
        """Return the changed tokens, and whether the frame is to be sent whole."""
        token_px = frame.grid.token_px
        if self._mode == "adaptive":
            if self._adaptive.token_px != token_px:
                self._adaptive = Adaptive(token_px)
            changed = self._adaptive.changed(pixels, threshold_ratio=self.threshold_ratio)
            is_whole = bool(changed.mean() >= self._refresh_ratio)
            return changed, is_whole or self._adaptive.is_exposure_step(changed)
        reference = self._reference
        if reference is None or reference.shape != pixels.shape:
            return np.ones((frame.grid.rows, frame.grid.cols), dtype=np.bool_), True
        if self._mode == "paper":
            return paper_mask(pixels, reference, token_px=token_px), False
        threshold_levels = self._threshold_levels * self.threshold_ratio
        distances = token_distance_levels(pixels, reference, token_px=token_px)
        changed = distances > threshold_levels
        return changed, bool(changed.mean() >= self._refresh_ratio)


def prune_clip(pictures: Iterable[tuple[NDArray[np.uint8], float]]) -> list[PrunedFrame]:
    """Play a clip's (pixels, pts_s) to a new camera's pruner, as the worker does."""
    pruner = Pruner()
    pruned = []
    for pixels, pts_s in pictures:
        grid = PatchGrid(pixels.shape[0] // TOKEN_PX, pixels.shape[1] // TOKEN_PX)
        captured_at = datetime.fromtimestamp(pts_s, UTC)
        one = pruner.prune(Frame("clip", pixels, grid, pts_s, captured_at))
        pruner.sent(one)
        pruned.append(one)
    return pruned


def _check(frame: Frame) -> None:
    """Refuse pixels that are not what the frame says."""
    pixels = frame.pixels
    expected = (frame.grid.height_px, frame.grid.width_px, 3)
    if pixels.dtype != np.uint8 or pixels.shape != expected or not pixels.flags.c_contiguous:
        order = "" if pixels.flags.c_contiguous else " not"
        raise FrameError(
            f"camera {frame.camera_id}: expected C-contiguous uint8 pixels of {expected}, "
            f"got {pixels.dtype} of {pixels.shape},{order} contiguous"
        )
