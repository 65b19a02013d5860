"""Asks workers something once, by Redis, and waits for the reply."""

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import redis

from pipeline.clock import Clock
from pipeline.errors import PublishError
from pipeline.messages import rfc3339
from pipeline.publishers.redis_client import connect
from pipeline.publishers.redis_keys import asks_key, cameras_key
from pipeline.publishers.redis_refusals import failure
from pipeline.publishers.redis_register import camera_of

ASKS_KEPT = 1000
GRACE_S = 1.0  # beyond the deadline, for what a worker says of it
_BLOCK_S = 1  # shorter than the client waits for any answer

T = TypeVar("T")


class Asker:
    """One connection, for one question after another."""

    def __init__(self, url: str, *, prefix: str, clock: Clock) -> None:
        """Note where; connect with the first question.

        Raises:
            ConfigError: the address cannot be read.
        """
        self._redis = connect(url)
        self._is_tls = url.lower().startswith("rediss")
        self._prefix = prefix
        self._clock = clock

    def cameras(self) -> dict[str, Mapping[str, Any]]:
        """Return the register's entries by camera.

        Raises:
            PublishError: Redis does not answer, or refuses.
        """
        found: Any = self._answered(lambda: self._redis.hgetall(cameras_key(self._prefix)))
        entries = {name.decode("utf-8", "replace"): camera_of(one) for name, one in found.items()}
        return {camera_id: one for camera_id, one in sorted(entries.items()) if one is not None}

    def ask(self, camera_id: str, *, wait_s: float, **fields: str) -> dict[str, Any] | None:
        """Ask, and return the reply; None where none came.

        Args:
            camera_id: whom it is about.
            wait_s: until the deadline.
            fields: of the stream's entry, such as `question` and `kind`.

        Raises:
            PublishError: Redis does not answer, or refuses.
        """
        ask_id, until_s = uuid4().hex, self._clock.monotonic_s() + wait_s + GRACE_S
        deadline = rfc3339(self._clock.now() + timedelta(seconds=wait_s))
        entry: Any = {"id": ask_id, "camera": camera_id, "deadline": deadline, **fields}
        self._answered(lambda: self._redis.xadd(asks_key(self._prefix), entry, maxlen=ASKS_KEPT))
        while self._clock.monotonic_s() < until_s:
            found: Any = self._answered(
                lambda: self._redis.blpop([asks_key(self._prefix, ask_id)], timeout=_BLOCK_S)
            )
            if found:
                return dict(json.loads(found[1]))
        return None

    def close(self) -> None:
        """Let go of the connection."""
        self._redis.close()

    def _answered(self, talk: Callable[[], T]) -> T:
        """Return what Redis says, or raise a PublishError without the driver's text."""
        try:
            return talk()
        except (redis.RedisError, OSError, UnicodeError) as error:
            found: PublishError = failure(error, is_tls=self._is_tls)
        raise found
