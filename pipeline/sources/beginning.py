"""Where a partition is read from: where its group stands, or later where that is too long ago."""

from datetime import timedelta
from typing import Any

from pipeline.clock import Clock
from pipeline.sources.broker import ms

TIMEOUT_S = 10.0  # for each question to the broker
SLACK_S = 10.0  # a topic is not searched for less


class Beginning:
    """Finds where to begin, by the group's commits and by the records' own times."""

    def __init__(self, consumer: Any, *, back_s: float | None, clock: Clock) -> None:
        """Note how far back is read.

        Args:
            consumer: a KafkaConsumer; its partitions are to be paused until they have begun.
            back_s: records older than this are jumped over, unread; None for none.
            clock: what the records' times are compared with.
        """
        self._consumer = consumer
        self._back_s = back_s
        self._clock = clock

    def of(self, partition: Any) -> tuple[int, str] | None:
        """Return the group's offset and the text beside it; None where the broker does not say.

        Where the group has none, or what it had is gone, the topic's policy has chosen.
        """
        known = self._consumer.committed(partition, metadata=True, timeout_ms=ms(TIMEOUT_S))
        position = self._consumer.position(partition, timeout_ms=ms(TIMEOUT_S))
        if position is None:
            return None
        return position, known.metadata or "" if known is not None else ""

    def later(self, partition: Any, position: int) -> int:
        """Return the first offset that is not too old, at least `position`; the broker searches."""
        if self._back_s is None:
            return position
        since = self._clock.now() - timedelta(seconds=self._back_s)
        wanted = {partition: int(since.timestamp() * 1000)}
        found = self._consumer.offsets_for_times(wanted, timeout_ms=ms(TIMEOUT_S)).get(partition)
        if found is not None:
            return max(position, int(found.offset))
        end = self._consumer.end_offsets([partition], timeout_ms=ms(TIMEOUT_S))[partition]
        return max(position, int(end))

    def is_too_old(self, made_s: float) -> bool:
        """Say whether what was made then (seconds since 1970) is worth a search for newer."""
        if self._back_s is None:
            return False
        return self._clock.now().timestamp() - made_s > self._back_s + SLACK_S
