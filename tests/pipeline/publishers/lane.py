"""An outbox and a publisher of it, in the hands of a test, and what a reader of Redis finds."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import redis

from model.kinds.base import Published
from pipeline.clock import SystemClock
from pipeline.messages import (
    Asked,
    Message,
    MessageKind,
    Provenance,
    answer_message,
    caption_message,
    event_message,
    status_message,
)
from pipeline.outbox import Outbox
from pipeline.publishers.redis import RedisPublisher

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SOON_S = 10.0


def message(kind: MessageKind, text: str = "?", *, camera_id: str = "gate") -> Message:
    told = Provenance(
        camera_id=camera_id,
        captured_at=AT,
        inferred_at=AT + timedelta(seconds=1),
        window_start=AT - timedelta(seconds=90),
        window_end=AT,
        window_frames=91,
        tokens_kept=10,
        tokens_total=100,
        model="vigil-nano",
        demo_model=True,
        degraded=False,
    )
    asked = Asked("fire", "Fire?", "yes_no")
    match kind:
        case "caption":
            return caption_message(told, text=text)
        case "answer":
            published = Published("yes", 0.9)
            return answer_message(told, asked, published=published, mass=0.9, reused=False)
        case "event":
            return event_message(
                told,
                asked,
                answer="yes",
                p=0.9,
                phase="start",
                event_id="e",
                started_at=AT,
                ended_at=None,
                reason=None,
            )
        case _:
            return status_message(camera_id, at=AT, state="online")


class Lane:
    """An outbox and a publisher of it, in the hands of a test."""

    def __init__(self, url: str, outbox: Outbox, **options: Any) -> None:
        self.outbox = outbox
        self.url = url
        self.options = {
            "prefix": "vigil",
            "worker_id": "worker-a",
            "clock": SystemClock(),
            **options,
        }
        self.publisher = RedisPublisher(url, **self.options)

    def put(self, *messages: Message) -> list[str]:
        self.outbox.put(messages)
        return [one.id for one in messages]

    def deliver(self, *, is_confirmed: bool = True) -> int:
        """Deliver all that waits; unconfirmed, as if the replies had been lost on the way."""
        delivery = self.publisher.deliver(self.outbox.pending(1000))
        if is_confirmed:
            self.outbox.delivered(delivery.settled)
        if delivery.failure is not None:
            raise delivery.failure
        return delivery.num_published

    def run(self, stop: threading.Event) -> None:
        self.publisher.run(self.outbox, stop)

    def drain(self) -> None:
        """Run until everything that can be delivered was."""
        stop = threading.Event()
        stop.set()
        self.run(stop)

    def rebuild(self) -> None:
        self.publisher.close()
        self.publisher = RedisPublisher(self.url, **self.options)


def entries(client: redis.Redis, key: str) -> list[dict[str, str]]:
    found: Any = client.xrange(key)
    return [fields for _, fields in found]


def events(client: redis.Redis, key: str) -> list[dict[str, Any]]:
    return [json.loads(fields["event"]) for fields in entries(client, key)]


@contextmanager
def subscribed(client: Any, *patterns: str) -> Iterator[Any]:
    with client.pubsub() as subscription:
        subscription.psubscribe(*patterns)
        for _ in patterns:
            subscription.get_message(timeout=SOON_S)
        yield subscription


def ids(found: Sequence[dict[str, Any]]) -> list[str]:
    return [one["id"] for one in found]


def received(subscription: Any, count: int) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    deadline_s = time.monotonic() + SOON_S
    while len(out) < count and time.monotonic() < deadline_s:
        got = subscription.get_message(ignore_subscribe_messages=True, timeout=0.1)
        if got:
            out.append(json.loads(got["data"]))
    return out
