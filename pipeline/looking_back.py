"""Looks back at each tick: was that fast enough?"""

from collections.abc import Sequence

from model.types import EngineStats
from pipeline.counted import engine_stands, tick_made
from pipeline.engine import Engine
from pipeline.lane import Lanes
from pipeline.load import Load
from pipeline.observer import Observer
from pipeline.speaking import Speaking
from pipeline.ticks import Ticks
from pipeline.types import PrunedSample


class LookingBack:
    """Tells the metrics and the load of ticks, and acts on what the load makes of them."""

    def __init__(
        self,
        lanes: Lanes,
        engine: Engine,
        *,
        speaking: Speaking,
        load: Load,
        ticks: Ticks,
        observer: Observer,
    ) -> None:
        """Begin before the first tick.

        Args:
            lanes: know what was dropped, and prune by more where the load asks for it.
            engine: the model.
            speaking: knows what was said between the ticks.
            load: judges.
            ticks: say when each tick was due.
            observer: told of ticks and of the model.
        """
        self._lanes = lanes
        self._engine = engine
        self._speaking = speaking
        self._load = load
        self._ticks = ticks
        self._observer = observer
        self._num_dropped = 0
        self._stats: EngineStats | None = None  # as the observer was told of it last

    def at(self, sent: Sequence[PrunedSample], *, begun_s: float, ended_s: float) -> None:
        """Look back at a tick that showed these frames; both times monotonic."""
        num_dropped = self._lanes.num_overdue
        live = [one for one in sent if one.is_live]
        if live:
            ages_s, spoken_s = self._speaking.take_stock()
            self._load.note(
                begun_s=begun_s,
                ended_s=ended_s,
                ages_s=[*ages_s, *(ended_s - one.arrived_s for one in live)],
                spoken_s=spoken_s,
                num_dropped=num_dropped - self._num_dropped,
                lags_s={one.frame.camera_id: one.frame.lag_s for one in live},
            )
            lateness_s = begun_s - self._ticks.due_s(min(one.arrived_s for one in live))
            tick_made(self._observer, ended_s - begun_s, lateness_s, tick_s=self._ticks.tick_s)
        self._num_dropped = num_dropped
        if self._load.judge(ended_s):
            self._lanes.raise_threshold(self._load.step.threshold_ratio)
        if sent:
            stats = self._engine.stats
            engine_stands(self._observer, stats, before=self._stats)
            self._stats = stats
