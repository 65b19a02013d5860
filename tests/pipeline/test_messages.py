import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import InputError
from model.kinds.base import Published, Reason
from pipeline.errors import ConfigError
from pipeline.messages import (
    KINDS,
    Asked,
    AskedBy,
    EndReason,
    Message,
    Provenance,
    answer_message,
    caption_message,
    event_message,
    status_message,
)
from pipeline.stored import Stored
from pipeline.types import Phase
from tests.wire import validate

AT = datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)

PHASES: list[Phase] = ["start", "update", "end"]

moments = st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001 - hypothesis adds the time zone itself
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)
words = st.text(max_size=60)
slugs = st.from_regex(r"[a-z0-9_-]{1,20}", fullmatch=True)
ANSWERS: dict[str, st.SearchStrategy[Any]] = {
    "yes_no": st.sampled_from(["yes", "no"]),
    "choice": words,
    "count": st.integers(0, 99),
    "text": words,
}
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
        demo_model=draw(st.booleans()),
        degraded=draw(st.booleans()),
        damaged=draw(st.booleans()),
    )


@st.composite
def questions(draw: st.DrawFn) -> tuple[Asked, str | int]:
    kind = draw(st.sampled_from(list(ANSWERS)))
    return Asked(draw(slugs), draw(words), kind), draw(ANSWERS[kind])


@st.composite
def answers(draw: st.DrawFn) -> tuple[Asked, Published]:
    asked, answer = draw(questions())
    reason = draw(st.sampled_from([None, *get_args(Reason)]))
    if reason is None:
        return asked, Published(answer, draw(probabilities))
    return asked, Published("unknown", 0.5 if reason == "in_doubt" else None, reason)


@st.composite
def any_message(draw: st.DrawFn) -> Message:
    told = draw(provenance())
    match draw(st.sampled_from(KINDS)):
        case "caption":
            return caption_message(told, text=draw(words), is_truncated=draw(st.booleans()))
        case "answer":
            asked, published = draw(answers())
            return answer_message(
                told,
                asked,
                published=published,
                mass=draw(probabilities),
                reused=draw(st.booleans()),
                is_truncated=draw(st.booleans()),
                asked_by=draw(st.sampled_from(get_args(AskedBy))),
            )
        case "event":
            phase = draw(st.sampled_from(PHASES))
            asked, answer = draw(questions())
            return event_message(
                told,
                asked,
                answer=draw(st.sampled_from([answer, "unknown"])),
                p=draw(probabilities),
                phase=phase,
                event_id=draw(slugs),
                started_at=draw(moments),
                ended_at=draw(moments) if phase == "end" else None,
                reason=draw(st.sampled_from(get_args(EndReason))) if phase == "end" else None,
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
        "demo_model": False,
        "degraded": False,
    }
    return Provenance(**{**values, **changes})


def envelope(
    message: Message, *, prefix: str = "vigil", worker_id: str = "worker-a", seq: int = 1
) -> dict[str, Any]:
    stored = Stored(row=1, origin="o", generation=1, seq=seq, message=message)
    at = AT + timedelta(seconds=1)
    text = stored.envelope(prefix=prefix, worker_id=worker_id, published_at=at)
    body: dict[str, Any] = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    return body


def answered(kind: str, published: Published, **about: Any) -> Message:
    asked = Asked("q", "?", kind)
    return answer_message(
        told(), asked, published=published, **{"mass": None, "reused": False} | about
    )


def event(phase: Phase, **about: Any) -> Message:
    values: dict[str, Any] = {
        "answer": "no",
        "p": 0.1,
        "event_id": "e",
        "started_at": AT,
        "ended_at": AT if phase == "end" else None,
        "reason": "answer" if phase == "end" else None,
    }
    return event_message(told(), Asked("q", "?", "yes_no"), phase=phase, **{**values, **about})


@given(any_message(), st.integers(1, 2**32 - 1), st.text(min_size=1, max_size=20))
def test_every_message_keeps_to_its_schema(message: Message, seq: int, name: str) -> None:
    validate(envelope(message, prefix=name, worker_id=name, seq=seq))


def test_all_workers_of_a_prefix_are_one_source() -> None:
    message = caption_message(told(), text="a")
    here, there = (envelope(message, prefix="site a", worker_id=name) for name in ("w1", "w/2"))
    assert here["source"] == there["source"] == "/vigil/site%20a"
    assert (here["data"]["worker_id"], there["data"]["worker_id"]) == ("w1", "w/2")
    assert here["data"]["term"] == 0


