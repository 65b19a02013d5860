"""Where a member stands in its consumer group: since which generation, and whether in vain."""

from typing import Any

import structlog
from kafka.structs import MemberState

from pipeline.types import Tenure

log = structlog.get_logger("vigil")


class Membership:
    """One member's place in its group."""

    def __init__(self, consumer: Any, topic: str) -> None:
        """Begin before the first assignment; `consumer` is a KafkaConsumer."""
        self._consumer = consumer
        self._topic = topic
        self._is_idle = False

    def tenure(self) -> Tenure:
        """Return one that begins now."""
        group = self._consumer.group_metadata()
        return Tenure(group.group_id, max(0, group.generation_id))

    def look(self) -> None:
        """Say once where there are more members than partitions, and this one has none."""
        group, has_any = self._consumer.group_metadata(), bool(self._consumer.assignment())
        is_idle = group.state is MemberState.STABLE and not has_any
        if is_idle and not self._is_idle:
            num_partitions = len(self._consumer.partitions_for_topic(self._topic) or ())
            log.warning(
                "no_partition_for_this_worker",
                topic=self._topic,
                partitions=num_partitions,
                detail=f"the topic has {num_partitions} partitions, and other workers of the group "
                f"{group.group_id!r} have all of them: expected at least one for each worker",
            )
        self._is_idle = is_idle
