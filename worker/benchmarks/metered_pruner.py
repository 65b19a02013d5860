"""A pruner that knows what it takes of a core."""

import time

from model.types import PrunedFrame
from pipeline.pruner import Pruner
from pipeline.types import Frame


class MeteredPruner(Pruner):
    """A pruner that knows what it takes of a core.

    Attributes:
        spent_s: seconds of a core, of whatever thread used it.
    """

    def __init__(self, among: list["MeteredPruner"]) -> None:
        """Begin with nothing spent, as one of several."""
        super().__init__()
        self.spent_s = 0.0
        among.append(self)

    def prune(self, frame: Frame) -> PrunedFrame:
        """Prune, by the clock of this thread's processor time."""
        begun_s = time.thread_time()
        pruned = super().prune(frame)
        self.spent_s += time.thread_time() - begun_s
        return pruned

    def sent(self, pruned: PrunedFrame) -> None:
        """Note what was sent, by the same clock."""
        begun_s = time.thread_time()
        super().sent(pruned)
        self.spent_s += time.thread_time() - begun_s
