"""Decides whether the worker keeps up, and what it gives up when it does not: a ladder of steps.

The worker goes a step down after two bad judgements in a row, and a step up after a long calm. A
step that is taken back too early is soon taken again; then the next calm must be twice as long.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipeline.types import StatusReason

LoadReason = Literal["frame_age", "frames_dropped", "tick_overrun", "cameras_lag"]

JUDGE_EVERY_S = 5.0
BAD_JUDGEMENTS = 2  # the first frames of many cameras are whole ones, which is no lasting load
MAX_DROPPED_SHARE = 0.05
MAX_OVERRUN_SHARE = 0.5
LATE_S = 0.5  # a camera whose pictures wait for so long to be read cannot be decoded in time
MAX_LATE_SHARE = 0.5
CALM_BUSY_SHARE = 0.6
CALM_AGE_SHARE = 0.6
RELAPSE_WITHIN_S = 60.0
MAX_CALM_FACTOR = 16


@dataclass(frozen=True, slots=True)
class Step:
    """What is given up at one level.

    Attributes:
        name: what was given up last, as a camera's status says it; none at level 0.
        caption_stretch: one caption is made for so many that are due.
        threshold_ratio: factor on the pruner's own threshold.
        period_ratio: factor on the usual time between two frames.
    """

    name: StatusReason | None
    caption_stretch: int = 1
    threshold_ratio: float = 1.0
    period_ratio: float = 1.0


LADDER = (
    Step(None),
    Step("load_captions", caption_stretch=3),
    Step("load_threshold", caption_stretch=3, threshold_ratio=1.5),
    Step("load_frame_rate", caption_stretch=3, threshold_ratio=1.5, period_ratio=2.0),
)


@dataclass(slots=True)
class _Judged:
    """What was seen since the last judgement."""

    begun_s: float
    busy_s: float = 0.0
    ages_s: list[float] = field(default_factory=list)
    num_ticks: int = 0
    num_overruns: int = 0
    num_dropped: int = 0
    lags_s: dict[str, float] = field(default_factory=dict)  # each camera's last


class Load:
    """Keeps the level on the ladder. One thread writes; any may read `level`.

    A frame's age runs from its arrival to its answers, not from its capture: a camera whose clock
    is wrong is no load. Nor is one whose pictures come late, by its network or by its size: what
    is given up would not help it, and the others would pay. Where more than half of the cameras
    come late at once, decoding is what the machine is too slow for, and that is load.

    Only live frames count. A source that is held back waits by design, and its frames may grow as
    old as they like.

    Attributes:
        level: 0 where nothing is given up.
        reason: what led to this level; None at level 0.
        max_age_s: what the 95th percentile of frames' ages may be.
    """

    def __init__(self, *, max_age_s: float, period_s: float, recover_after_s: float) -> None:
        """Begin at level 0.

        Args:
            max_age_s: see above.
            period_s: between two frames of a camera: a tick that takes longer meets the next ones.
            recover_after_s: calm before a step is taken back.
        """
        self.level = 0
        self.reason: LoadReason | None = None
        self.max_age_s = max_age_s
        self._period_s = period_s
        self._recover_after_s = recover_after_s
        self._judged: _Judged | None = None
        self._num_bad = 0
        self._calm_since_s: float | None = None
        self._calm_factor = 1
        self._up_s: float | None = None  # when a step was last taken back

    @property
    def step(self) -> Step:
        """What is given up now."""
        return LADDER[self.level]

    def note(
        self,
        *,
        begun_s: float,
        ended_s: float,
        ages_s: Sequence[float],
        spoken_s: float = 0.0,
        num_dropped: int,
        lags_s: Mapping[str, float],
    ) -> None:
        """Tell of one tick.

        Args:
            begun_s: when it began, monotonic.
            ended_s: when its replies were stored.
            ages_s: of the live frames it took, when they were answered, and of those that were
                spoken about since the tick before.
            spoken_s: time that this took.
            num_dropped: live frames that gave way to newer ones since the tick before, because the
                model had not taken them; a burst of a camera's own is no load.
            lags_s: by camera, how long its pictures had waited to be read.
        """
        judged = self._judged = self._judged or _Judged(begun_s)
        judged.busy_s += ended_s - begun_s + spoken_s
        judged.ages_s += ages_s
        judged.num_ticks += bool(ages_s)
        judged.num_overruns += bool(ages_s) and ended_s - begun_s > self._period_s
        judged.num_dropped += num_dropped
        judged.lags_s.update(lags_s)

    def judge(self, now_s: float) -> bool:
        """Look at the last seconds, every five; return True when the level changed."""
        judged = self._judged = self._judged or _Judged(now_s)
        if now_s - judged.begun_s < JUDGE_EVERY_S:
            return False
        self._judged = _Judged(now_s)
        bad = self._overload(judged)
        self._num_bad = self._num_bad + 1 if bad else 0
        if bad or not self._is_calm(judged, now_s):
            self._calm_since_s = None
        elif self._calm_since_s is None:
            self._calm_since_s = judged.begun_s
        if bad and self._num_bad >= BAD_JUDGEMENTS and self.level < len(LADDER) - 1:
            self._descend(bad, now_s)
            return True
        if self._is_recovered(now_s):
            self._climb(now_s)
            return True
        return False

    def _overload(self, judged: _Judged) -> LoadReason | None:
        num_frames = len(judged.ages_s) + judged.num_dropped
        if judged.ages_s and _p95(judged.ages_s) > self.max_age_s:
            return "frame_age"
        if judged.num_dropped > MAX_DROPPED_SHARE * num_frames:
            return "frames_dropped"
        if judged.num_overruns > MAX_OVERRUN_SHARE * judged.num_ticks:
            return "tick_overrun"
        num_late = sum(lag_s > LATE_S for lag_s in judged.lags_s.values())
        if num_late > MAX_LATE_SHARE * len(judged.lags_s):
            return "cameras_lag"
        return None

    def _is_calm(self, judged: _Judged, now_s: float) -> bool:
        is_young = not judged.ages_s or _p95(judged.ages_s) < CALM_AGE_SHARE * self.max_age_s
        return is_young and judged.busy_s < CALM_BUSY_SHARE * (now_s - judged.begun_s)

    def _is_recovered(self, now_s: float) -> bool:
        if not self.level or self._calm_since_s is None:
            return False
        return now_s - self._calm_since_s >= self._recover_after_s * self._calm_factor

    def _descend(self, reason: LoadReason, now_s: float) -> None:
        is_relapse = self._up_s is not None and now_s - self._up_s < RELAPSE_WITHIN_S
        self._calm_factor = min(MAX_CALM_FACTOR, 2 * self._calm_factor) if is_relapse else 1
        self.level += 1
        self.reason = reason
        self._num_bad = 0

    def _climb(self, now_s: float) -> None:
        self.level -= 1
        self._up_s = now_s
        self._calm_since_s = None
        if not self.level:
            self.reason = None


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1) + 0.5)]
