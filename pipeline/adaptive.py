"""Which tokens differ from what the model last saw by more than the camera's own noise.

The rule. A block's *distance* is the largest over the channels of |its mean now - its mean when the
model last saw it|, over its token's share of the noise. A token is sent when

1. some 7x7 or 4x4 px block of it is *strong*: further than `strong` * s of its size,
2. or some block further than `weak` * s lies within two blocks of a strong one.

s is the camera's median *stray*: how far the worst block of a token strays though nothing happens.

Why so. Noise averages out of a block's mean and structure does not; 7 px find faint things, 4 px
small ones. A token is the worst of 16 blocks in 3 channels. For 48 Gaussian numbers the median of
that is 2.45 sigma, and one token in 330, the budget of false alarms, is beyond 4.0 sigma: 1.6 times
the median. What a codec makes of noise has a heavier tail, 1.8 to 2.2 in H.264 and H.265, key
frames among others. And s is measured without what a token's blocks have in common, so that slow
light never passes for noise, while the distance has that too: hence `strong`, 2.7 to 2.8.

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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.patch_diff import block_means, token_mean, worst_of_tokens
from model.types import TOKEN_PX
from pipeline.noise import Levels, StrayLevel, TokenNoise, Wander

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Scale:
    """What is asked of blocks of one size.

    Attributes:
        block_px: their side.
        strong, weak: thresholds, over the median stray of an unchanged token.
        wander: what of the wander the weak one rises with.
        most_share: how much noisier than the others one token may pass for.
        least_strong_levels, least_weak_levels: below these nothing is worth a token.
        least_levels, unlearned_levels: what `StrayLevel` takes.
    """

    block_px: int
    strong: float
    weak: float
    wander: float
    most_share: float
    least_strong_levels: float
    least_weak_levels: float
    least_levels: float
    unlearned_levels: float

    @property
    def per_token(self) -> int:
        """Blocks along a token's side."""
        return TOKEN_PX // self.block_px


SCALES = (
    Scale(
        block_px=7,
        strong=2.8,
        weak=0.9,
        wander=7.0,
        most_share=1.3,
        least_strong_levels=3.5,
        least_weak_levels=2.5,
        least_levels=1.2,
        unlearned_levels=5.0,
    ),
    Scale(
        block_px=4,
        strong=2.7,
        weak=0.9,
        wander=7.0,
        most_share=1.05,
        least_strong_levels=6.0,
        least_weak_levels=5.0,
        least_levels=2.0,
        unlearned_levels=8.0,
    ),
)
REACH_BLOCKS = 2
EXPOSURE_RATIO = 0.5  # a step that shows in less of the picture is sent where it shows


