"""A message in the outbox, and the whole CloudEvent that it becomes when it leaves."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from pipeline.carry import Carried
from pipeline.messages import Message, encode, rfc3339

_CARRIED = "carried"  # beside the envelope, and taken out of it again


@dataclass(frozen=True, slots=True)
class Stored:
    """A message in the outbox.

    Attributes:
        row: its place there; smaller is older.
        origin: random name of the outbox that numbered it; no other one has it.
        generation: how often that outbox had been opened. A power cut may undo the last numbers, so
            that they are given twice: the generation tells which came later.
        seq: number of this message among those of its camera and kind, from 1.
        message: what was put.
        is_late: one with a later number is not here any more, so it may have gone out before.
    """

    row: int
    origin: str
    generation: int
    seq: int
    message: Message
    is_late: bool = False

    @property
    def position(self) -> int:
        """A number that grows with every message of one origin, camera and kind."""
        return self.generation << 32 | self.seq

    @property
    def term(self) -> int:
        """Grows whenever the camera comes to another worker; 0 where none shares."""
        return self.message.carried.term if self.message.carried else 0

    def envelope(self, *, prefix: str, worker_id: str, published_at: datetime) -> bytes:
        """Return the whole CloudEvent as UTF-8 JSON.

        Args:
            prefix: of the keys and channels; all workers that share it are one source.
            worker_id: the worker that sends it.
            published_at: when.
        """
        body = self.message.body
        late = {
            "worker_id": worker_id,
            "term": self.term,
            "seq": self.seq,
            "published_at": rfc3339(published_at),
        }
        source = f"/vigil/{quote(prefix, safe='')}"
        return encode({**body, "source": source, "data": {**body["data"], **late}})


def written(message: Message) -> bytes:
    """Return a message as it lies in the outbox."""
    if message.carried is None:
        return encode(message.body)
    return encode({**message.body, _CARRIED: message.carried.as_json()})


def with_carried(message: Message, body: Mapping[str, Any]) -> Message:
    """Return the message with what lay beside its body in the outbox."""
    kept = dict(body)
    carried = kept.pop(_CARRIED, None)
    found = Carried.of_json(carried) if carried is not None else None
    return replace(message, body=kept, carried=found)
