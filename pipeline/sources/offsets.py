"""Which offset of a partition may be committed, with records settled in any order."""

from collections import Counter
from typing import Any

from pipeline.types import RecordPlace, Tenure


def place_of(record: Any, tenure: Tenure | None = None) -> RecordPlace:
    """Return where a record stands, as the driver gave it."""
    return RecordPlace(record.topic, record.partition, record.offset, tenure, record.timestamp)


class OffsetLedger:
    """One partition's records between their delivery and the safety of what depends on them."""

    def __init__(self) -> None:
        self._in_flight: Counter[int] = Counter()
        self._next: int | None = None

    def restart(self, offset: int) -> None:
        """Note that the partition was assigned anew and is read from here.

        What lies before was committed, by whomever, or is passed over.
        """
        for one in [one for one in self._in_flight if one < offset]:
            del self._in_flight[one]
        self._next = offset

    def jumped(self, offset: int) -> None:
        """Note that the records between the last one and this are passed over."""
        self._next = offset

    def delivered(self, offset: int) -> None:
        """Note a record on its way; it may come again, after a rebalance, while it still is."""
        self._in_flight[offset] += 1
        self._next = offset + 1

    def settled(self, offset: int) -> None:
        """Note that everything depending on one delivery is safe; unknown offsets mean nothing."""
        self._in_flight[offset] -= 1
        if self._in_flight[offset] <= 0:
            del self._in_flight[offset]

    @property
    def has_in_flight(self) -> bool:
        """Whether anything is delivered and not settled."""
        return bool(self._in_flight)

    def position(self) -> int | None:
        """Return the offset to commit: every delivery before it is settled; None at first.

        It falls back when a partition was emptied and filled anew; committing it then costs
        records that come twice, never one that is lost.
        """
        if self._next is None:
            return None
        return min(self._next, min(self._in_flight, default=self._next))
