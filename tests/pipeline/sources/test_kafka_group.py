"""Several members of a group: who reads what, and what goes on while it changes."""

import threading
import time
import uuid

import pytest
from kafka import KafkaConsumer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from pipeline.sources.kafka import KafkaSource
from pipeline.types import RecordPlace
from tests.pipeline.sources.topics import (
    config,
    jpeg,
    members,
    place_of,
    reading,
    receipt_of,
    source_of,
    wait_until,
)
from tests.servers.kafka import Sent, create_topic, produce

pytestmark = pytest.mark.usefixtures("every_socket_is_closed")


def test_two_members_share_the_partitions_and_lose_nothing(kafka_bootstrap: str) -> None:
    topic = f"frames-{uuid.uuid4().hex[:12]}"
    create_topic(kafka_bootstrap, topic, num_partitions=2)
    received: list[list[tuple[int, int]]] = [[], []]
    sources = [source_of(config(kafka_bootstrap, topic)) for _ in range(2)]

    def run(member: int) -> None:
        with reading(sources[member]) as frames:
            for frame in frames:
                place = place_of(frame)
                received[member].append((place.partition, place.offset))
                sources[member].settle(receipt_of(frame))

    def send() -> None:
        keys = (b"gate", b"yard")
        both = [Sent(jpeg(), key=key, partition=number) for number, key in enumerate(keys)]
        produce(kafka_bootstrap, topic, both)

    threads = [threading.Thread(target=run, args=(member,)) for member in range(2)]
    threads[0].start()
    send()
    wait_until(lambda: len(received[0]) == 2)
    threads[1].start()
    wait_until(lambda: len(members(kafka_bootstrap, topic)) == 2)

    sent = 1

    def both_have_some() -> bool:
        nonlocal sent
        send()
        sent += 1
        return bool(received[1])

    wait_until(both_have_some, timeout_s=40)
    wait_until(lambda: len({*received[0], *received[1]}) == 2 * sent)

    def is_calm() -> bool:
        """Say whether nobody joins again, whatever comes."""
        nonlocal sent
        before = generations(sources)
        for _ in range(10):
            time.sleep(0.2)
            send()
            sent += 1
        wait_until(lambda: len({*received[0], *received[1]}) == 2 * sent)
        return generations(sources) == before

    assert is_calm() or is_calm(), "only the last join may come late"
    for source in sources:
        source.close()
    for thread in threads:
        thread.join()
    assert {*received[0], *received[1]} == {(p, o) for p in (0, 1) for o in range(sent)}


def generations(sources: list[KafkaSource]) -> list[int]:
    readers = [one._reader for one in sources]
    return [one._consumer.group_metadata().generation_id for one in readers if one is not None]


def test_a_member_goes_on_reading_while_the_group_waits_for_a_slow_one(
    kafka_bootstrap: str,
) -> None:
    """The driver fetches nothing until all have joined: every camera waited for the slowest."""
    topic = f"frames-{uuid.uuid4().hex[:12]}"
    create_topic(kafka_bootstrap, topic, num_partitions=2)
    source = source_of(config(kafka_bootstrap, topic))
    received: list[RecordPlace] = []
    stop = threading.Event()

    def read_all() -> None:
        with reading(source) as frames:
            received.extend(map(place_of, frames))

    def join() -> None:
        joiner = member_of(kafka_bootstrap, topic)
        while not stop.is_set():
            joiner.poll(timeout_ms=100)
        joiner.close()

    threads = [threading.Thread(target=one) for one in (read_all, join)]
    slow = member_of(kafka_bootstrap, topic)
    threads[0].start()
    wait_until(lambda: source._reader is not None and len(source._reader._partitions) == 2)
    reader = source._reader
    assert reader is not None
    try:
        while not slow.assignment():
            slow.poll(timeout_ms=100)
        (other,) = slow.assignment()  # it is heard of no more: all wait for it, for a minute
        threads[1].start()
        wait_until(lambda: reader._consumer._coordinator.rejoining)
        produce(kafka_bootstrap, topic, [Sent(jpeg(), b"gate", partition=1 - other.partition)])
        wait_until(lambda: len(received) == 1)
        assert reader._consumer._coordinator.rejoining
    finally:
        stop.set()
        slow.close()
        source.close()
        for thread in threads:
            if thread.ident is not None:
                thread.join()


def member_of(bootstrap: str, topic: str) -> KafkaConsumer:
    """Return another member of the group, which joins when it is polled."""
    return KafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=f"vigil-{topic}",
        enable_auto_commit=False,
        partition_assignment_strategy=[CooperativeStickyAssignor],
        session_timeout_ms=40_000,
        max_poll_interval_ms=60_000,
    )
