"""What an unchanged picture looks like: a camera's noise, learned online, frame by frame."""

from collections import deque
from math import ceil

import numpy as np
from numpy.typing import NDArray

from model.patch_diff import worst_of_tokens

Levels = NDArray[np.float32]
Real = NDArray[np.floating]

MEMORY_FRAMES = 24  # two of the longest key-frame intervals, and some
MEMORY_QUANTILE = 0.9
TRIM = 2.0  # the largest of 48 Gaussian numbers passes twice its median once in 20 000 times
MAX_RISE = 1.5  # a frame: fivefold takes four
WANDER_QUANTILE = 0.9
NOISE_TAIL = 1.6  # that quantile over the median, of encoded noise alone
WANDER_RATE = 0.1  # a frame: learned in ten
FIRST_WANDER = 0.1
MAX_WANDER = 0.8  # so that the thresholds stay bounded
AVERAGED_FRAMES = 4
PRIOR_FRAMES = 6  # for which a token is believed to be like the others
MAX_FRAMES = 20  # that a token's noise is averaged over
LEAST_SHARE, MOST_SHARE = 0.85, 1.5
LEAST_STEP_LEVELS = 0.2  # below it there is no noise to have shares of


def median(values: Real) -> Real:
    """Return what `np.median` does along the last axis, at a third of its cost; of no NaN."""
    last = values.shape[-1]
    ordered = np.sort(values, axis=-1)
    lower, upper = ordered[..., (last - 1) // 2], ordered[..., last // 2]
    middle: Real = (lower + upper) / 2
    return middle


class TokenNoise:
    """How noisy each token is beside the others: texture, brightness, a tree in the wind.

    Measured in time, as the worst block's step from the mean of the last frames, and not against
    what was sent: a small change that stays would pass for noise there and hide itself.
    """

    def __init__(self, means: Levels, *, per_token: int) -> None:
        """Begin with a frame that was sent whole.

        Args:
            means: its block means, (3, rows * per_token, cols * per_token).
            per_token: blocks along a token's side.
        """
        self._per_token = per_token
        self._average = means.copy()
        rows, cols = (side // per_token for side in means.shape[1:])
        self._mean_step = np.zeros((rows, cols), np.float32)
        self._num_frames = np.zeros((rows, cols), np.float32)
        self.share: Levels = np.ones((rows, cols), np.float32)

    def step(self, means: Levels) -> Levels:
        """Take a frame's block means; return each token's step in levels, (rows, cols)."""
        change = means - self._average
        self._average += change / AVERAGED_FRAMES
        return worst_of_tokens(np.abs(change, out=change).max(axis=0), per_token=self._per_token)

    def learn(self, step: Levels, *, unchanged: NDArray[np.bool_]) -> None:
        """Learn from the step of the tokens that were found unchanged.

        `share` becomes each token's noise over the camera's, within bounds: none can go blind.
        """
        self._num_frames += unchanged & (self._num_frames < MAX_FRAMES)
        weight = unchanged / np.maximum(self._num_frames, 1)
        self._mean_step += (step - self._mean_step) * weight
        usual = max(float(median(self._mean_step.ravel())), LEAST_STEP_LEVELS)
        total = self._mean_step * self._num_frames + PRIOR_FRAMES * usual
        share = total / ((self._num_frames + PRIOR_FRAMES) * usual)
        share /= median(share.ravel())
        self.share = np.minimum(np.maximum(share, LEAST_SHARE), MOST_SHARE).astype(np.float32)

    def sent(self, means: Levels, mask: NDArray[np.bool_]) -> None:
        """Begin the averages of the sent tokens anew."""
        num = self._per_token
        np.copyto(self._average, means, where=mask.repeat(num, axis=0).repeat(num, axis=1))


class StrayLevel:
    """How far an unchanged token strays from what was sent of it, for blocks of one size.

    Attributes:
        levels: the stray of the median unchanged token, in grey levels.
    """

    def __init__(self, *, least_levels: float, unlearned_levels: float) -> None:
        """Begin knowing nothing.

        Args:
            least_levels: no camera is taken to be better.
            unlearned_levels: the most that is believed at once.
        """
        self._least_levels = least_levels
        self._unlearned_levels = unlearned_levels
        self._recent: deque[float] = deque(maxlen=MEMORY_FRAMES)
        self.levels = least_levels

    def learn(self, strays: Real) -> None:
        """Learn from one frame's strays (rows, cols), what is common to a token's blocks removed.

        A quarter of the picture or more may be moving, told apart from noise only by its size. So
        the median is taken over the tokens below twice the median, beginning low: it climbs to the
        middle of the quiet ones and stops at the gap above them.
        """
        ordered = np.sort(strays, axis=None)
        most = max(self._unlearned_levels, MAX_RISE * self.levels)
        median = min(most, max(self._least_levels, float(ordered[ordered.size // 10])))
        for _ in range(6):
            num_quiet = int(np.searchsorted(ordered, TRIM * median))
            climbed = float(ordered[num_quiet // 2])
            if climbed <= median:
                break
            median = min(most, climbed)
        self._recent.append(median)
        # Key frames come now and then and stray the most, so the memory is of the high frames.
        remembered = sorted(self._recent)[ceil(MEMORY_QUANTILE * (len(self._recent) - 1))]
        self.levels = max(self._least_levels, remembered, median)

    def recalibrate(self) -> None:
        """Forget the frames before a refresh."""
        self._recent.clear()


class Wander:
    """How much more than noise the unsent part of a picture strays: slow light, shadows, smear.

    Attributes:
        ratio: the 90 % quantile beyond what noise alone gives, over the median stray; 0 to 0.8.
    """

    def __init__(self) -> None:
        """Begin with a little."""
        self._excess = FIRST_WANDER

    @property
    def ratio(self) -> float:
        return max(0.0, self._excess)

    def learn(self, strays: Real) -> None:
        """Learn from the strays (n,) of one frame's unsent tokens, over the median stray."""
        if strays.size:
            place = int(WANDER_QUANTILE * (strays.size - 1))
            excess = float(np.partition(strays, place)[place]) - NOISE_TAIL
            self._excess += WANDER_RATE * (min(max(excess, -MAX_WANDER), MAX_WANDER) - self._excess)
