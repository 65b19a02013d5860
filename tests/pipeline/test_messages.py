import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from model.errors import InputError
from pipeline.errors import ConfigError
from pipeline.messages import (
    KINDS,
    Message,
    MessageKind,
    Provenance,
    Stored,
    answer_message,
    caption_message,
    event_message,
    schema,
    status_message,
)
from pipeline.types import Phase

AT = datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)

PHASES: list[Phase] = ["start", "update", "end"]
VALIDATORS = {
    kind: Draft202012Validator(schema(kind), format_checker=FormatChecker()) for kind in KINDS
}

moments = st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001 - hypothesis adds the time zone itself
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)
words = st.text(max_size=60)
slugs = st.from_regex(r"[a-z0-9_-]{1,20}", fullmatch=True)
probabilities = st.none() | st.floats(0, 1)


@st.composite
def provenance(draw: st.DrawFn) -> Provenance:
    total = draw(st.integers(0, 10**6))
    return Provenance(
        camera_id=draw(slugs),
        captured_at=draw(moments),
        inferred_at=draw(moments),
        window_start=draw(moments),
        window_end=draw(moments),
        window_frames=draw(st.integers(0, 500)),
        tokens_kept=draw(st.integers(0, total)),
        tokens_total=total,
        model=draw(words),
        degraded=draw(st.booleans()),
    )


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    kind, answers = draw(
        st.sampled_from(
            [
                ("yes_no", st.sampled_from(["yes", "no", "unknown"])),
                ("choice", words),
                ("count", st.integers(0, 99)),
                ("text", words),
            ]
        )
    )
    return {
        "question_id": draw(slugs),
        "question": draw(words),
        "kind": kind,
        "answer": draw(answers),
        "p": draw(probabilities),
    }


@st.composite
def any_message(draw: st.DrawFn) -> Message:
    told = draw(provenance())
    match draw(st.sampled_from(KINDS)):
        case "caption":
            return caption_message(told, text=draw(words), changed=draw(st.booleans()))
        case "answer":
            return answer_message(told, **draw(questions()), reused=draw(st.booleans()))
        case "event":
            phase = draw(st.sampled_from(PHASES))
            return event_message(
                told,
                **draw(questions()),
                phase=phase,
                event_id=draw(slugs),
                started_at=draw(moments),
                ended_at=draw(moments) if phase == "end" else None,
                reason=draw(st.none() | slugs),
            )
        case _:
            return status_message(
                told.camera_id,
                at=draw(moments),
                state=draw(
                    st.sampled_from(["connecting", "online", "offline", "frozen", "degraded"])
                ),
                reason=draw(st.none() | slugs),
                detail=draw(st.none() | words),
            )


def told(**changes: Any) -> Provenance:
    values: dict[str, Any] = {
        "camera_id": "gate",
        "captured_at": AT,
        "inferred_at": AT + timedelta(milliseconds=820),
        "window_start": AT - timedelta(seconds=120),
        "window_end": AT,
        "window_frames": 121,
        "tokens_kept": 512,
        "tokens_total": 4096,
        "model": "VideoLLaMA3-2B",
        "degraded": False,
    }
    return Provenance(**{**values, **changes})


def envelope(message: Message, *, worker_id: str = "worker-a", seq: int = 1) -> dict[str, Any]:
    stored = Stored(row=1, epoch="e", generation=1, seq=seq, message=message)
    text = stored.envelope(worker_id=worker_id, published_at=AT + timedelta(seconds=1))
    body: dict[str, Any] = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    return body


@given(any_message(), st.integers(1, 2**32 - 1), st.text(min_size=1, max_size=20))
def test_every_message_keeps_to_its_schema(message: Message, seq: int, worker_id: str) -> None:
    VALIDATORS[message.kind].validate(envelope(message, worker_id=worker_id, seq=seq))


@pytest.mark.parametrize("kind", KINDS)
def test_every_schema_is_one_and_lets_nothing_else_in(kind: MessageKind) -> None:
    Draft202012Validator.check_schema(schema(kind))
    about_data = schema(kind)["properties"]["data"]
    assert schema(kind)["additionalProperties"] is False
    assert about_data["additionalProperties"] is False
    assert set(about_data["required"]) == set(about_data["properties"])


