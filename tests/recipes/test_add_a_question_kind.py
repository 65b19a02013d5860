"""A question kind is one file and one entry: here is one, from its setting to its event."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from model.errors import InputError
from model.kinds import KINDS
from model.kinds.base import (
    Branch,
    Forms,
    Kind,
    Limits,
    NewReader,
    Reading,
    Scored,
    Vocabulary,
    softmax,
)
from model.types import Answer
from pipeline.clock import SystemClock
from pipeline.errors import ConfigError
from pipeline.outbox import Outbox
from pipeline.types import Overflow
from tests.fakes import frame_at
from tests.wire import validate
from worker.environment import load
from worker.wiring import build

LEVELS = ("low", "medium", "high")


class Level(Kind):
    """Asks how much of something there is: low, medium or high."""

    name = "level"
    closing = "Answer low, medium or high."

    def readers(self, vocabulary: Vocabulary, *, limits: Limits, forms: Forms) -> NewReader:  # noqa: ARG002
        ids = tuple(vocabulary.encode(level)[0] for level in LEVELS)
        return lambda _question, suffix: _LevelReader(suffix, ids)

    def target(self, event_on: str, options: Sequence[str]) -> str | int | None:  # noqa: ARG002
        if event_on not in ("", *LEVELS):
            raise InputError("event_on: expected low, medium or high")
        return event_on or None

    def event_p(self, answer: Answer, target: str | int) -> float | None:
        return answer.p if answer.value == target else 0.0


class _LevelReader(Scored):
    """Weighs the first tokens of the three words."""

    def __init__(self, suffix: Sequence[int], ids: tuple[int, ...]) -> None:
        self.branches = (Branch(tuple(suffix)),)
        self.readings = (Reading(ids),)

    def begin(self, found: Sequence[Sequence[float]]) -> int | None:
        shares = softmax(found[0])
        best = shares.index(max(shares))
        self._answer = Answer(Level.name, LEVELS[best], shares[best], num_generated=0)
        return None


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    monkeypatch.setitem(KINDS, Level.name, Level())
    return {
        "VIGIL_CAMERAS__YARD__URL": "yard.mp4",
        "VIGIL_QUESTIONS__WATER__ASK": "How high is the water?",
        "VIGIL_QUESTIONS__WATER__KIND": "level",
        "VIGIL_OUTBOX__PATH": "memory",
    }


def replies(outbox: Outbox, kind: str) -> list[dict[str, Any]]:
    return [
        json.loads(stored.envelope(prefix="vigil", worker_id="w", published_at=SystemClock().now()))
        for stored in outbox.pending(100)
        if stored.message.kind == kind
    ]


def test_a_new_kind_is_asked_answered_published_and_raises_events(
    variables: Mapping[str, str], tmp_path: Path
) -> None:
    asked = {**variables, "VIGIL_OUTBOX__PATH": str(tmp_path / "outbox")}
    first = replies_of_one_frame(asked)
    [answer] = replies(first, "answer")
    first.close()
    validate(answer)
    assert answer["data"]["kind"] == "level"
    assert answer["data"]["answer"] in LEVELS
    about = {
        "VIGIL_QUESTIONS__WATER__EVENT_ON": answer["data"]["answer"],
        "VIGIL_QUESTIONS__WATER__ENTER": "0.01",
        "VIGIL_QUESTIONS__WATER__EXIT": "0",
        "VIGIL_QUESTIONS__WATER__CONFIRM": "1/1",
    }
    second = replies_of_one_frame({**variables, **about})
    [event] = replies(second, "event")
    second.close()
    validate(event)
    assert (event["data"]["phase"], event["data"]["answer"]) == ("start", answer["data"]["answer"])


def replies_of_one_frame(variables: Mapping[str, str]) -> Outbox:
    worker = build(load(variables), clock=SystemClock())
    worker.lanes.lane("yard", overflow=Overflow.WAIT).offer(frame_at(0.0))
    worker.new_runner().step()
    return worker.outbox


def test_what_the_kind_refuses_the_settings_refuse(variables: Mapping[str, str]) -> None:
    wrong = {**variables, "VIGIL_QUESTIONS__WATER__EVENT_ON": "wet"}
    with pytest.raises(ConfigError, match=r"WATER__EVENT_ON: expected low, medium or high"):
        load(wrong)
