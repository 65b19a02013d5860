"""When the next frame of each camera is taken."""

from pipeline.cadence import Cadence
from pipeline.clock import Clock
from pipeline.load import Load
from pipeline.ticks import Ticks


class Sampler:
    """Decides which frames of a feed are taken, each of its cameras on a grid of its own.

    Live cameras are sampled in turns, each ready for its own tick, and more seldom while the load
    asks for it. A source that is held back delays nobody: its grid begins with its first frame and
    keeps its period.
    """

    def __init__(
        self, period_s: float, *, is_live: bool, ticks: Ticks, load: Load, clock: Clock
    ) -> None:
        """Begin with no camera; each comes with its first frame.

        Args:
            period_s: seconds of stream time between two frames of a camera.
            is_live: whether frames are lost when the model is slower; else the source is held back.
            ticks: gives each live camera its moment within the period.
            load: says how much longer the period is for now.
            clock: what ticks are counted on.
        """
        self._period_s = period_s
        self._is_live = is_live
        self._ticks = ticks
        self._load = load
        self._clock = clock
        self._cadences: dict[str, Cadence] = {}

    def wanted(self, camera_id: str, pts_s: float) -> bool:
        """Say whether a camera's frame at `pts_s` of stream time is taken; a True counts as taken.

        Asked by the source before it scales or decodes a picture.
        """
        if camera_id not in self._cadences:
            self._cadences[camera_id] = self._new_cadence(camera_id)
        cadence = self._cadences[camera_id]
        if self._is_live:
            cadence.period_s = self._period_s * self._load.step.period_ratio
        return cadence.due(pts_s)

    def reset(self) -> None:
        """Forget every camera's grid, as before a new connection: its next frame is taken."""
        self._cadences.clear()

    def _new_cadence(self, camera_id: str) -> Cadence:
        if not self._is_live:
            return Cadence(self._period_s)
        gap_s = self._ticks.first_gap_s(camera_id, self._clock.monotonic_s())
        return Cadence(self._period_s, first_gap_s=gap_s)
