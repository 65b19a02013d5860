"""How long ago each token of a camera last went through the vision encoder."""

from math import isfinite

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


class Staleness:
    """Names the tokens whose cached keys and values have become too old.

    What an encoder has cached of a token that did not change was computed among neighbours that
    have changed since. After `max_staleness_s` such a token is encoded again, for the cache alone:
    the language model has it already. After a refresh all tokens are equally old, so the first
    round is spread over the second half of the time: a trickle, no burst.
    """

    def __init__(self, max_staleness_s: float) -> None:
        """Begin without a frame; ages are in stream time, and infinity is never reached."""
        self._max_staleness_s = max_staleness_s
        self._spread_s = max_staleness_s / 2 if isfinite(max_staleness_s) else 0.0
        self._encoded_s: NDArray[np.float64] | None = None
        self._last_s = 0.0

    def stale(self, keep_mask: Mask, *, pts_s: float) -> Mask:
        """Return the tokens, (rows, cols), that are not kept and too old at `pts_s`."""
        encoded_s = self._encoded_s
        if encoded_s is None or encoded_s.shape != keep_mask.shape or pts_s < self._last_s:
            return np.zeros_like(keep_mask)
        too_old: Mask = pts_s - encoded_s >= self._max_staleness_s
        return too_old & ~keep_mask

    def sent(self, mask: Mask, *, pts_s: float) -> None:
        """Note that the tokens of `mask`, kept or stale, were encoded in the frame of `pts_s`."""
        encoded_s = self._encoded_s
        is_known = encoded_s is not None and encoded_s.shape == mask.shape
        if encoded_s is None or not is_known or mask.all() or pts_s < self._last_s:
            spread_s = np.linspace(0.0, self._spread_s, mask.size, endpoint=False)
            self._encoded_s = (pts_s - spread_s).reshape(mask.shape)
        else:
            encoded_s[mask] = pts_s
        self._last_s = pts_s

    def reset(self) -> None:
        """Forget every age."""
        self._encoded_s = None
