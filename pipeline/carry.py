"""What travels with a camera from worker to worker: how far it was told, and how its events stand.

Each message brings with it, in one step, what whoever takes the camera over must know once that
message is out: the place of the record it was made from, and the state of the question's event
after it. A record that is not newer is not asked about again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipeline.types import Frame, RecordPlace

CARRY_VERSION = "1"
"""Of what the fields of a camera's `carry` mean."""

AT, ANSWERED, MACHINE = "at:", "answered:", "machine:"
"""How the fields begin: up to where a question was told whole; up to where its answers were, while
an event message was still to come; the state of its event."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What a message brings with it.

    Attributes:
        term: grows whenever the camera comes to another worker; 0 where none shares.
        group: the consumer group that gave the camera to its worker.
        question_id: what `fields` are about.
        place: the record that they go by: older ones do not take their place.
        fields: of the camera's `carry`; one that is None is taken away.
    """

    term: int = 0
    group: str = ""
    question_id: str = ""
    place: str = ""
    fields: Mapping[str, str | None] = field(default_factory=dict)

    def pairs(self) -> list[str | int]:
        """Return the fields as the script takes them: name, whether it is there, value."""
        return [
            part
            for name, it in self.fields.items()
            for part in (name, int(it is not None), it or "")
        ]

    def as_json(self) -> list[Any]:
        """Return plain values, for `of_json`."""
        return [self.term, self.group, self.question_id, self.place, dict(self.fields)]

    @classmethod
    def of_json(cls, values: list[Any]) -> "Carried":
        """Return what `as_json` gave."""
        return cls(*values[:5])


@dataclass(frozen=True, slots=True)
class Position:
    """How far a question was told: by the record, and by when its frame was captured.

    A topic that was made anew counts from 0 again: its records are told by their time.
    """

    topic: str
    partition: int
    offset: int
    captured_at: datetime

    @classmethod
    def of(cls, frame: Frame) -> "Position | None":
        """Return a frame's; None where no group of workers shares its camera."""
        record = frame.record
        if record is None or record.tenure is None:
            return None
        return cls(record.topic, record.partition, record.offset, frame.captured_at)

    @classmethod
    def read(cls, text: str) -> "Position":
        """Return what `text` wrote.

        Raises:
            ValueError: it is none.
        """
        topic, partition, offset, captured_at = text.split(" ")
        at = datetime.fromisoformat(captured_at)
        if at.tzinfo is None:
            raise ValueError("expected a time with a zone")
        return cls(topic, int(partition), int(offset), at)

    @property
    def record(self) -> RecordPlace:
        """Where the record stands."""
        return RecordPlace(self.topic, self.partition, self.offset)

    @property
    def text(self) -> str:
        """In words that the script on the server reads too."""
        at = self.captured_at.isoformat(timespec="microseconds")
        return f"{self.topic} {self.partition} {self.offset} {at}"

    def covers(self, other: "Position") -> bool:
        """Say whether what was told up to here was told of another record too."""
        is_same_log = (self.topic, self.partition) == (other.topic, other.partition)
        return is_same_log and other.offset <= self.offset and other.captured_at <= self.captured_at


@dataclass(frozen=True, slots=True)
class Carry:
    """What Redis holds of a camera at the moment it is taken over.

    Attributes:
        term: under which it is this worker's from now on.
        tops: the last numbers that were published, by kind.
        fields: the others, by name, as messages brought them.
        was_elsewhere: another worker had it last.
    """

    term: int
    tops: Mapping[str, int] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    was_elsewhere: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known, as in a Redis that was restarted empty."""
        return not self.fields and not self.tops
