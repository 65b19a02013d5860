"""Holds every message that any test makes to its schema, and to no field that the schema lacks."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from pipeline import messages
from pipeline.messages import KINDS, Message, MessageKind, schema
from pipeline.stored import Stored

SENT_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def closed(known: Any) -> Any:
    """A schema that allows no field it does not know: what we send is written down."""
    if isinstance(known, list):
        return [closed(part) for part in known]
    if not isinstance(known, dict):
        return known
    parts = {name: closed(part) for name, part in known.items()}
    if "required" in known:
        parts["additionalProperties"] = False
    return parts


VALIDATORS: Mapping[MessageKind, Draft202012Validator] = {
    kind: Draft202012Validator(closed(schema(kind))) for kind in KINDS
}


def validate(envelope: Mapping[str, Any]) -> None:
    """Raise a ValidationError where a published message is not of its kind."""
    VALIDATORS[envelope["type"].split(".")[1]].validate(envelope)


@pytest.fixture(autouse=True)
def every_message_keeps_to_its_schema(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Look at each message where it is made; a thread's mistakes are told when the test is over."""
    wrong: list[str] = []
    make = messages._message

    def made(kind: MessageKind, camera_id: str, **about: Any) -> Message:
        message = make(kind, camera_id, **about)
        stored = Stored(row=1, origin="o", generation=1, seq=1, message=message)
        sent = stored.envelope(prefix="vigil", worker_id="w", published_at=SENT_AT)
        error = best_match(VALIDATORS[kind].iter_errors(json.loads(sent)))
        if error is not None:
            wrong.append(f"{kind}: {error.json_path}: {error.message}")
        return message

    monkeypatch.setattr(messages, "_message", made)
    yield
    assert wrong == []
