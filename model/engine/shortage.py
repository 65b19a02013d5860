"""What happens when memory runs out in the middle of a pass: the budget's, or the device's."""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol, TypeVar

import torch

from model.engine.kv_cache import PagePool, PoolFullError
from model.engine.rolling_context import RollingContext
from model.errors import DeviceMemoryError

T = TypeVar("T")


class Hush(Protocol):
    """Lets what is being said give way; see `Speech.give_way`."""

    def __call__(self, *, is_all: bool = False) -> bool: ...


def _nobody_speaks(*, is_all: bool = False) -> bool:  # noqa: ARG001
    return False


class Shortage:
    """Makes room at the cost of the streams' contexts, and counts what that took.

    Attributes:
        num: times the device's memory ran out.
        num_shed: standby contexts given up for it.
        num_cut_short: contexts that ended early because the budget had no page left.
        num_unsaid: sentences that gave way to either.
        hush: lets sentences give way, all or those of one context that is over; says whether there
            were any.
    """

    def __init__(self, streams: Mapping[str, RollingContext], pool: PagePool) -> None:
        """Begin without one.

        Args:
            streams: all that have contexts.
            pool: where these lie.
        """
        self.num = 0
        self.num_shed = 0
        self.num_cut_short = 0
        self.num_unsaid = 0
        self.hush: Hush = _nobody_speaks
        self._streams = streams
        self._pool = pool

    def spare(
        self, work: Callable[[], T], *, due: Collection[str] = (), may_shed: bool = True
    ) -> T:
        """Do work that leaves no trace when it fails; where memory runs out, make room and go on.

        As often as the budget has no page left, what is said about a context that is over comes to
        nothing, or else a context is cut short; where the device has no memory, all that is being
        said and all standby contexts are given up, once.

        Args:
            work: is done.
            due: streams that have a frame to be shown, and so may begin anew.
            may_shed: whether anything may be given up for this.

        Raises:
            DeviceMemoryError: it ran out again, or nothing may be given up.
        """
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as exc:
                if not is_out_of_memory(exc):
                    raise
                is_budget = isinstance(exc, PoolFullError)
                self.num += not is_budget
                if not may_shed or (is_budget and not (self.hush() or self._cut_short(due))):
                    raise DeviceMemoryError(
                        f"{self._pool.device}: expected room for a pass over {len(self._streams)} "
                        f"streams, got none with {self._pool.num_bytes} bytes of contexts held"
                    ) from exc
                if is_budget:
                    continue
            self._shed()
            may_shed = False

    def note(self, error: Exception) -> None:
        """Count a lack of memory in work that cannot be done again, and make room for what comes.

        Raises:
            Exception: the error, where it is another one.
        """
        if not is_out_of_memory(error):
            raise error
        self.num += 1
        self._shed()

    def _cut_short(self, due: Collection[str]) -> bool:
        """End the context that is nearest to its end; without a standby, one that is due.

        Of a stream whose standby has grown most the least is lost, and most pages come back.
        """
        streams = [one for one in self._streams.values() if len(one.contexts) > 1]
        if not streams:
            shown = [self._streams[stream_id] for stream_id in due if stream_id in self._streams]
            streams = [one for one in shown if one.window and one.window.num_frames > 1]
        if streams:
            max(streams, key=lambda one: one.contexts[-1].length).cut_short()
            self.num_cut_short += 1
        return bool(streams)

    def _shed(self) -> None:
        """Give up every standby context; questions see what they saw, for half a window."""
        self.hush(is_all=True)
        self.num_shed += sum(stream.drop_standby() for stream in self._streams.values())
        torch.cuda.empty_cache()  # nothing happens where CUDA is not in use


def is_out_of_memory(error: Exception) -> bool:
    """Tell a lack of memory from other faults; on the CPU PyTorch has no exception of its own."""
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "DefaultCPUAllocator" in str(error)
