"""A camera that sends the same picture again and again is broken, however quiet its scene."""

import numpy as np
from numpy.typing import NDArray


class FrozenWatch:
    """Tells when a camera's frames have been identical, bit for bit, for too long.

    A codec repeats a picture exactly where nothing moves and nothing is noisy, but a key frame
    codes it anew; so the limit is longer than the longest usual key-frame interval, 10 s.
    """

    def __init__(self, frozen_after_s: float) -> None:
        """Report a run of identical frames that lasts `frozen_after_s` or longer."""
        self._frozen_after_s = frozen_after_s
        self._pixels: NDArray[np.uint8] | None = None
        self._since_s = 0.0

    def is_frozen(self, pixels: NDArray[np.uint8], *, now_s: float) -> bool:
        """Take the next frame, seen at `now_s` on a clock that does not jump.

        The array is kept until the next call and must not be changed.
        """
        if self._pixels is None or not np.array_equal(self._pixels, pixels):
            self._since_s = now_s
        self._pixels = pixels
        return now_s - self._since_s >= self._frozen_after_s

    def reset(self) -> None:
        """Forget the frame, as after a reconnect."""
        self._pixels = None