def test_a_caption_reads_as_written_down() -> None:
    message = caption_message(told(), text="A van stops at the gate.")
    assert envelope(message, seq=7) == {
        "specversion": "1.0",
        "id": message.id,
        "source": "/vigil/vigil",
        "type": "vigil.caption.v1",
        "subject": "camera/gate",
        "time": "2026-01-02T03:04:06.498Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:vigil:caption:v1#/properties/data",
        "data": {
            "text": "A van stops at the gate.",
            "truncated": False,
            "camera_id": "gate",
            "worker_id": "worker-a",
            "term": 0,
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
            "demo_model": False,
            "degraded": False,
            "damaged": False,
            "published_at": "2026-01-02T03:04:06.678Z",
            "seq": 7,
        },
    }


def test_a_count_is_an_integer_in_json() -> None:
    assert envelope(answered("count", Published(3, 0.8)))["data"]["answer"] == 3


def beside_provenance(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a message says besides what is in every caption, too."""
    shared = envelope(caption_message(told(), text="a"))["data"].keys() - {"text", "truncated"}
    return {name: value for name, value in said.items() if name not in shared}


def test_an_answer_reads_as_written_down() -> None:
    message = answered(
        "yes_no", Published("unknown", None, "no_answer"), mass=0.00012345678, is_truncated=False
    )
    assert beside_provenance(envelope(message)["data"]) == {
        "question_id": "q",
        "question": "?",
        "kind": "yes_no",
        "answer": "unknown",
        "p": None,
        "mass": 0.000123,
        "reason": "no_answer",
        "reused": False,
        "truncated": False,
        "asked_by": "standing",
    }


def test_an_event_reads_as_written_down() -> None:
    assert beside_provenance(envelope(event("end"))["data"]) == {
        "question_id": "q",
        "question": "?",
        "kind": "yes_no",
        "answer": "no",
        "p": 0.1,
        "phase": "end",
        "event_id": "e",
        "started_at": "2026-01-02T03:04:05.678Z",
        "ended_at": "2026-01-02T03:04:05.678Z",
        "reason": "answer",
        "pictures": [],
        "clip": None,
        "test": False,
    }


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
    ("kind", "published", "mass", "refusal"),
    [
        ("yes_no", Published("yes", float("nan")), None, "p: expected a probability"),
        ("yes_no", Published("yes", 1.1), None, "p: expected a probability"),
        ("yes_no", Published("yes", 0.9), -0.1, "mass: expected a probability"),
        ("yes_no", Published("maybe", 0.5), None, "expected yes, no or unknown"),
        ("yes_no", Published(1, 0.5), None, "expected yes, no or unknown"),
        ("count", Published("3", 0.5), None, "expected int"),
        ("count", Published(answer=True, p=0.5), None, "expected int"),
        ("count", Published(3, None, "no_answer"), None, "expected unknown with a reason"),
        ("count", Published("unknown", 0.5, "frozen"), None, "p: expected None with reason frozen"),
        ("caption", Published("a", None), None, "got a caption"),
    ],
    ids=lambda value: str(value),
)
def test_an_answer_that_is_not_of_its_kind_is_refused(
    kind: str, published: Published, mass: float | None, refusal: str
) -> None:
    with pytest.raises((InputError, ConfigError), match=refusal):
        answered(kind, published, mass=mass)


def test_a_probability_a_rounding_error_above_one_is_one() -> None:
    said = envelope(answered("choice", Published("a", 1.0000001), mass=1.0000001))["data"]
    assert (said["p"], said["mass"]) == (1, 1)


@pytest.mark.parametrize("name", ["ended_at", "reason"])
def test_an_event_has_a_time_and_a_reason_when_it_ends_and_at_no_other_time(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: expected in phase end alone"):
        event("end", **{name: None})
    with pytest.raises(ConfigError, match=f"{name}: expected in phase end alone"):
        event("start", **{name: {"ended_at": AT, "reason": "answer"}[name]})


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ConfigError, match="time zone"):
        caption_message(told(captured_at=AT.replace(tzinfo=None)), text="a")


def test_more_tokens_kept_than_there_are_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 <= kept <= total"):
        told(tokens_kept=2, tokens_total=1)
