"""A camera that sends the same picture again and again is broken, however quiet its scene."""

from collections import deque
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from pipeline.clock import Clock
from pipeline.regions import Region, blacked_out
from pipeline.types import Frame

NUM_KNOWN = 4  # pictures that one dead picture comes out as, where its coding changes


class _Run:
    """Pictures of one camera among which no new one was, since a moment (monotonic)."""

    def __init__(self) -> None:
        self.known: deque[bytes] = deque(maxlen=NUM_KNOWN)
        self.since_s = 0.0
        self.is_coded_anew = False  # whether any was, after the first


class FreezeWatch:
    """Tells when a camera has shown no new picture, bit for bit, for too long.

    What changes in ignored regions does not count: a clock goes on over a dead picture. There the
    coding of the rest may change with the clock, between few outcomes: so each picture is compared
    with the last few different ones. A codec repeats a picture exactly where nothing moves, but
    only from the one before: where no picture was coded anew in all that time, as between the key
    frames of a quiet scene, nothing is known.
    """

    def __init__(
        self,
        frozen_after_s: float,
        *,
        clock: Clock,
        ignore: Mapping[str, Sequence[Region]] | None = None,
    ) -> None:
        """Report a run without a new picture that lasts `frozen_after_s` or longer.

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
        """Take a camera's next frame, which arrives now."""
        now_s, run = self._clock.monotonic_s(), self._runs.setdefault(frame.camera_id, _Run())
        pixels = blacked_out(frame.pixels, self._ignore.get(frame.camera_id, ()))
        digest = blake2b(pixels.data, digest_size=16, key=repr(pixels.shape).encode()).digest()
        if digest in run.known:
            run.is_coded_anew |= frame.is_coded_anew
        else:
            run.known.append(digest)
            run.since_s, run.is_coded_anew = now_s, False
        return run.is_coded_anew and now_s - run.since_s >= self._frozen_after_s

    def reset(self) -> None:
        """Forget all frames, as after a lost connection: the time away does not count."""
        self._runs.clear()
