"""What the supervisor needs of a publisher, of the fake and of Redis."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

import pytest

from pipeline.clock import SystemClock
from pipeline.errors import PublishError
from pipeline.messages import Message, status_message
from pipeline.outbox import Outbox
from pipeline.publishers.base import Publisher
from pipeline.publishers.redis import RedisPublisher
from pipeline.publishers.redis_keys import stream_key
from tests.fakes import EPOCH
from tests.servers.redis import StartRedis
from tests.worker.supervised import Delivered

SOON_S = 10.0


@dataclass(frozen=True)
class Destination:
    """Where messages are awaited.

    Attributes:
        connect: makes a publisher to it.
        go: makes it unreachable.
        come_back: undoes that; what had arrived is still there.
        arrived: ids of the messages that have, in order.
    """

    connect: Callable[[], Publisher]
    go: Callable[[], None]
    come_back: Callable[[], None]
    arrived: Callable[[], list[str]]


@pytest.fixture
def memory() -> Destination:
    fake = Delivered()

    def be_down(*, is_down: bool) -> None:
        fake.is_down = is_down

    return Destination(
        lambda: fake,
        lambda: be_down(is_down=True),
        lambda: be_down(is_down=False),
        lambda: [message.id for message in fake.messages],
    )


@pytest.fixture
def redis(start_redis: StartRedis) -> Destination:
    server = start_redis(is_persistent=True)

    def arrived() -> list[str]:
        with server.client() as client:
            return [fields["id"] for _, fields in client.xrange(stream_key("v", "yard", "status"))]

    return Destination(
        lambda: RedisPublisher(server.url, prefix="v", worker_id="w", clock=SystemClock()),
        server.kill,
        server.start,
        arrived,
    )


@pytest.fixture(params=["memory", "redis"])
def destination(request: pytest.FixtureRequest) -> Destination:
    found: Destination = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    box = Outbox(None, max_bytes=1_000_000)
    yield box
    box.close()


def put(outbox: Outbox, number: int) -> list[str]:
    """Put so many messages into the outbox and return their ids."""
    messages: list[Message] = [
        status_message("yard", at=EPOCH, state="online", detail=str(index))
        for index in range(number)
    ]
    outbox.put(messages)
    return [message.id for message in messages]


def stopped() -> Event:
    stop = Event()
    stop.set()
    return stop


def test_what_waits_arrives_in_order_before_a_stop_is_heeded(
    destination: Destination, outbox: Outbox
) -> None:
    ids = put(outbox, 150)
    publisher = destination.connect()
    publisher.run(outbox, stopped(), fields=dict)
    assert destination.arrived() == ids
    assert outbox.num_waiting == 0
    publisher.close()
    publisher.close()


def test_what_comes_while_it_runs_arrives_soon(destination: Destination, outbox: Outbox) -> None:
    stop = Event()
    asked = Event()

    def fields() -> dict[str, object]:
        asked.set()
        return {"model": "nano"}

    publisher = destination.connect()
    with ThreadPoolExecutor() as threads:
        running = threads.submit(publisher.run, outbox, stop, fields=fields)
        assert asked.wait(SOON_S), "nobody asked what a heartbeat carries"
        ids = put(outbox, 3) + put(outbox, 2)
        end_s = time.monotonic() + SOON_S
        while destination.arrived() != ids and time.monotonic() < end_s:
            time.sleep(0.02)
        stop.set()
        running.result(timeout=SOON_S)
    assert destination.arrived() == ids
    publisher.close()


def test_nothing_is_lost_while_the_destination_is_away(
    destination: Destination, outbox: Outbox
) -> None:
    ids = put(outbox, 2)
    destination.connect().run(outbox, stopped(), fields=dict)
    destination.go()
    ids += put(outbox, 3)
    for publisher in (destination.connect(), destination.connect()):
        with pytest.raises(PublishError):
            publisher.run(outbox, stopped(), fields=dict)
        publisher.close()
    assert outbox.num_waiting == 3
    destination.come_back()
    destination.connect().run(outbox, stopped(), fields=dict)
    assert destination.arrived() == ids


def test_it_says_that_it_works_once_messages_arrive_and_not_while_they_cannot(
    destination: Destination, outbox: Outbox
) -> None:
    told: list[int] = []

    def works() -> bool:
        told.append(outbox.num_waiting)
        return False

    put(outbox, 2)
    destination.go()
    with pytest.raises(PublishError):
        destination.connect().run(outbox, stopped(), works=works)
    assert told == []
    destination.come_back()
    destination.connect().run(outbox, stopped(), works=works)
    assert told
    assert told[-1] == 0
