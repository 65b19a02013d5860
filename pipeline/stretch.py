"""How far a camera's stream has come, in seconds that never go back, and where it broke."""

from collections import deque
from datetime import datetime

from pipeline.types import PrunedSample

LONGEST_GAP_S = 10.0  # a worker that is slow for a moment has no gap
_USUAL = 4  # a pause so many times the shortest of the last ones is a gap
_PAUSES = 8


class Stretch:
    """Measures a camera's frames, one after another.

    Live frames are measured by their arrival: no camera's clock and no wall-clock that is set can
    stop or turn that. Frames of a source that is held back come as fast as the model takes them, so
    their capture times are what passes, and their arrival only where those stand still.

    Attributes:
        stream_s: seconds since the first frame.
    """

    def __init__(self) -> None:
        """Begin before the first frame."""
        self.stream_s = 0.0
        self._pauses_s: deque[float] = deque(maxlen=_PAUSES)
        self._last: tuple[datetime, float | None] | None = None

    def resume(self, captured_at: datetime) -> None:
        """Note that a frame captured then came before, at another worker, if none has here."""
        if self._last is None:
            self._last = captured_at, None

    def advance(self, sent: PrunedSample, *, lost_s: float) -> bool:
        """Take the next frame; say whether it begins a new stretch.

        Args:
            sent: the frame.
            lost_s: when the camera was lost the last time, monotonic; -inf where it never was.
        """
        captured_at, arrived_s = sent.frame.captured_at, sent.arrived_s
        last, self._last = self._last, (captured_at, arrived_s)
        if last is None:
            return True
        captured_s = (captured_at - last[0]).total_seconds()
        came_s = last[1]
        pause_s = max(0.0, captured_s if came_s is None else arrived_s - came_s)
        if not sent.is_live and captured_s > 0:
            pause_s = captured_s
        usual_s = min(self._pauses_s, default=0.0)
        self._pauses_s.append(pause_s)
        self.stream_s += pause_s
        was_lost = came_s is not None and came_s <= lost_s <= arrived_s
        return pause_s > max(LONGEST_GAP_S, _USUAL * usual_s) or was_lost
