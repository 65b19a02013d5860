"""What Redis keeps of a camera's replies: its streams, read back from their beginning."""

import json
from typing import Any

import redis

from pipeline.errors import PublishError
from pipeline.messages import MessageKind
from pipeline.publishers.redis_keys import stream_key
from pipeline.publishers.redis_refusals import failure
from pipeline.redact import encode_credentials, redact, url_secrets

_TIMEOUT_S = 5.0
_PAGE = 1000


def replies(
    url: str, camera_id: str, kind: MessageKind, *, prefix: str = "vigil"
) -> list[dict[str, Any]]:
    """Give a camera's messages of one kind, oldest first, as many as its stream still holds.

    Raises:
        PublishError: Redis does not answer.
    """
    key = stream_key(prefix, camera_id, kind)
    client = redis.Redis.from_url(encode_credentials(url), socket_timeout=_TIMEOUT_S)
    messages: list[dict[str, Any]] = []
    after = "-"
    try:
        while True:
            page: list[tuple[bytes, dict[bytes, bytes]]] = client.xrange(key, after, count=_PAGE)  # type: ignore[assignment]  # redis-py's type is that of all its modes
            if not page:
                return messages
            messages += [json.loads(fields[b"event"]) for _, fields in page]
            after = f"({page[-1][0].decode()}"
    except redis.RedisError as error:
        raise PublishError(failure(error).reason, redact(str(error), *url_secrets(url))) from None
    finally:
        client.close()
