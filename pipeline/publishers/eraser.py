"""Erases what Redis keeps of a camera: pictures of its events, messages, and what it was asked."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import redis

from pipeline.errors import PublishError
from pipeline.publishers.redis_client import connect
from pipeline.publishers.redis_keys import (
    asks_key,
    cameras_key,
    carry_key,
    evidence_index_key,
    evidence_prefix,
    evidence_sizes_key,
    heartbeat_key,
)
from pipeline.publishers.redis_refusals import failure
from pipeline.publishers.redis_register import camera_of

_TOGETHER = 500  # keys in a round trip: a few ms of the server's one thread

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """What there is of a camera.

    Attributes:
        keys: all that go.
        num_pictures: how many of them are pictures or clips of events.
        num_messages: in its streams.
        asks: ids of entries of the stream of asks that are about it.
        is_known: the register names it.
        owner: the worker that watches it now; None where none does.
    """

    keys: tuple[bytes, ...]
    num_pictures: int
    num_messages: int
    asks: tuple[bytes, ...]
    is_known: bool
    owner: str | None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to erase."""
        return not (self.keys or self.asks or (self.is_known and self.owner is None))


class Eraser:
    """One connection. Every method raises PublishError where Redis is away or refuses."""

    def __init__(self, url: str, *, prefix: str) -> None:
        """Note where; connect with the first look.

        Raises:
            ConfigError: the address cannot be read.
        """
        self._redis = connect(url)
        self._is_tls = url.lower().startswith("rediss")
        self._prefix = prefix

    def find(self, camera_id: str) -> Found:
        """Return what there is of a camera; what its worker needs to go on is left out."""
        return self._answered(lambda: self._find(camera_id))

    def erase(self, camera_id: str, found: Found) -> None:
        """Delete it. What its worker publishes from now on comes anew."""
        self._answered(lambda: self._erase(camera_id, found))

    def close(self) -> None:
        """Let go of the connection."""
        self._redis.close()

    def _find(self, camera_id: str) -> Found:
        raw: Any = self._redis.hget(cameras_key(self._prefix), camera_id)
        entry = camera_of(raw) if raw else None
        owner = str(entry["owner"]) if entry else None
        if owner is not None and not self._redis.get(heartbeat_key(self._prefix, owner)):
            owner = None
        keys = {*self._redis.scan_iter(match=f"{self._prefix}:{camera_id}:*", count=1000)}
        keys.discard(evidence_sizes_key(self._prefix).encode())  # of a camera named evidence
        if owner is not None:
            keys.discard(carry_key(self._prefix, camera_id).encode())
        pictures = evidence_prefix(self._prefix, camera_id).encode()
        streams = [key for key in keys if key.endswith(b":stream")]
        asks: Any = self._redis.xrange(asks_key(self._prefix))
        return Found(
            keys=tuple(sorted(keys)),
            num_pictures=sum(key.startswith(pictures) for key in keys),
            num_messages=sum(self._redis.xlen(key) for key in streams),
            asks=tuple(id_ for id_, told in asks if told.get(b"camera") == camera_id.encode()),
            is_known=raw is not None,
            owner=owner,
        )

    def _erase(self, camera_id: str, found: Found) -> None:
        index, sizes = evidence_index_key(self._prefix), evidence_sizes_key(self._prefix)
        pictures = evidence_prefix(self._prefix, camera_id).encode()
        for keys in _batched(found.keys):
            self._redis.delete(*keys)
            gone = [key for key in keys if key.startswith(pictures)]
            if gone:
                self._redis.zrem(index, *gone)
                told: Any = self._redis.hmget(sizes, gone)
                self._redis.hdel(sizes, *gone)
                self._redis.hincrby(sizes, "total", -sum(int(one or 0) for one in told))
        for ids in _batched(found.asks):
            self._redis.xdel(asks_key(self._prefix), *ids)
        if found.is_known and found.owner is None:
            self._redis.hdel(cameras_key(self._prefix), camera_id)

    def _answered(self, talk: Callable[[], T]) -> T:
        """Return what Redis says, or raise a PublishError without the driver's text."""
        try:
            return talk()
        except (redis.RedisError, OSError, UnicodeError) as error:
            found: PublishError = failure(error, is_tls=self._is_tls)
        raise found


def _batched(what: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (what[begin : begin + _TOGETHER] for begin in range(0, len(what), _TOGETHER))
