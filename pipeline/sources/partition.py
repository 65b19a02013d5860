"""What is known of a partition while it is assigned to this member of a group."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition

from pipeline.sources.attempts import IN_GOOD_ORDER, Attempts
from pipeline.sources.judge import Verdict
from pipeline.sources.offsets import OffsetLedger
from pipeline.types import Tenure


@dataclass(slots=True)
class Partition:
    """One assignment of a partition; the next one begins anew.

    Attributes:
        tenure: from the assignment to the loss.
        attempts: what its commits say of deaths; None until it is known where to begin.
        ledger: which of its records are done with.
        polled: records that wait for room, each with what becomes of it.
        committed: offset and text of the last commit that was confirmed.
        made_s: when the last record was made, in seconds since 1970.
        is_named: its last commit names a record that is decoded.
    """

    tenure: Tenure
    attempts: Attempts | None = None
    ledger: OffsetLedger = field(default_factory=OffsetLedger)
    polled: deque[tuple[Any, Verdict]] = field(default_factory=deque)
    committed: tuple[int, str] | None = None
    made_s: float | None = None
    is_named: bool = False

    def begin(self, offset: int) -> None:
        """Note that a record is decoded from now on; the next commit names it."""
        if self.attempts is not None:
            self.attempts.begin(offset)
            self.is_named = True

    def ended(self, offset: int) -> None:
        """Note that a record was decoded, or passed over, and nobody died of it."""
        if self.attempts is not None:
            self.attempts.end(offset)

    def is_acquitted(self) -> bool:
        """Say, once, whether the record that was named has been decoded."""
        is_over = self.is_named and self.attempts is not None and not self.attempts.is_trying
        self.is_named = self.is_named and not is_over
        return is_over

    def to_commit(self, *, is_last: bool) -> OffsetAndMetadata | None:
        """Return what is to be committed; None where nothing has moved since the last commit."""
        position = self.ledger.position()
        if self.attempts is None or position is None:
            return None
        metadata = IN_GOOD_ORDER if is_last else self.attempts.metadata
        if self.committed == (position, metadata):
            return None
        return OffsetAndMetadata(position, metadata, -1)


def to_commit(
    partitions: Mapping[int, Partition], wanted: Iterable[TopicPartition], *, is_last: bool
) -> dict[TopicPartition, OffsetAndMetadata]:
    """Return what is to be committed of the wanted partitions, of those that have moved."""
    found = {}
    for one in wanted:
        partition = partitions.get(one.partition)
        offset = partition.to_commit(is_last=is_last) if partition else None
        if offset is not None:
            found[one] = offset
    return found


def are_done(partitions: Iterable[Partition]) -> bool:
    """Say whether all that was delivered of partitions is settled."""
    return not any(one.ledger.has_in_flight for one in partitions)
