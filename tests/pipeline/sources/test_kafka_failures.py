"""Brokers that are away, mute, or refuse, and sources that are closed meanwhile."""

import socket
import threading
import time
import uuid
from collections.abc import Callable

import pytest

from pipeline.errors import SourceError
from pipeline.sources.kafka import KafkaConfig, KafkaSource
from tests.pipeline.sources.topics import (
    committed,
    config,
    gate,
    place_of,
    read,
    reading,
    receipt_of,
    source_of,
    wait_until,
)
from tests.servers.kafka import (
    SASL_PASSWORD,
    SASL_USER,
    KafkaBroker,
    Sent,
    create_topic,
    produce,
)

pytestmark = pytest.mark.usefixtures("every_socket_is_closed")


def failure_of(source: KafkaSource) -> tuple[SourceError, float]:
    started_s = time.monotonic()
    with pytest.raises(SourceError) as failed:
        next(iter(source.frames()))
    return failed.value, time.monotonic() - started_s


def test_a_broker_that_is_down_is_unreachable_within_the_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    before = set(threading.enumerate())
    source = source_of(config(f"127.0.0.1:{port}", "frames", connect_timeout_s=1.5))
    error, took_s = failure_of(source)
    assert error.reason == "unreachable"
    assert took_s < 3.0
    assert set(threading.enumerate()) <= before


def test_a_broker_whose_name_does_not_resolve_is_told_by_name() -> None:
    source = source_of(config("kafka.invalid:9092", "frames", connect_timeout_s=1.0))
    error, _ = failure_of(source)
    assert error.reason == "unreachable"
    assert "the name kafka.invalid does not resolve: " in str(error)


def test_a_broker_that_never_answers_times_out() -> None:
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as mute:
        source = source_of(
            config(f"127.0.0.1:{mute.getsockname()[1]}", "frames", connect_timeout_s=1.5)
        )
        error, took_s = failure_of(source)
    assert error.reason in ("timeout", "unreachable")
    assert took_s < 4.0
    assert set(threading.enumerate()) <= before


def test_close_ends_a_connection_attempt() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        source = source_of(
            config(f"127.0.0.1:{mute.getsockname()[1]}", "frames", connect_timeout_s=30)
        )
        threading.Timer(0.5, source.close).start()
        started_s = time.monotonic()
        assert list(source.frames()) == []
        assert time.monotonic() - started_s < 5.0


def test_close_ends_an_idle_source(kafka_bootstrap: str, kafka_topic: str) -> None:
    source = source_of(config(kafka_bootstrap, kafka_topic))
    threading.Timer(1.0, source.close).start()
    started_s = time.monotonic()
    assert list(source.frames()) == []
    assert time.monotonic() - started_s < 5.0
    source.close()


def test_a_missing_topic_is_not_found(kafka_bootstrap: str) -> None:
    error, took_s = failure_of(source_of(config(kafka_bootstrap, "nowhere")))
    assert error.reason == "not_found"
    assert took_s < 10.0


def sasl(broker: KafkaBroker, topic: str, password: str) -> KafkaConfig:
    return config(
        broker.sasl_bootstrap,
        topic,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_username=SASL_USER,
        sasl_password=password,
    )


def test_a_wrong_password_is_refused_once_and_never_shown(
    kafka_broker: KafkaBroker,
) -> None:
    source_config = sasl(kafka_broker, "frames", "wr0ng/pass@word")
    error, took_s = failure_of(source_of(source_config))
    assert error.reason == "auth_failed"
    assert took_s < 5.0
    assert "wr0ng" not in f"{error!r} {error} {error.__cause__!r} {error.__context__!r}"
    assert "wr0ng" not in repr(source_config)


def test_frames_arrive_over_sasl(kafka_broker: KafkaBroker) -> None:
    topic = f"frames-{uuid.uuid4().hex[:12]}"
    create_topic(kafka_broker.bootstrap, topic)
    create_topic(kafka_broker.bootstrap, f"{topic}-dead")
    produce(kafka_broker.bootstrap, topic, [Sent(b"hello", key=b"gate"), gate(1)])
    (frame,) = read(source_of(sasl(kafka_broker, topic, SASL_PASSWORD)), 1)
    assert place_of(frame).offset == 1


def test_a_broker_that_goes_away_is_reported_and_close_does_not_hang(
    new_kafka_broker: Callable[[], KafkaBroker],
) -> None:
    broker = new_kafka_broker()
    create_topic(broker.bootstrap, "frames")
    produce(broker.bootstrap, "frames", [gate(1), gate(2)])
    source_config = config(broker.bootstrap, "frames", connect_timeout_s=2.0, session_timeout_s=3.0)
    source = source_of(source_config)
    with reading(source) as frames:
        source.settle(receipt_of(next(frames)))
        next(frames)
        wait_until(lambda: committed(broker.bootstrap, "frames") == 1)
        broker.stop()
        with pytest.raises(SourceError) as gone:
            next(frames)
        assert gone.value.reason in ("unreachable", "timeout")
        started_s = time.monotonic()
        source.close()
        assert time.monotonic() - started_s < 10.0
    broker.start()
    (frame,) = read(source_of(source_config), 1)
    assert place_of(frame).offset == 1
