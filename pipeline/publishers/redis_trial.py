"""Whether a Redis takes what a worker publishes: tried by publishing a message of its own."""

import secrets
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import redis

from pipeline.clock import Clock
from pipeline.errors import PublishError
from pipeline.messages import status_message
from pipeline.publishers.redis import RedisPublisher
from pipeline.publishers.redis_client import connect
from pipeline.publishers.redis_keys import carry_key, heartbeat_key, state_key, stream_key
from pipeline.stored import Stored

NewPublisher = Callable[[str], RedisPublisher]
"""A worker's id -> its publisher."""


@dataclass(frozen=True, slots=True)
class RedisFound:
    """What a Redis that takes messages tells of itself; None where it does not tell.

    Attributes:
        server: its name and version.
        max_memory_bytes: its `maxmemory`; 0 for no limit.
        policy: what it does when that is reached.
        left_behind: the keys that the trial made and may not delete.
    """

    server: str | None
    max_memory_bytes: int | None
    policy: str | None
    left_behind: tuple[str, ...]


def try_redis(url: str, *, new_publisher: NewPublisher, prefix: str, clock: Clock) -> RedisFound:
    """Publish a status and a heartbeat of a camera and worker that nobody has, and delete both.

    Whoever listens to the status of all cameras hears of that camera once, as `offline`.

    Args:
        url: where Redis is, with its credentials.
        new_publisher: as the worker makes one.
        prefix: of keys and channels.
        clock: stamps the message.

    Raises:
        PublishError: Redis cannot be reached, or refuses a part of what publishing takes.
    """
    name = f"check-{secrets.token_hex(4)}"
    message = status_message(
        name, at=clock.now(), state="offline", reason="check", detail="vigil check tries Redis"
    )
    publisher = new_publisher(name)
    with closing(connect(url)) as client:
        try:
            publisher.heartbeat({"live": False})
            delivery = publisher.deliver([Stored(1, secrets.token_hex(8), 1, 1, message)])
            if not delivery.settled:
                raise delivery.failure or PublishError(delivery.refused.get(1, "refused"))
        finally:
            publisher.close()
            left = _tidied(client, prefix=prefix, name=name)
        server, memory = _told(lambda: client.info("server")), _told(lambda: client.info("memory"))
    limit = memory.get("maxmemory")
    return RedisFound(
        server=_server(server),
        max_memory_bytes=None if limit is None else int(limit),
        policy=memory.get("maxmemory_policy"),
        left_behind=left,
    )


def _tidied(client: redis.Redis, *, prefix: str, name: str) -> tuple[str, ...]:
    """Delete what the trial wrote; return the keys that could not be deleted."""
    keys = [
        heartbeat_key(prefix, name),
        state_key(prefix, name),
        carry_key(prefix, name),
        stream_key(prefix, name, "status"),
    ]
    try:
        with suppress(redis.ResponseError):  # SCAN may not be permitted
            keys += [key for key in client.scan_iter(f"{prefix}:{name}:*") if key not in keys]
        with suppress(redis.ResponseError):
            client.delete(*keys)
            return ()
        with suppress(redis.ResponseError):
            return tuple(key for key in keys if client.exists(key))
    except (redis.RedisError, OSError):  # it is away: the trial itself says so
        return ()
    return tuple(keys)


def _told(ask: Callable[[], Any]) -> dict[str, Any]:
    with suppress(redis.RedisError, OSError):  # a user that may publish need not see this
        return dict(ask())
    return {}


def _server(info: dict[str, Any]) -> str | None:
    for field, name in (("valkey_version", "Valkey"), ("redis_version", "Redis")):
        if field in info:
            return f"{name} {info[field]}"
    return None
