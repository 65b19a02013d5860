"""Decides which moments of a stream are taken: of its frames, or to ask a standing question."""

from pipeline.errors import ConfigError


class Cadence:
    """Takes at most one moment per period on average, on a grid.

    A plain "a period has passed since the last one" loses every second key frame of a camera whose
    key frames come 0.99, 1.01, 0.98 s apart. On a grid a moment may be early by `tolerance_s`, and
    a late one does not delay the next. Moments that were missed in a gap are not made up for: the
    first one after it is taken, and the grid starts again from there, or is kept if so wanted.

    Not guaranteed: the phase of the grid. It moves when a moment comes more than half a period late
    and when the stream's time jumps.
    """

    def __init__(
        self,
        period_s: float,
        *,
        tolerance_s: float | None = None,
        first_gap_s: float | None = None,
        is_kept_in_gaps: bool = False,
    ) -> None:
        """Start with nothing taken.

        Args:
            period_s: seconds of stream time per taken moment, more than 0.
            tolerance_s: how early a moment may come, less than half a period; a tenth by default.
            first_gap_s: from the first moment to the second; a period by default. Sets the phase of
                the grid, so that many cadences need not be due together.
            is_kept_in_gaps: keep the grid through a gap. Many cadences that had the same gap would
                otherwise start again at the same moment, and be due together for ever.

        Raises:
            ConfigError: a period or tolerance that cannot work.
        """
        if not period_s > 0:
            raise ConfigError(f"expected a period of more than 0 s, got {period_s}")
        tolerance_s = period_s / 10 if tolerance_s is None else tolerance_s
        if not 0 <= tolerance_s < period_s / 2:
            raise ConfigError(
                f"expected a tolerance from 0 to below {period_s / 2} s, got {tolerance_s}"
            )
        self.period_s = period_s
        self.tolerance_s = tolerance_s
        self._first_gap_s = first_gap_s
        self._is_kept_in_gaps = is_kept_in_gaps
        self._taken_s: float | None = None
        self._next_s = 0.0

    def due(self, t_s: float) -> bool:
        """Say whether the moment `t_s` of stream time is taken; a True counts as taken.

        A step back by more than a period (a camera that restarts, a 33-bit time stamp that wraps)
        starts a new grid there.
        """
        if self._taken_s is None or t_s < self._taken_s - self.period_s:
            self._take(t_s, next_s=t_s + (self._first_gap_s or self.period_s))
            return True
        late_s = t_s - self._next_s
        if late_s < -self.tolerance_s:
            return False
        if late_s >= self.period_s:
            # From half a period to one and a half, so that the next moment is one of the grid.
            on_grid_s = t_s + self.period_s / 2 + (-late_s - self.period_s / 2) % self.period_s
            self._take(t_s, next_s=on_grid_s if self._is_kept_in_gaps else t_s + self.period_s)
        else:
            # Half a period at the least: the moment after a late one must not follow on its heels.
            self._take(t_s, next_s=max(self._next_s + self.period_s, t_s + self.period_s / 2))
        return True

    def reset(self) -> None:
        """Forget the grid: the next moment is taken, whatever it is."""
        self._taken_s = None

    def _take(self, t_s: float, *, next_s: float) -> None:
        self._taken_s = t_s
        self._next_s = next_s
