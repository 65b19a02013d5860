"""Which offset of a partition may be committed, with records settled in any order."""

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RecordPlace:
    """Where a record stands in Kafka; the receipt of its frame."""

    topic: str
    partition: int
    offset: int


class OffsetLedger:
    """One partition's records between their delivery and the safety of what depends on them."""

    def __init__(self) -> None:
        self._in_flight: Counter[int] = Counter()
        self._next: int | None = None

    def restart(self) -> None:
        """Note that the partition was assigned anew: the group's offset counts now, not ours."""
        self._next = None

    def delivered(self, offset: int) -> None:
        """Note a record on its way; it may come again, after a rebalance, while it still is.

        The first one after `restart` is where the group stands: what lies before it was committed,
        by whomever.
        """
        if self._next is None:
            for one in [one for one in self._in_flight if one < offset]:
                del self._in_flight[one]
        self._in_flight[offset] += 1
        self._next = offset + 1

    def settled(self, offset: int) -> None:
        """Note that everything depending on one delivery is safe; unknown offsets mean nothing."""
        self._in_flight[offset] -= 1
        if self._in_flight[offset] <= 0:
            del self._in_flight[offset]

    def position(self) -> int | None:
        """Return the offset to commit: every delivery before it is settled; None before the first.

        It falls back when a partition was emptied and filled anew; committing it then costs
        records that come twice, never one that is lost.
        """
        if self._next is None:
            return None
        return min(self._next, min(self._in_flight, default=self._next))
