"""A camera that sends the same picture again and again is broken, however quiet its scene."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.clock import Clock
from pipeline.types import Frame


@dataclass(frozen=True, slots=True)
class _Run:
    """Identical pictures of one camera, and when the first of them was seen (monotonic)."""

    pixels: NDArray[np.uint8]
    since_s: float


class FreezeWatch:
    """Tells when a camera's frames have been identical, bit for bit, for too long.

    A codec repeats a picture exactly where nothing moves and nothing is noisy, but a key frame
    codes it anew; so the limit is longer than the longest usual key-frame interval, 10 s.
    """

    def __init__(self, frozen_after_s: float, *, clock: Clock) -> None:
        """Report a run of identical frames that lasts `frozen_after_s` or longer."""
        self._frozen_after_s = frozen_after_s
        self._clock = clock
        self._runs: dict[str, _Run] = {}

    def is_frozen(self, frame: Frame) -> bool:
        """Take a camera's next frame, which arrives now.

        Its pixels are kept until the camera's next frame and must not be changed.
        """
        now_s, run = self._clock.monotonic_s(), self._runs.get(frame.camera_id)
        is_same = run is not None and np.array_equal(run.pixels, frame.pixels)
        since_s = run.since_s if run is not None and is_same else now_s
        self._runs[frame.camera_id] = _Run(frame.pixels, since_s)
        return now_s - since_s >= self._frozen_after_s

    def reset(self) -> None:
        """Forget all frames, as after a lost connection: the time away does not count."""
        self._runs.clear()
