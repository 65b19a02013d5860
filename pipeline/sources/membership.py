"""Where a member stands in its consumer group: since which generation, and whether in vain."""

from typing import Any

import structlog
from kafka.structs import MemberState

from pipeline.clock import Clock
from pipeline.types import Tenure

IDLE_AFTER_S = 10.0  # a member that joins gets its partitions in the second round

log = structlog.get_logger("vigil")


class Membership:
    """One member's place in its group."""

    def __init__(self, consumer: Any, topic: str, *, clock: Clock) -> None:
        """Begin before the first assignment; `consumer` is a KafkaConsumer."""
        self._consumer = consumer
        self._topic = topic
        self._clock = clock
        self._busy_s = clock.monotonic_s()
        self._is_told = False

    def tenure(self) -> Tenure:
        """Return one that begins now."""
        group = self._consumer.group_metadata()
        return Tenure(group.group_id, max(0, group.generation_id))

    @property
    def is_settled(self) -> bool:
        """Whether the group has given out its partitions: what is not here is another member's."""
        return self._consumer.group_metadata().state is MemberState.STABLE

    def look(self) -> None:
        """Say once where there are more members than partitions, and this one has none."""
        group, has_any = self._consumer.group_metadata(), bool(self._consumer.assignment())
        now_s = self._clock.monotonic_s()
        if has_any or group.state is not MemberState.STABLE:
            self._busy_s, self._is_told = now_s, False
        elif now_s - self._busy_s >= IDLE_AFTER_S and not self._is_told:
            self._is_told = True
            num_partitions = len(self._consumer.partitions_for_topic(self._topic) or ())
            log.warning(
                "no_partition_for_this_worker",
                topic=self._topic,
                partitions=num_partitions,
                detail=f"the topic has {num_partitions} partitions, and other workers of the group "
                f"{group.group_id!r} have all of them: expected at least one for each worker",
            )
