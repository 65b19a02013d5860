"""Ticks: when the inference thread looks at the cameras, and when each camera is sampled.

The time between two frames of a camera (the sampling period, 1 s by default) is cut into ticks of
equal length. A frame is due at the first tick that begins after it has arrived. Cameras that were
sampled at one moment would fill one tick and leave the others empty, so their moments are spread:
the n-th camera samples at the n-th point of a Halton sequence (0, 1/2, 1/4, 3/4, 1/8 ... of the
period). The first points of that sequence are spread evenly, however many there are. A camera keeps
its number while it is here, so a camera that comes or goes moves no other.
"""

from itertools import count
from math import floor
from threading import Lock
from typing import NamedTuple

from pipeline.errors import ConfigError

WIDEN_AFTER_S = 60.0
ASKED_TOGETHER = 16
"""How many cameras of a tick are asked together on a GPU, where a step of decoding costs hardly
more for sixteen captions than for one."""
ASKED_TOGETHER_ON_CPU = 1
"""How many on a CPU, where two captions cost nearly twice as much as one. The frames of other
cameras wait meanwhile, or give way to newer ones: at sixteen cameras the 95th percentile of the age
was 1.25 s with groups of four and 0.87 s with groups of one."""


def halton(number: int, base: int) -> float:
    """Return point `number`, from 0, of the Halton sequence of a prime base, in [0, 1)."""
    share, place = 0.0, 1.0
    while number:
        number, digit = divmod(number, base)
        place /= base
        share += digit * place
    return share


class AskPhase(NamedTuple):
    """When a camera's questions are due, so that not all cameras are asked at once. Each in [0, 1).

    Attributes:
        within: the moment within the shortest period of the camera's questions.
        among: which of these periods within the longest one.
    """

    within: float = 0.0
    among: float = 0.0


class Ticks:
    """Ticks of equal length, the cameras spread over them. Safe from any thread.

    Not guaranteed: that a camera's frames come when they are wanted. A late frame goes with the
    tick it is in time for; no tick waits for it.
    """

    def __init__(
        self, *, period_s: float, per_period: int, asked_together: int = ASKED_TOGETHER
    ) -> None:
        """Begin with no camera.

        Args:
            period_s: between two frames of a camera.
            per_period: ticks in it.
            asked_together: cameras of a tick whose questions fall due together.

        Raises:
            ConfigError: either is not positive.
        """
        if not (period_s > 0 and per_period > 0):
            raise ConfigError(
                f"ticks: expected a positive period and number, got {period_s} s, {per_period}"
            )
        self.period_s = period_s
        self.tick_s = period_s / per_period
        self._per_period = per_period
        self._asked_together = asked_together
        self._lock = Lock()
        self._numbers: dict[str, int] = {}
        self._max_frames: int | None = None
        self._widen_at_s = 0.0

    def due_s(self, arrived_s: float) -> float:
        """Return when the tick begins that takes a frame of this arrival; both monotonic."""
        return (floor(arrived_s / self.tick_s) + 1) * self.tick_s

    def number(self, camera_id: str) -> int:
        """Return a camera's number; one that is new gets the lowest that is free."""
        with self._lock:
            if camera_id not in self._numbers:
                taken = set(self._numbers.values())
                self._numbers[camera_id] = next(n for n in count() if n not in taken)
            return self._numbers[camera_id]

    def first_gap_s(self, camera_id: str, now_s: float) -> float:
        """Return how long after its first frame, now, a camera is sampled again.

        Between half a period and one and a half, so that from then on its frames arrive in the
        middle of its tick, ready for the next one.
        """
        phase_s = halton(self.number(camera_id), 2) * self.period_s
        at_s = floor(phase_s / self.tick_s) * self.tick_s + self.tick_s / 2
        gap_s = (at_s - now_s) % self.period_s
        return gap_s if gap_s >= self.period_s / 2 else gap_s + self.period_s

    def ask_phase(self, camera_id: str) -> AskPhase:
        """Return when a camera's questions are due.

        Some cameras of a tick are asked at once, as one group. Groups are spread over the shortest
        period, over another base than the moments of sampling, so that no second gets the questions
        of all; and captions that come more seldom are due at different ones of their group's turns.
        """
        turn, tick = divmod(self.number(camera_id), self._per_period)
        group = turn // self._asked_together * self._per_period + tick
        return AskPhase(within=halton(group, 3), among=halton(group, 2))

    def remove(self, camera_id: str) -> None:
        """Give a camera's number back."""
        with self._lock:
            self._numbers.pop(camera_id, None)

    # -- how many frames a tick may take ---------------------------------------------------------

    def narrow(self, num_frames: int, now_s: float) -> None:
        """Note that the device had no memory for so many frames at once: half of them next time."""
        self._max_frames = max(1, num_frames // 2)
        self._widen_at_s = now_s + WIDEN_AFTER_S

    def max_frames(self, now_s: float) -> int | None:
        """Return how many frames a tick may take; None for any number. Doubles with time."""
        if self._max_frames is not None and now_s >= self._widen_at_s:
            self._max_frames *= 2
            self._widen_at_s = now_s + WIDEN_AFTER_S
            if self._max_frames > len(self._numbers):
                self._max_frames = None
        return self._max_frames
