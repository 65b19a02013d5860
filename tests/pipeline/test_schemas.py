from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry, Resource

from pipeline.messages import KINDS, MessageKind, schema
from tests.servers.node import Ajv
from tests.wire import validate

EXAMPLES: dict[MessageKind, dict[str, Any]] = {kind: schema(kind)["examples"][0] for kind in KINDS}
TOLD = """camera_id worker_id term seq captured_at inferred_at published_at frame_age_ms window
    tokens model demo_model degraded damaged"""
ASKED = "question_id question kind answer p"
FIELDS: dict[MessageKind, str] = {
    "caption": f"{TOLD} text truncated",
    "answer": f"{TOLD} {ASKED} mass reason reused truncated asked_by",
    "event": f"{TOLD} {ASKED} phase event_id started_at ended_at reason pictures clip test",
    "status": """camera_id worker_id term seq published_at state reason detail since
        codec width height fps keyframe_every_s lag_ms next_try_at""",
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_fields_of_a_kind_are_always_there(kind: MessageKind) -> None:
    Draft202012Validator.check_schema(schema(kind))
    about_data = schema(kind)["properties"]["data"]
    assert set(about_data["properties"]) == set(FIELDS[kind].split())
    assert set(about_data["required"]) == set(FIELDS[kind].split())


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_lets_fields_in_that_it_does_not_know(kind: MessageKind) -> None:
    sent = deepcopy(EXAMPLES[kind])
    sent["traceparent"] = "a CloudEvents extension"
    sent["data"]["from_tomorrow"] = {"x": 1}
    Draft202012Validator(schema(kind)).validate(sent)
    with pytest.raises(ValidationError, match="from_tomorrow"):
        validate(sent)  # what we send ourselves is written down


@pytest.mark.parametrize("kind", KINDS)
def test_dataschema_is_the_part_of_the_schema_that_is_about_data(kind: MessageKind) -> None:
    sent = deepcopy(EXAMPLES[kind])
    registry = Resource.from_contents(schema(kind)) @ Registry()
    part = registry.resolver().lookup(sent["dataschema"]).contents
    assert part == schema(kind)["properties"]["data"]


WRONG: dict[str, tuple[MessageKind, dict[str, Any]]] = {
    "an answer with a reason": ("answer", {"reason": "no_answer", "p": None}),
    "a probability of none": ("answer", {"answer": "unknown", "reason": "no_answer"}),
    "unknown for no reason": ("answer", {"answer": "unknown", "p": None}),
    "a reason there is not": ("answer", {"answer": "unknown", "p": None, "reason": "tired"}),
    "too much mass": ("answer", {"mass": 1.5}),
    "a count in words": ("answer", {"kind": "count", "answer": "two"}),
    "an interval as a number": ("answer", {"kind": "when", "answer": 3}),
    "a start that has a reason": ("event", {"reason": "answer"}),
    "an end without a time": ("event", {"phase": "end", "reason": "answer"}),
    "an end without a reason": ("event", {"phase": "end", "ended_at": "2026-01-02T03:04:05.000Z"}),
    "no such month": ("status", {"since": "2026-13-02T03:04:05.000Z"}),
    "seconds without thousandths": ("caption", {"captured_at": "2026-01-02T03:04:05Z"}),
}
RIGHT: dict[str, tuple[MessageKind, dict[str, Any]]] = {
    "a doubtful answer": ("answer", {"answer": "unknown", "p": 0.5, "reason": "in_doubt"}),
    "a count of no answer": (
        "answer",
        {"kind": "count", "answer": "unknown", "p": None, "reason": "no_answer"},
    ),
    "text that says unknown": ("answer", {"kind": "text", "answer": "unknown", "p": None}),
    "an interval": (
        "answer",
        {"kind": "when", "answer": "2026-01-02T03:04:05.000Z/2026-01-02T03:04:09.000Z"},
    ),
    "pictures and a clip": (
        "event",
        {
            "pictures": [{"role": "at", "key": "k", "captured_at": "2026-01-02T03:04:05.000Z"}],
            "clip": {
                "key": "k",
                "codec": "h264",
                "start": "2026-01-02T03:04:05.000Z",
                "end": "2026-01-02T03:04:09.000Z",
            },
        },
    ),
    "a camera that is known": (
        "status",
        {
            "codec": "h264",
            "width": 1920,
            "height": 1080,
            "fps": 12.5,
            "keyframe_every_s": 2,
            "lag_ms": 310,
            "next_try_at": "2026-01-02T03:04:05.000Z",
        },
    ),
}


def changed(kind: MessageKind, changes: Mapping[str, Any]) -> dict[str, Any]:
    sent = deepcopy(EXAMPLES[kind])
    return {**sent, "data": {**sent["data"], **changes}}


@pytest.mark.parametrize("name", WRONG)
def test_a_schema_refuses(name: str) -> None:
    with pytest.raises(ValidationError):
        validate(changed(*WRONG[name]))


@pytest.mark.parametrize("name", RIGHT)
def test_a_schema_takes(name: str) -> None:
    validate(changed(*RIGHT[name]))


def test_a_strict_reader_of_another_make_sees_the_same(ajv: Ajv) -> None:
    good = [example for kind in KINDS for example in schema(kind)["examples"]]
    good += [changed(kind, changes) for kind, changes in RIGHT.values()]
    bad = [changed(kind, changes) for kind, changes in WRONG.values()]
    found = ajv(
        [schema(kind) for kind in KINDS],
        [(schema(one["type"].split(".")[1])["$id"], one) for one in good + bad]
        + [(one["dataschema"], one["data"]) for one in good + bad],
    )
    for part in (found[: len(found) // 2], found[len(found) // 2 :]):
        assert part[: len(good)] == [""] * len(good)
        assert "" not in part[len(good) :]