@pytest.mark.parametrize("kind", KINDS)
def test_dataschema_names_the_part_of_the_schema_that_is_about_data(
    kind: MessageKind,
) -> None:
    known = schema(kind)
    name, _, anchor = known["properties"]["dataschema"]["const"].partition("#")
    assert name == known["$id"]
    assert known["properties"]["data"]["$anchor"] == anchor


def test_a_caption_reads_as_written_down() -> None:
    message = caption_message(told(), text="A van stops at the gate.")
    assert envelope(message, seq=7) == {
        "specversion": "1.0",
        "id": message.id,
        "source": "/vigil/worker-a",
        "type": "vigil.caption.v1",
        "subject": "camera/gate",
        "time": "2026-01-02T03:04:06.498Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:vigil:caption:v1#data",
        "data": {
            "text": "A van stops at the gate.",
            "changed": True,
            "camera_id": "gate",
            "captured_at": "2026-01-02T03:04:05.678Z",
            "inferred_at": "2026-01-02T03:04:06.498Z",
            "frame_age_ms": 820,
            "window": {
                "start": "2026-01-02T03:02:05.678Z",
                "end": "2026-01-02T03:04:05.678Z",
                "frames": 121,
            },
            "tokens": {"kept": 512, "total": 4096, "kept_ratio": 0.125},
            "model": "VideoLLaMA3-2B",
            "degraded": False,
            "published_at": "2026-01-02T03:04:06.678Z",
            "seq": 7,
        },
    }


def test_a_count_is_an_integer_in_json() -> None:
    message = answer_message(
        told(), question_id="cars", question="How many?", kind="count", answer=3, p=0.8, reused=True
    )
    assert envelope(message)["data"]["answer"] == 3


def test_ids_differ_and_stay_with_their_message() -> None:
    first, second = caption_message(told(), text="a"), caption_message(told(), text="a")
    assert first.id != second.id
    assert envelope(first)["id"] == envelope(first, seq=2)["id"] == first.id


def test_half_a_surrogate_pair_does_not_stop_a_message() -> None:
    assert envelope(caption_message(told(), text="caf\udce9"))["data"]["text"] == "caf?"


def test_a_camera_clock_that_is_ahead_shows_as_negative_age() -> None:
    message = caption_message(told(inferred_at=AT - timedelta(seconds=2)), text="a")
    assert envelope(message)["data"]["frame_age_ms"] == -2000


def test_a_status_carries_no_credential() -> None:
    message = status_message(
        "gate",
        at=AT,
        state="offline",
        reason="timeout",
        detail="rtsp://admin:c@n:a/r%y#@10.0.0.5/stream timed out",
    )
    assert "r%y#" not in json.dumps(envelope(message))
    assert "timed out" in envelope(message)["data"]["detail"]


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"p": float("nan")}, "expected a probability"),
        ({"p": 1.1}, "expected a probability"),
        ({"answer": "maybe"}, "expected yes, no or unknown"),
        ({"answer": 1}, "expected yes, no or unknown"),
        ({"kind": "count", "answer": "3"}, "expected int"),
        ({"kind": "count", "answer": True}, "expected int"),
    ],
    ids=["nan", "too-much", "no-such-answer", "not-text", "digits", "bool"],
)
def test_an_answer_that_is_not_of_its_kind_is_refused(changes: Any, refusal: str) -> None:
    values = {"question_id": "q", "question": "?", "kind": "yes_no", "answer": "yes", "p": 0.5}
    with pytest.raises((InputError, ConfigError), match=refusal):
        answer_message(told(), **{**values, **changes}, reused=False)


def test_a_probability_a_rounding_error_above_one_is_one() -> None:
    message = answer_message(
        told(), question_id="q", question="?", kind="text", answer="a", p=1.0000001, reused=False
    )
    assert envelope(message)["data"]["p"] == 1


def test_an_event_has_an_end_time_when_it_ends_and_at_no_other_time() -> None:
    values: Any = {"question_id": "q", "question": "?", "kind": "yes_no", "answer": "no", "p": 0.1}
    with pytest.raises(ConfigError, match="ended_at"):
        event_message(told(), **values, phase="end", event_id="e", started_at=AT, ended_at=None)
    with pytest.raises(ConfigError, match="ended_at"):
        event_message(told(), **values, phase="start", event_id="e", started_at=AT, ended_at=AT)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ConfigError, match="time zone"):
        caption_message(told(captured_at=AT.replace(tzinfo=None)), text="a")


def test_more_tokens_kept_than_there_are_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 <= kept <= total"):
        told(tokens_kept=2, tokens_total=1)