class Adaptive:
    """A camera's reference and noise, and the rule above.

    `changed` decides and learns the noise of every frame that is offered; `sent` alone moves the
    reference.
    """

    def __init__(self) -> None:
        """Begin without a reference."""
        self._strays = tuple(
            StrayLevel(least_levels=scale.least_levels, unlearned_levels=scale.unlearned_levels)
            for scale in SCALES
        )
        self._wander = Wander()
        self._noise: TokenNoise | None = None
        self._seen: list[Levels] = []
        self._now: list[Levels] = []

    @property
    def threshold_levels(self) -> float:
        """By how much some 7x7 px block must differ for a token of usual noise to be sent."""
        return self._thresholds(0)[0]

    def changed(self, pixels: NDArray[np.uint8], *, threshold_ratio: float = 1.0) -> Mask:
        """Return which tokens of a frame changed, (rows, cols), and learn its noise.

        The first frame, and the first of another size, changed everywhere.

        Args:
            pixels: (rows * 28, cols * 28, 3) uint8 RGB.
            threshold_ratio: what the thresholds, weak and strong, are multiplied with.
        """
        self._now = [block_means(pixels, block_px=scale.block_px) for scale in SCALES]
        if not self._seen or self._seen[0].shape != self._now[0].shape:
            _, height, width = self._now[0].shape
            self._noise = None
            return np.ones((height // SCALES[0].per_token, width // SCALES[0].per_token), np.bool_)
        if self._noise is None:
            self._noise = TokenNoise(self._seen[0])
        step = self._noise.step(self._now[0])
        shares = [np.minimum(self._noise.share, scale.most_share) for scale in SCALES]
        changes = [now - seen for now, seen in zip(self._now, self._seen, strict=True)]
        for scale, stray, change, share in zip(SCALES, self._strays, changes, shares, strict=True):
            stray.learn(_own_stray(change, block_px=scale.block_px) / share)
        distances = [
            np.abs(change).max(axis=0) / _spread(share, scale.per_token)
            for scale, change, share in zip(SCALES, changes, shares, strict=True)
        ]
        thresholds = [self._thresholds(index) for index in range(len(SCALES))]
        pairs = list(zip(distances, thresholds, strict=True))
        mask = _grown(
            [one > strong * threshold_ratio for one, (strong, _) in pairs],
            [one > weak * threshold_ratio for one, (_, weak) in pairs],
        )
        self._wander.learn((_unshifted(changes[0]) / shares[0])[~mask] / self._strays[0].levels)
        self._noise.learn(step, unchanged=~mask)
        return mask

    def is_exposure_step(self, changed: Mask) -> bool:
        """Tell whether one gain and offset per channel explain most of the last frame's changes.

        A step of the auto-exposure moves bright tokens beyond the threshold and leaves dark ones
        below it. Sent in part, it would be two exposures in one picture.
        """
        if changed.mean() < EXPOSURE_RATIO:
            return False
        seen, now = (token_mean(means[0]).reshape(3, -1) for means in (self._seen, self._now))
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
            for scale, seen, now in zip(SCALES, self._seen, self._now, strict=True):
                np.copyto(seen, now, where=_spread(mask, scale.per_token))
            if self._noise is not None:
                self._noise.sent(self._now[0], mask)

    def reset(self) -> None:
        """Forget what the model has seen, and keep what is known of the noise."""
        self._seen = []

    def _thresholds(self, index: int) -> tuple[float, float]:
        scale, levels = SCALES[index], self._strays[index].levels
        weak = scale.weak + scale.wander * self._wander.ratio
        return (
            max(scale.least_strong_levels, levels * scale.strong),
            max(scale.least_weak_levels, levels * weak),
        )


def _grown(strong: Sequence[Mask], weak: Sequence[Mask]) -> Mask:
    """Return the tokens with a strong block, or with a weak one beside a strong one."""
    rows, cols = (side // 4 for side in strong[0].shape)
    starts = [_first_small(num) for num in (rows, cols)]
    counts = [np.diff(first, append=7 * (first.size // 4)) for first in starts]
    small = np.logical_or.reduceat(np.logical_or.reduceat(strong[1], starts[0]), starts[1], axis=1)
    near = _dilated(strong[0] | small, REACH_BLOCKS)
    near_small = near.repeat(counts[0], axis=0).repeat(counts[1], axis=1)
    blocks = (strong[0] | (weak[0] & near), strong[1] | (weak[1] & near_small))
    masks: list[Mask] = [
        np.asarray(changed.reshape(rows, num, cols, num).any(axis=(1, 3)))
        for changed, num in zip(blocks, (4, 7), strict=True)
    ]
    return np.logical_or(masks[0], masks[1])


def _own_stray(change: Levels, *, block_px: int) -> Levels:
    """Return each token's worst block, what is common to the token's blocks removed."""
    own = change - _spread(token_mean(change, block_px=block_px), TOKEN_PX // block_px)
    return worst_of_tokens(np.abs(own, out=own).max(axis=0), block_px=block_px)


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


def _unshifted(change: Levels) -> Levels:
    """Return each token's worst 7x7 px block, what is common to the picture removed."""
    shift = np.median(token_mean(change).reshape(3, -1), axis=1).astype(np.float32)
    return worst_of_tokens(np.abs(change - shift[:, None, None]).max(axis=0))


def _first_small(num_tokens: int) -> NDArray[np.intp]:
    """Give the first 4 px block whose centre lies in each 7 px block, along one side."""
    places: NDArray[np.intp] = np.add.outer(7 * np.arange(num_tokens), [0, 2, 3, 5]).ravel()
    return places


def _dilated(mask: Mask, reach: int) -> Mask:
    """Widen a mask by `reach` blocks to all sides."""
    for _ in range(reach):
        edged = np.pad(mask, 1)
        down = edged[:-2] | edged[1:-1] | edged[2:]
        mask = down[:, :-2] | down[:, 1:-1] | down[:, 2:]
    return mask


def _spread(tokens: NDArray[Any], num: int) -> NDArray[Any]:
    """Repeat each token's value for its blocks: (..., rows, cols) to (..., rows * num, ...)."""
    return tokens.repeat(num, axis=-2).repeat(num, axis=-1)
