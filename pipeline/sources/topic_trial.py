"""Whether a topic and its dead-letter topic can be used: looked at without joining the group."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from pipeline.errors import SourceError
from pipeline.sources.broker import DRIVER_ERRORS, Connector
from pipeline.sources.kafka import KafkaConfig, connector_of

POLL_S = 2.0
_MAKES_TOPICS = "auto.create.topics.enable"


@dataclass(frozen=True, slots=True)
class TopicFound:
    """What was found of a topic.

    Attributes:
        num_partitions: how many workers of one group can share it.
        num_behind: records that the group has not settled; None where it never read the topic.
        dead_letters: whether the dead-letter topic can be written: `writable`, `made when needed`
            where the brokers make topics, `missing`, or `not permitted`.
    """

    num_partitions: int
    num_behind: int | None
    dead_letters: str


def try_topic(config: KafkaConfig) -> TopicFound:
    """Read a record, and where the group is; nothing is committed and nobody is disturbed.

    Raises:
        SourceError: no broker answers, or the topic or the group may not be read.
    """
    connector = connector_of(config)
    consumer: Any = connector.open(
        KafkaConsumer,
        what="connecting",
        group_id=config.group_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        allow_auto_create_topics=False,
    ).driver
    try:
        numbers = consumer.partitions_for_topic(config.topic)
        if not numbers:
            raise SourceError("not_found", f"no topic {config.topic!r} to read")
        partitions = [TopicPartition(config.topic, number) for number in sorted(numbers)]
        consumer.assign(partitions)
        committed = [consumer.committed(one) for one in partitions]
        consumer.poll(timeout_ms=int(1000 * POLL_S), max_records=1)
        ends = consumer.end_offsets(partitions)
    except DRIVER_ERRORS as error:
        raise connector.source_error(error, what=f"reading {config.topic!r}") from None
    finally:
        with suppress(*DRIVER_ERRORS):
            consumer.close(autocommit=False, timeout_ms=1000)
    behind = [
        max(0, ends[one] - position)
        for one, position in zip(partitions, committed, strict=True)
        if position is not None
    ]
    return TopicFound(
        num_partitions=len(partitions),
        num_behind=sum(behind) if behind else None,
        dead_letters=_dead_letters(connector, config.dead_letter_topic),
    )


def _dead_letters(connector: Connector, topic: str) -> str:
    admin: Any = connector.open(KafkaAdminClient, what="asking about topics").driver
    try:
        [found] = admin.describe_topics([topic])
        if found["error_code"] == 0:
            allowed = found.get("authorized_operations")  # a broker before 2.3 tells none
            return "not permitted" if allowed and "WRITE" not in allowed else "writable"
        return "made when needed" if _makes_topics(admin) else "missing"
    except DRIVER_ERRORS as error:
        raise connector.source_error(error, what=f"asking about {topic!r}") from None
    finally:
        with suppress(*DRIVER_ERRORS):
            admin.close()


def _makes_topics(admin: Any) -> bool:
    with suppress(*DRIVER_ERRORS, LookupError):  # who may not ask is not told
        broker = str(admin.describe_cluster()["brokers"][0]["broker_id"])
        asked = ConfigResource(ConfigResourceType.BROKER, broker, {_MAKES_TOPICS: None})
        told = admin.describe_configs([asked], config_filter="all")
        return bool(told["broker"][broker][_MAKES_TOPICS]["value"] == "true")
    return False
