"""The other end of the publisher, for the demo and the tests: what a Redis subscriber receives."""

import json
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import redis

from pipeline.errors import PublishError
from pipeline.publishers.redis_refusals import failure
from pipeline.redact import encode_credentials, redact, url_secrets

_TIMEOUT_S = 5.0


class Subscriber:
    """Listen on every channel of a prefix, from the moment the subscriber is entered."""

    def __init__(self, url: str, *, prefix: str = "vigil") -> None:
        self._secrets = url_secrets(url)
        self._redis = redis.Redis.from_url(
            encode_credentials(url), socket_connect_timeout=_TIMEOUT_S
        )
        self._pattern = f"{prefix}:*"
        self._pubsub = self._redis.pubsub(  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
            ignore_subscribe_messages=True
        )

    def __enter__(self) -> Self:
        """Subscribe.

        Raises:
            PublishError: Redis does not answer.
        """
        try:
            self._pubsub.psubscribe(self._pattern)
            self._pubsub.get_message(timeout=_TIMEOUT_S)  # the confirmation
        except redis.RedisError as error:
            raise PublishError(failure(error).reason, redact(str(error), *self._secrets)) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the connection."""
        self._pubsub.close()
        self._redis.close()

    def receive(self, timeout_s: float) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (channel, message) as they come, until none has come for `timeout_s`.

        Raises:
            PublishError: the connection is lost.
        """
        try:
            while (item := self._pubsub.get_message(timeout=timeout_s)) is not None:
                yield item["channel"].decode(), json.loads(item["data"])
        except redis.RedisError as error:
            raise PublishError(failure(error).reason, redact(str(error), *self._secrets)) from None
