"""An event's state as it is stored and sent, with what its end would have to say."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from model.errors import InputError
from model.kinds import kind_of, standing_kinds
from model.types import Question
from pipeline.events import EventMachine, time_of
from pipeline.messages import Asked
from pipeline.questions import StandingQuestion


@dataclass(slots=True)
class Kept:
    """A machine with what its end would have to say.

    Attributes:
        name: of its state in the outbox.
        camera_id: whose.
        asked: the question.
        machine: it.
        sound_s: when the last sound answer came, monotonic.
        sound_at: the same by the wall.
        limit_s: without one for so long it is given up.
        answer: the last sound one.
        is_from_before: no sound answer has come since the start of the process.
        is_stored: the outbox has its state.
    """

    name: str
    camera_id: str
    asked: Asked
    machine: EventMachine
    sound_s: float
    sound_at: datetime
    limit_s: float
    answer: str | int = "unknown"
    is_from_before: bool = False
    is_stored: bool = False

    def state(self, **more: str) -> str:
        """Return all that outlives the process, as JSON, with `more`."""
        about = {
            "question": self.asked.question,
            "kind": self.asked.kind,
            "answer": self.answer,
            "heard_at": self.sound_at.isoformat(),
        }
        return json.dumps({**more, **about, **self.machine.snapshot()})


def fingerprint_of(text: str) -> str:
    """Return which wording of its question a state is of; empty where it does not say."""
    with suppress(ValueError, TypeError, AttributeError):
        return str(json.loads(text).get("fingerprint", ""))
    return ""


def is_on_since(text: str, long_ago: datetime) -> bool:
    """Say whether a stored state is of an event that is on and was not heard of since."""
    with suppress(ValueError, TypeError, AttributeError):
        fields = json.loads(text)
        heard_at = time_of(fields.get("heard_at"))
        return fields.get("event_id") is not None and (heard_at is None or heard_at < long_ago)
    return False


def state_name(camera_id: str, standing: StandingQuestion) -> str:
    """Return the name that the state of a question's event has in the outbox."""
    return f"{camera_id}/{standing.id}/{standing.fingerprint}"


def asked_of(
    fields: Mapping[str, Any], *, question_id: str, standing: StandingQuestion | None
) -> tuple[Asked, str | int]:
    """Return the question of a stored state and its answer; 0.2.0 stored neither."""
    known = standing.question if standing else Question("yes_no", "")
    kind = str(fields.get("kind", known.kind))
    answer: str | int = fields.get("answer", "unknown")
    if kind not in standing_kinds():  # of another version
        return Asked(question_id, str(fields.get("question", known.text)), "text"), "unknown"
    try:
        kind_of(kind).check_published(answer)
    except InputError:
        answer = "unknown"
    return Asked(question_id, str(fields.get("question", known.text)), kind), answer
