"""Pictures of events onto Redis, each before its message: expiring, and bounded in all.

A picture that Redis does not take is lost, and its message goes out without it. Where the message
is not taken either, both are tried again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import structlog

from pipeline.metrics import EVIDENCE_LOST
from pipeline.observer import UNOBSERVED, Observer
from pipeline.publishers import redis_scripts as scripts
from pipeline.publishers.redis_keys import evidence_index_key, evidence_sizes_key
from pipeline.publishers.redis_refusals import failure
from pipeline.stored import Stored

_log = structlog.get_logger(__name__)


class Pipe(Protocol):
    """Commands that go out together."""

    def eval(self, script: str, numkeys: int, /, *keys_and_args: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where pictures are put.

    Attributes:
        keep_s: they expire after so long; 0: none is put there.
        max_bytes: bound on all that lie there, of all workers of a prefix; the oldest give way.
        observer: told of what is lost.
    """

    keep_s: float = 0.0
    max_bytes: int = 0
    observer: Observer = UNOBSERVED
    _warned: set[str] = field(default_factory=set)

    def put(self, pipe: Pipe, stored: Stored, *, prefix: str, at: datetime) -> None:
        """Put a message's pictures, before the message."""
        for picture in stored.message.pictures if self.keep_s else ():
            self.put_one(pipe, picture.key, data=picture.jpeg, prefix=prefix, at=at)

    def put_one(self, pipe: Pipe, key: str, *, data: bytes, prefix: str, at: datetime) -> Any:
        """Put one thing; the reply is SHELVED or TOO_LARGE."""
        return pipe.eval(
            scripts.EVIDENCE,
            3,
            key,
            evidence_index_key(prefix),
            evidence_sizes_key(prefix),
            data,
            round(1000 * self.keep_s),
            self.max_bytes,
            round(1000 * at.timestamp()),
        )

    def judged(self, batch: Sequence[Stored], replies: Sequence[object]) -> list[object]:
        """Return the replies to the messages themselves; count pictures that are lost for good."""
        left = iter(replies)
        return [self._judged(stored, left) for stored in batch]

    def _judged(self, stored: Stored, replies: Iterator[object]) -> object:
        pictures = stored.message.pictures if self.keep_s else ()
        found = [next(replies) for _ in pictures]
        reply = next(replies)
        if isinstance(reply, Exception):
            return reply
        for one in found:
            self.judge(one)
        return reply

    def judge(self, reply: object) -> None:
        """Count what is lost by the reply to `put_one`, or by its exception."""
        if reply == scripts.SHELVED:
            return
        reason = failure(reply).reason if isinstance(reply, Exception) else "max_bytes"
        self.observer.count(EVIDENCE_LOST, reason=reason)
        if reason not in self._warned:
            self._warned.add(reason)
            _log.warning("evidence_lost", reason=reason)


NO_SHELF = Shelf()
"""Puts no picture anywhere."""
