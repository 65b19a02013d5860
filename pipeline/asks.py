"""A question that somebody asks once, as it is read from outside: bounded, and refused in words."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from model.errors import InputError
from model.kinds import kind_of, standing_kinds
from model.types import Question

Refusal = Literal["malformed", "unknown_camera", "too_many", "too_busy"]
"""Why a one-off question is not answered. The run-book has a row for each."""

REHEARSAL = "test_event"
"""Stands where a question's kind does, for an event that is made to see whether events arrive."""

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
DEFAULT_S, LONGEST_S = 10.0, 60.0  # until the deadline
MAX_CHARS = 500  # of the question, as of a standing one; of its options together
MAX_OPTIONS = 26
_FIELDS = ("id", "camera", "question", "kind", "options", "asked_by", "deadline")


@dataclass(frozen=True, slots=True)
class OneOff:
    """A question to be answered once, about one camera.

    Attributes:
        id: unique; letters, digits, - and _.
        camera_id: whom it is about.
        question: it; None for a rehearsal.
        deadline_at: nobody waits for its answer after that; aware.
    """

    id: str
    camera_id: str
    question: Question | None
    deadline_at: datetime


@dataclass(frozen=True, slots=True)
class Refused:
    """That a question is not answered: why, in a word, and what was expected and came."""

    id: str
    reason: Refusal
    detail: str


def read_ask(fields: Mapping[str, str], *, now: datetime) -> OneOff | Refused | None:
    """Read the fields of an entry of the stream of asks.

    Args:
        fields: `id`, `camera`, `question`; `kind` (default `yes_no`), `options` (a JSON array),
            `asked_by` and `deadline` (RFC 3339, at most a minute from now; default in 10 s).
        now: when it was put.

    Returns:
        None where there is nothing to reply under: no id that can be part of a key.
    """
    ask_id = fields.get("id", "")
    if not ID.fullmatch(ask_id):
        return None
    try:
        return OneOff(
            ask_id,
            _camera(fields.get("camera", "")),
            _question(fields),
            _deadline(fields.get("deadline", ""), now=now),
        )
    except InputError as error:
        return Refused(ask_id, "malformed", str(error))


def _camera(camera_id: str) -> str:
    if not camera_id or len(camera_id) > MAX_CHARS:
        raise InputError(f"camera: expected a camera's id, got {_shown(camera_id)}")
    return camera_id


def _question(fields: Mapping[str, str]) -> Question | None:
    if unknown := sorted(set(fields) - set(_FIELDS)):
        raise InputError(f"expected the fields {', '.join(_FIELDS)}, got {_shown(unknown[0])}")
    text, kind = fields.get("question", ""), fields.get("kind") or "yes_no"
    if kind == REHEARSAL:
        return None
    if kind not in standing_kinds():
        raise InputError(f"kind: expected one of {', '.join(standing_kinds())}, got {_shown(kind)}")
    if len(text) > MAX_CHARS:
        raise InputError(f"question: expected at most {MAX_CHARS} characters, got {len(text)}")
    question = Question(kind, text, _options(fields.get("options", "")))
    kind_of(kind).check(question)
    return question


def _options(text: str) -> tuple[str, ...]:
    if not text:
        return ()
    try:
        options = json.loads(text)
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, list) or not all(isinstance(one, str) for one in options):
        raise InputError(f"options: expected a JSON array of words, got {_shown(text)}")
    if len(options) > MAX_OPTIONS or sum(map(len, options)) > MAX_CHARS:
        raise InputError(
            f"options: expected at most {MAX_OPTIONS}, of {MAX_CHARS} characters together, got "
            f"{len(options)} of {sum(map(len, options))}"
        )
    return tuple(options)


def _deadline(text: str, *, now: datetime) -> datetime:
    if not text:
        return now + timedelta(seconds=DEFAULT_S)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InputError(f"deadline: expected a time in RFC 3339, got {_shown(text)}")
    return min(at, now + timedelta(seconds=LONGEST_S))


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")
