"""Kafka: the topic, the group's place in it, and the topic for dead letters."""

from pipeline.errors import SourceError
from pipeline.sources.topic_trial import try_topic
from worker.feeds import kafka_config
from worker.settings import Settings
from worker.trials.found import Found, failed, source_failed


def try_reading(settings: Settings) -> Found:
    """Read the topic without joining the group."""
    config = kafka_config(settings)
    subject = f"kafka {config.topic}"
    try:
        found = try_topic(config)
    except SourceError as error:
        return source_failed(subject, error)
    letters = config.dead_letter_topic
    if found.dead_letters == "missing":
        cure = f"make it: a record that is no picture would hold {config.topic} up for ever"
        return failed(subject, f"no topic {letters} for dead letters", cure)
    if found.dead_letters == "not permitted":
        return failed(subject, f"{letters} may not be written", f"allow WRITE on topic {letters}")
    behind = "not read yet" if found.num_behind is None else f"{found.num_behind} records behind"
    return Found(
        subject,
        f"{found.num_partitions} partition(s), so that as many workers can share it; group "
        f"{config.group_id} {behind}; dead letters {letters}: {found.dead_letters}",
    )
