"""What is known of a partition while it is assigned to this member of a group."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kafka import OffsetAndMetadata

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
    """

    tenure: Tenure
    attempts: Attempts | None = None
    ledger: OffsetLedger = field(default_factory=OffsetLedger)
    polled: deque[tuple[Any, Verdict]] = field(default_factory=deque)
    committed: tuple[int, str] | None = None
    made_s: float | None = None

    def to_commit(self, *, is_last: bool) -> OffsetAndMetadata | None:
        """Return what is to be committed; None where nothing has moved since the last commit."""
        position = self.ledger.position()
        if self.attempts is None or position is None:
            return None
        metadata = IN_GOOD_ORDER if is_last else self.attempts.metadata
        if self.committed == (position, metadata):
            return None
        return OffsetAndMetadata(position, metadata, -1)


def are_done(partitions: Iterable[Partition]) -> bool:
    """Say whether all that was delivered of partitions is settled."""
    return not any(one.ledger.has_in_flight for one in partitions)
