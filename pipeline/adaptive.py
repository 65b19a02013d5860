"""Which tokens differ from what the model last saw by more than the camera's own noise.

The rule. A block's *distance* is the largest over the channels of |its mean now - its mean when the
model last saw it|, over its token's share of the noise. A token is sent when

1. some large or small block of it, 7x7 or 4x4 px, is *strong*: further than `strong` * s of its
   size,
2. or some block further than `weak` * s lies within two blocks of a strong one.

s is the camera's median *stray*: how far the worst block of a token strays though nothing happens.

Why so. Noise averages out of a block's mean and structure does not; 7 px find faint things, 4 px
small ones; a large block is a quarter of the token's side, which here is 28 px. A token is the
worst of 16 blocks in 3 channels. For 48 Gaussian numbers the median of that is 2.45 sigma, and one
token in 330, the budget of false alarms, is beyond 4.0 sigma: 1.6 times the median. What a codec
makes of noise has a heavier tail, 1.8 to 2.2 in H.264 and H.265, key frames among others. And s is
measured without what a token's blocks have in common, so that slow light never passes for noise,
while the distance has that too: hence `strong`, 2.7 to 2.8.

An object's rim is weaker than the object, and beside it. A weak block alone is nearly always noise;
within two blocks of a strong one it is often a rim, so there the usual stray is enough. That is all
the dilation there is, and the hysteresis that keeps a rim from flickering in and out.

Slow light, shadows and smear make strays of another kind: the quiet part of the picture *wanders*,
its 90 % quantile beyond what noise would have it. Weak changes are no news there, and their
threshold, it alone, rises with it.

What it promises. The reference moves only to what was really sent, and neither slow light nor
motion raises s or a share, which is clipped besides. So at any time, anywhere, |frame - what the
model last saw| is below `strong` * s * share in the mean of any block: slow drift is sent when it
gets there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.patch_diff import BLOCKS_PER_TOKEN, block_means, token_mean, worst_of_tokens
from model.types import TOKEN_PX
from pipeline.errors import FrameError
from pipeline.noise import Levels, StrayLevel, TokenNoise, Wander, median

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Scale:
    """What is asked of blocks of one size.

    Attributes:
        block_px: their side.
        per_token: how many of them lie along a token's side.
        strong, weak: thresholds, over the median stray of an unchanged token.
        wander: what of the wander the weak one rises with.
        most_share: how much noisier than the others one token may pass for.
        least_strong_levels, least_weak_levels: below these nothing is worth a token.
        least_levels, unlearned_levels: what `StrayLevel` takes.
    """

    block_px: int
    per_token: int
    strong: float
    weak: float
    wander: float
    most_share: float
    least_strong_levels: float
    least_weak_levels: float
    least_levels: float
    unlearned_levels: float


SMALL_BLOCK_PX = 4
LEAST_TOKEN_PX = BLOCKS_PER_TOKEN * SMALL_BLOCK_PX
REACH_BLOCKS = 2
EXPOSURE_RATIO = 0.5  # a step that shows in less of the picture is sent where it shows


def scales_of(token_px: int) -> tuple[Scale, Scale]:
    """Lay both sizes of block on a token: a quarter of its side, and 4 px.

    Raises:
        FrameError: the blocks do not fit the token.
    """
    if token_px < LEAST_TOKEN_PX or token_px % BLOCKS_PER_TOKEN or token_px % SMALL_BLOCK_PX:
        raise FrameError(
            f"token: expected a side of {LEAST_TOKEN_PX} px or more that {BLOCKS_PER_TOKEN} blocks "
            f"and blocks of {SMALL_BLOCK_PX} px divide, got {token_px} px"
        )
    large = Scale(
        block_px=token_px // BLOCKS_PER_TOKEN,
        per_token=BLOCKS_PER_TOKEN,
        strong=2.8,
        weak=0.9,
        wander=7.0,
        most_share=1.3,
        least_strong_levels=3.5,
        least_weak_levels=2.5,
        least_levels=1.2,
        unlearned_levels=5.0,
    )
    small = Scale(
        block_px=SMALL_BLOCK_PX,
        per_token=token_px // SMALL_BLOCK_PX,
        strong=2.7,
        weak=0.9,
        wander=7.0,
        most_share=1.05,
        least_strong_levels=6.0,
        least_weak_levels=5.0,
        least_levels=2.0,
        unlearned_levels=8.0,
    )
    return large, small


class Adaptive:
    """A camera's reference and noise, and the rule above.

    `changed` decides and learns the noise of every frame that is offered; `sent` alone moves the
    reference.

    Attributes:
        token_px: side of the tokens it is for.
    """

    def __init__(self, token_px: int = TOKEN_PX) -> None:
        """Begin without a reference.

        Raises:
            FrameError: no blocks fit a token of that side.
        """
        self.token_px = token_px
        self._scales = scales_of(token_px)
        self._strays = tuple(
            StrayLevel(least_levels=scale.least_levels, unlearned_levels=scale.unlearned_levels)
            for scale in self._scales
        )
        self._wander = Wander()
        self._noise: TokenNoise | None = None
        self._seen: list[Levels] = []
        self._now: list[Levels] = []

    @property
    def threshold_levels(self) -> float:
        """By how much some large block must differ for a token of usual noise to be sent."""
        return self._thresholds(0)[0]

    def changed(self, pixels: NDArray[np.uint8], *, threshold_ratio: float = 1.0) -> Mask:
        """Return which tokens of a frame changed, (rows, cols), and learn its noise.

        The first frame, and the first of another size, changed everywhere.

        Args:
            pixels: (rows * token_px, cols * token_px, 3) uint8 RGB.
            threshold_ratio: what the thresholds, weak and strong, are multiplied with.
        """
        large, _ = scales = self._scales
        self._now = [block_means(pixels, block_px=scale.block_px) for scale in scales]
        if not self._seen or self._seen[0].shape != self._now[0].shape:
            _, height, width = self._now[0].shape
            self._noise = None
            return np.ones((height // large.per_token, width // large.per_token), np.bool_)
        if self._noise is None:
            self._noise = TokenNoise(self._seen[0], per_token=large.per_token)
        step = self._noise.step(self._now[0])
        shares = [np.minimum(self._noise.share, scale.most_share) for scale in scales]
        changes = [now - seen for now, seen in zip(self._now, self._seen, strict=True)]
        means = [
            token_mean(change, per_token=scale.per_token)
            for scale, change in zip(scales, changes, strict=True)
        ]
        for index, (scale, stray) in enumerate(zip(scales, self._strays, strict=True)):
            own = _own_stray(changes[index], means[index], per_token=scale.per_token)
            stray.learn(own / shares[index])
        distances = [
            np.abs(change).max(axis=0) / _spread(share, scale.per_token)
            for scale, change, share in zip(scales, changes, shares, strict=True)
        ]
        thresholds = [self._thresholds(index) for index in range(len(scales))]
        pairs = list(zip(distances, thresholds, strict=True))
        mask = _grown(
            [one > strong * threshold_ratio for one, (strong, _) in pairs],
            [one > weak * threshold_ratio for one, (_, weak) in pairs],
            scales=scales,
        )
        unshifted = _unshifted(changes[0], means[0], per_token=large.per_token)
        self._wander.learn((unshifted / shares[0])[~mask] / self._strays[0].levels)
        self._noise.learn(step, unchanged=~mask)
        return mask

    def is_exposure_step(self, changed: Mask) -> bool:
        """Tell whether one gain and offset per channel explain most of the last frame's changes.

        A step of the auto-exposure moves bright tokens beyond the threshold and leaves dark ones
        below it. Sent in part, it would be two exposures in one picture.
        """
        if changed.mean() < EXPOSURE_RATIO:
            return False
        per_token = self._scales[0].per_token
        seen, now = (
            token_mean(means[0], per_token=per_token).reshape(3, -1)
            for means in (self._seen, self._now)
        )
        strays = np.max([_off_line(was, is_now) for was, is_now in zip(seen, now, strict=True)], 0)
        strong, _ = self._thresholds(0)
        num_unexplained = np.count_nonzero(strays[changed.ravel()] > strong / 2)
        return bool(num_unexplained <= changed.sum() / 3)

    def sent(self, mask: Mask, *, is_refresh: bool) -> None:
        """Note that the model now sees the tokens of `mask` of the frame last asked about."""
        if is_refresh:
            self._seen = [now.copy() for now in self._now]
            self._noise = None
            for stray in self._strays:
                stray.recalibrate()
        elif mask.any():
            for scale, seen, now in zip(self._scales, self._seen, self._now, strict=True):
                np.copyto(seen, now, where=_spread(mask, scale.per_token))
            if self._noise is not None:
                self._noise.sent(self._now[0], mask)

    def reset(self) -> None:
        """Forget what the model has seen, and keep what is known of the noise."""
        self._seen = []

    def _thresholds(self, index: int) -> tuple[float, float]:
        scale, levels = self._scales[index], self._strays[index].levels
        weak = scale.weak + scale.wander * self._wander.ratio
        return (
            max(scale.least_strong_levels, levels * scale.strong),
            max(scale.least_weak_levels, levels * weak),
        )


def _grown(strong: Sequence[Mask], weak: Sequence[Mask], *, scales: tuple[Scale, Scale]) -> Mask:
    """Return the tokens with a strong block, or with a weak one beside a strong one."""
    large, small = scales
    rows, cols = (side // large.per_token for side in strong[0].shape)
    if not (strong[0].any() or strong[1].any()):
        return np.zeros((rows, cols), np.bool_)
    around = _large_around_small(rows, cols, scales)
    found = strong[0].copy()
    found.ravel()[around[strong[1]]] = True
    near = _dilated(found, REACH_BLOCKS)
    large_changed = strong[0] | (weak[0] & near)
    small_changed = strong[1] | (weak[1] & near.ravel().take(around))
    changed = worst_of_tokens(large_changed, per_token=large.per_token)
    return changed | worst_of_tokens(small_changed, per_token=small.per_token)


def _own_stray(change: Levels, means: Levels, *, per_token: int) -> Levels:
    """Return each token's worst block, what is common to the token's blocks, `means`, removed."""
    own = change - _spread(means, per_token)
    return worst_of_tokens(np.abs(own, out=own).max(axis=0), per_token=per_token)


def _off_line(was: Levels, is_now: Levels) -> Levels:
    """Return how far each token is from the line most of them lie on, (N,) levels."""
    still = np.ones(was.shape, np.bool_)
    off = np.zeros_like(was)
    for _ in range(2):  # what moves must not bend the line
        x, y = was[still] - was[still].mean(), is_now[still] - is_now[still].mean()
        gain = float(x @ y) / max(float(x @ x), 1e-6)
        off = np.abs(is_now - is_now[still].mean() - gain * (was - was[still].mean()))
        still = off <= 2 * np.median(off)
    return off


def _unshifted(change: Levels, means: Levels, *, per_token: int) -> Levels:
    """Return each token's worst block, what is common to the picture removed."""
    shift = median(means.reshape(3, -1))
    worst = change - shift[:, None, None]
    return worst_of_tokens(np.abs(worst, out=worst).max(axis=0), per_token=per_token)


@cache
def _large_around_small(rows: int, cols: int, scales: tuple[Scale, Scale]) -> NDArray[np.intp]:
    """Give the large block that has each small one's centre, counted row by row."""
    large, small = scales
    down, across = (
        (2 * np.arange(small.per_token * num) + 1) * small.block_px // (2 * large.block_px)
        for num in (rows, cols)
    )
    return np.add.outer(down * (large.per_token * cols), across)


def _dilated(mask: Mask, reach: int) -> Mask:
    """Widen a mask by `reach` blocks to all sides."""
    rows, cols = mask.shape
    edged = np.zeros((rows + 2 * reach, cols + 2 * reach), np.bool_)
    edged[reach : reach + rows, reach : reach + cols] = mask
    down = edged[:rows].copy()
    for step in range(1, 2 * reach + 1):
        down |= edged[step : step + rows]
    wide = down[:, :cols].copy()
    for step in range(1, 2 * reach + 1):
        wide |= down[:, step : step + cols]
    return wide


def _spread(tokens: NDArray[Any], num: int) -> NDArray[Any]:
    """Repeat each token's value for its blocks: (..., rows, cols) to (..., rows * num, ...)."""
    return tokens.repeat(num, axis=-2).repeat(num, axis=-1)
