"""What is taken for a one-off question, and how everything else is refused."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.types import Question
from pipeline.asks import OneOff, Refused, read_ask
from tests.fakes import EPOCH

ASK = {"id": "a-1", "camera": "gate", "question": "Is it open?"}


def test_a_question_needs_an_id_a_camera_and_words() -> None:
    one = read_ask(ASK, now=EPOCH)
    deadline_at = EPOCH + timedelta(seconds=10)
    assert one == OneOff("a-1", "gate", Question("yes_no", "Is it open?"), deadline_at)


def test_kind_options_and_deadline_are_read() -> None:
    asked = {"kind": "choice", "options": '["in", "out, or away"]', "asked_by": "console"}
    one = read_ask(ASK | asked | {"deadline": "2026-01-02T03:04:09Z"}, now=EPOCH)
    assert isinstance(one, OneOff)
    assert one.question == Question("choice", "Is it open?", ("in", "out, or away"))
    assert one.deadline_at == EPOCH + timedelta(seconds=4)
    far = read_ask(ASK | {"deadline": "2027-01-02T03:04:09Z"}, now=EPOCH)
    assert isinstance(far, OneOff)
    assert far.deadline_at == EPOCH + timedelta(seconds=60), "nobody waits for so long"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"camera": ""}, "camera: expected a camera's id, got ''"),
        ({"question": ""}, "ask: expected words for a yes_no question, got none"),
        ({"question": "x" * 501}, "question: expected at most 500 characters, got 501"),
        ({"kind": "guess"}, "kind: expected one of yes_no, choice, count, when, text, got 'guess'"),
        ({"kind": "caption"}, "kind: expected one of yes_no"),
        ({"kind": "choice"}, "options: expected"),
        ({"options": '["a", "b"]'}, "options: expected none for a yes_no question, got 2"),
        ({"kind": "choice", "options": "a,b"}, "options: expected a JSON array of words"),
        ({"kind": "choice", "options": "[" * 99_999}, "options: expected a JSON array of words"),
        ({"kind": "choice", "options": "[1, 2]"}, "options: expected a JSON array of words"),
        ({"kind": "choice", "options": r'["\ud83d", "b"]'}, "options: expected whole characters"),
        ({"deadline": "soon"}, "deadline: expected a time in RFC 3339, got 'soon'"),
        ({"deadline": "2026-01-02T03:04:09"}, "deadline: expected a time in RFC 3339"),
        ({"url": "rtsp://canary"}, "expected the fields id, camera"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_was_expected(
    fields: dict[str, str], expected: str
) -> None:
    refused = read_ask(ASK | fields, now=EPOCH)
    assert isinstance(refused, Refused)
    assert (refused.id, refused.reason) == ("a-1", "malformed")
    assert refused.detail.startswith(expected)
    assert "canary" not in refused.detail


@pytest.mark.parametrize("ask_id", ["", "a b", "a:by", "x" * 65, "\u00e9"])
def test_without_an_id_there_is_nobody_to_reply_to(ask_id: str) -> None:
    assert read_ask(ASK | {"id": ask_id}, now=EPOCH) is None


@given(
    st.dictionaries(
        st.sampled_from(["id", "camera", "question", "kind", "options", "deadline", "x"]),
        st.text() | st.sampled_from(["a", "choice", "when", "[]", "2026-01-02T03:04:09Z"]),
    )
)
def test_whatever_comes_is_taken_or_refused(fields: dict[str, Any]) -> None:
    one = read_ask(fields, now=EPOCH)
    assert one is None or isinstance(one, OneOff | Refused)
