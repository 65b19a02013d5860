"""The streams of many cameras, read from a moment on: what is there in order, then what comes."""

import json
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

import redis

from pipeline.messages import KINDS, MessageKind
from pipeline.publishers.redis_client import connect
from pipeline.publishers.redis_keys import cameras_key, channel, stream_key
from pipeline.publishers.redis_refusals import failure

_PAGE = 200  # entries of a stream in a round trip
_BLOCK_MS = 1000  # shorter than the client waits for any answer


class Tail:
    """Reads on where it was, whatever happens to the connection: nothing is left out or repeated.

    What a stream holds no more when it is asked for is lost. The cameras are those of the register,
    looked at again and again; of one that comes later everything from the first moment on is read.

    Attributes:
        num_broken: entries that were no message, and passed over.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str,
        since: datetime,
        cameras: Collection[str] = (),
        kinds: Collection[MessageKind] = KINDS,
    ) -> None:
        """Note what to read; connect with the first read.

        Args:
            url: as `redis_address` reads it.
            prefix: of the keys.
            since: messages that came into Redis from then on, by its clock.
            cameras: their ids; all where there are none.
            kinds: of messages.

        Raises:
            ConfigError: the address cannot be read.
        """
        self.num_broken = 0
        self._redis = connect(url)
        self._is_tls = url.lower().startswith("rediss")
        self._prefix = prefix
        self._kinds = tuple(kinds)
        self._begin = f"{int(1000 * since.timestamp())}-0"
        self._is_fixed = bool(cameras)
        self._last: dict[str, str] = {}  # by stream: the id of the entry read last
        self._channels: dict[str, str] = {}
        self._add(cameras)

    def read(self) -> list[tuple[str, dict[str, Any]]]:
        """Return (channel, message) of what is next, in order; wait for it, a second at most.

        Raises:
            PublishError: Redis does not answer, or refuses.
        """
        found: Any = None
        try:
            if not self._is_fixed:
                names: Any = self._redis.hkeys(cameras_key(self._prefix))
                self._add(sorted(_text(name) for name in names))
            last: Any = self._last
            if last:
                found = self._redis.xread(last, count=_PAGE, block=_BLOCK_MS)
        except (redis.RedisError, OSError, UnicodeError) as error:
            raise failure(error, is_tls=self._is_tls) from None
        return list(self._in_order(dict(found or ())))

    @property
    def has_streams(self) -> bool:
        """Whether any camera is known, and so anything can come."""
        return bool(self._last)

    def close(self) -> None:
        """Let go of the connection."""
        self._redis.close()

    def _add(self, cameras: Collection[str]) -> None:
        for camera_id in cameras:
            for kind in self._kinds:
                key = stream_key(self._prefix, camera_id, kind)
                self._last.setdefault(key, self._begin)
                self._channels[key] = channel(self._prefix, camera_id, kind)

    def _in_order(self, found: dict[Any, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield what all streams were read up to: of a stream with a full page, more may come."""
        entries = [
            (_number(entry_id), _text(key), fields)
            for key, page in found.items()
            for entry_id, fields in page
        ]
        entries.sort(key=lambda entry: entry[:2])
        full = [_number(page[-1][0]) for page in found.values() if len(page) >= _PAGE]
        for number, key, fields in entries:
            if full and number > min(full):
                return
            self._last[key] = f"{number[0]}-{number[1]}"
            try:
                yield self._channels[key], _message(fields)
            except (ValueError, KeyError, TypeError):
                self.num_broken += 1


def _number(entry_id: bytes | str) -> tuple[int, int]:
    at_ms, _, number = _text(entry_id).partition("-")
    return int(at_ms), int(number)


def _text(name: bytes | str) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


def _message(fields: dict[bytes, bytes]) -> dict[str, Any]:
    """Read an entry.

    Raises:
        ValueError, KeyError, TypeError: it is no message.
    """
    message = json.loads(fields[b"event"])
    if not isinstance(message["data"], dict) or not isinstance(message["type"], str):
        raise TypeError("expected a message")
    return dict(message)
