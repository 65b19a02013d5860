"""A camera that sends the same picture again and again is broken, however quiet its scene."""

from collections import deque
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from pipeline.clock import Clock
from pipeline.regions import Region, blacked_out
from pipeline.types import Frame

NUM_REMEMBERED = 256  # pictures of a run
BLOCK_PX = 28
CODING_LEVELS = 4.0  # how far a block of a dead picture goes where it is only coded otherwise
RECURRING_RATIO = 0.5


class _Run:
    """Pictures of one camera that may be one dead picture, since the first of them (monotonic)."""

    def __init__(self, first: NDArray[np.uint8], since_s: float) -> None:
        self.first = first
        self.since_s = since_s
        self.known: deque[bytes] = deque(maxlen=NUM_REMEMBERED)
        self.coded_anew: deque[tuple[float, bool]] = deque()  # (when, whether known by then)


class FreezeWatch:
    """Tells when what a camera shows has been one dead picture for too long.

    A dead picture comes back bit for bit, which a living one, with its noise, never does. What
    changes in ignored regions does not count: a clock goes on over a dead picture, and the coding
    of the rest changes with the clock, a little and to and fro. So a run goes on while pictures
    differ by no more than coding does, and it is frozen where half of them or more were seen before
    in it. Only those coded anew say anything: a codec itself repeats the picture before, exactly,
    where nothing moves, as between the key frames of a quiet scene.
    """

    def __init__(
        self,
        frozen_after_s: float,
        *,
        clock: Clock,
        ignore: Mapping[str, Sequence[Region]] | None = None,
    ) -> None:
        """Report a run that lasts `frozen_after_s` or longer.

        Args:
            frozen_after_s: how long.
            clock: what it is counted on.
            ignore: regions where changes do not count, by camera.
        """
        self._frozen_after_s = frozen_after_s
        self._clock = clock
        self._ignore = ignore or {}
        self._runs: dict[str, _Run] = {}

    def is_frozen(self, frame: Frame) -> bool:
        """Take a camera's next frame, which arrives now.

        The pixels of a run's first frame are kept and must not be changed.
        """
        now_s, run = self._clock.monotonic_s(), self._runs.get(frame.camera_id)
        pixels = blacked_out(frame.pixels, self._ignore.get(frame.camera_id, ()))
        digest = blake2b(pixels.data, digest_size=16).digest()
        is_known = run is not None and digest in run.known
        if run is None or not (is_known or _is_coding_alone(run.first, pixels)):
            run = self._runs[frame.camera_id] = _Run(pixels, now_s)
        if not is_known:
            run.known.append(digest)
        if frame.is_coded_anew:
            run.coded_anew.append((now_s, is_known))
        while run.coded_anew and run.coded_anew[0][0] < now_s - self._frozen_after_s:
            run.coded_anew.popleft()
        num_known = sum(known for _, known in run.coded_anew)
        recurs = num_known > 0 and num_known >= RECURRING_RATIO * len(run.coded_anew)
        return recurs and now_s - run.since_s >= self._frozen_after_s

    def forget(self, camera_id: str) -> None:
        """Forget a camera's frames: the time in which another worker has it does not count."""
        self._runs.pop(camera_id, None)

    def reset(self) -> None:
        """Forget all frames, as after a lost connection: the time away does not count."""
        self._runs.clear()


def _is_coding_alone(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Say whether two pictures differ nowhere by more than the coding of one picture does."""
    if one.shape != other.shape:
        return False
    width_px, channels = one.shape[1:]
    apart = np.maximum(one, other) - np.minimum(one, other)
    in_rows = apart.reshape(-1, BLOCK_PX, width_px * channels).sum(axis=1, dtype=np.uint32)
    in_blocks = in_rows.reshape(len(in_rows), -1, BLOCK_PX * channels).sum(axis=2)
    return bool(in_blocks.max() <= CODING_LEVELS * BLOCK_PX * BLOCK_PX * channels)
