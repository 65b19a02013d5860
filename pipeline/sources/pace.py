"""How often a video's pictures and key frames come, by the packets themselves."""

from collections import deque

NUM_PACKETS = 64
NUM_KEYS = 4
FEWEST_PACKETS = 5


class Pace:
    """Measures over the last packets; a camera tells less than the truth of itself, or nothing.

    Attributes:
        keyframe_every_s: seconds between two key frames, to a tenth; None before there are two.
    """

    def __init__(self) -> None:
        """Begin before the first packet."""
        self.keyframe_every_s: float | None = None
        self._shown_s: deque[float] = deque(maxlen=NUM_PACKETS)
        self._keys_s: deque[float] = deque(maxlen=NUM_KEYS)
        self._fps_before: float | None = None  # time jumped back

    @property
    def fps(self) -> float | None:
        """Pictures a second, to a tenth; None before there are enough."""
        interval_s = _interval_s(self._shown_s)
        if not interval_s or len(self._shown_s) < FEWEST_PACKETS:
            return self._fps_before
        return round(1 / interval_s, 1)

    def packet(self, pts_s: float, *, is_key: bool) -> None:
        """Take a packet, in the order they come; where time jumps back, it is counted from there.

        Args:
            pts_s: its stream time.
            is_key: whether it is a key frame.
        """
        if self._shown_s and pts_s < self._shown_s[-1] - 1.0:
            self._fps_before = self.fps
            self._shown_s.clear()
            self._keys_s.clear()
        self._shown_s.append(pts_s)
        if is_key:
            self._keys_s.append(pts_s)
            interval_s = _interval_s(self._keys_s)
            self.keyframe_every_s = round(interval_s, 1) if interval_s else self.keyframe_every_s


def _interval_s(times_s: deque[float]) -> float | None:
    if len(times_s) < 2:
        return None
    return (max(times_s) - min(times_s)) / (len(times_s) - 1)
