"""What Vigil says: CloudEvents 1.0 messages and their schemas.

The four kinds are `caption`, `answer`, `event` and `status`. A message is made where the inference
or the camera is, gets its sequence number in the outbox, and its source and publishing time when it
leaves. CloudEvents 1.0: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any, Literal, get_args
from urllib.parse import quote
from uuid import uuid4

from model.kinds import CAPTION, kind_of
from pipeline.errors import ConfigError
from pipeline.redact import redact
from pipeline.types import CameraState, Phase

MessageKind = Literal["caption", "answer", "event", "status"]
KINDS: tuple[MessageKind, ...] = get_args(MessageKind)

_ROUNDING = 1e-6  # a float32 softmax may sum to a little more than 1


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the model had seen, and when, as a message says it. All times aware.

    Attributes:
        camera_id: lower-case slug.
        captured_at: when the newest frame was captured.
        inferred_at: when the model answered; before `captured_at` if the camera's clock is ahead.
        window_start: capture time of the window's first frame.
        window_end: capture time of its newest.
        window_frames: frames in it.
        tokens_kept: tokens of it that were sent.
        tokens_total: tokens that full frames would have had.
        model: its name.
        degraded: whether less is done than was asked for, because of load.
    """

    camera_id: str
    captured_at: datetime
    inferred_at: datetime
    window_start: datetime
    window_end: datetime
    window_frames: int
    tokens_kept: int
    tokens_total: int
    model: str
    degraded: bool

    def __post_init__(self) -> None:
        if not 0 <= self.tokens_kept <= self.tokens_total:
            raise ConfigError(
                "tokens: expected 0 <= kept <= total, "
                f"got kept {self.tokens_kept}, total {self.tokens_total}"
            )


@dataclass(frozen=True, slots=True)
class Message:
    """A message that has no number yet.

    Attributes:
        kind: what it is.
        camera_id: the camera it is about.
        id: unique, and the same however often it is delivered.
        body: the CloudEvents envelope but for `source`, `data.seq` and `data.published_at`.
    """

    kind: MessageKind
    camera_id: str
    id: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """A message in the outbox.

    Attributes:
        row: its place there; smaller is older.
        epoch: random name of the outbox that numbered it; another one has another epoch.
        generation: how often that outbox had been opened. A power cut may undo the last numbers, so
            that they are given twice: the generation tells which came later.
        seq: number of this message among those of its camera and kind, from 1.
        message: what was put.
    """

    row: int
    epoch: str
    generation: int
    seq: int
    message: Message

    @property
    def position(self) -> int:
        """A number that grows with every message of one epoch, camera and kind."""
        return self.generation << 32 | self.seq

    def envelope(self, *, worker_id: str, published_at: datetime) -> bytes:
        """Return the whole CloudEvent as UTF-8 JSON."""
        body = self.message.body
        late = {"published_at": rfc3339(published_at), "seq": self.seq}
        source = f"/vigil/{quote(worker_id, safe='')}"
        return encode({**body, "source": source, "data": {**body["data"], **late}})


def caption_message(provenance: Provenance, *, text: str, changed: bool = True) -> Message:
    """Return a caption; `changed` says whether anything was sent since the one before."""
    return _message(
        "caption",
        provenance.camera_id,
        at=provenance.inferred_at,
        data={"text": text, "changed": changed, **_told(provenance)},
    )


def answer_message(
    provenance: Provenance,
    *,
    question_id: str,
    question: str,
    kind: str,
    answer: str | int,
    p: float | None,
    reused: bool,
) -> Message:
    """Return one evaluation of a standing question.

    Args:
        provenance: what the model had seen.
        question_id: its slug.
        question: its words.
        kind: how it is answered.
        answer: `yes`, `no` or `unknown`; an option; an integer for `count`; or text.
        p: probability in [0, 1], or None.
        reused: nothing was sent since the last evaluation, so that one stands.

    Raises:
        InputError: the answer is not of its kind.
        ConfigError: the kind is no standing question's, or `p` is no probability.
    """
    data = {
        **_asked(question_id=question_id, question=question, kind=kind, answer=answer, p=p),
        "reused": reused,
        **_told(provenance),
    }
    return _message("answer", provenance.camera_id, at=provenance.inferred_at, data=data)


def event_message(  # noqa: PLR0913 - a message is as wide as its schema
    provenance: Provenance,
    *,
    question_id: str,
    question: str,
    kind: str,
    phase: Phase,
    event_id: str,
    answer: str | int,
    p: float | None,
    started_at: datetime,
    ended_at: datetime | None,
    reason: str | None = None,
) -> Message:
    """Return the start, an update or the end of an event.

    Args:
        provenance: what the model had seen.
        question_id: the question it is about.
        question: its words.
        kind: how it is answered.
        phase: `start`, `update` or `end`.
        event_id: the same for all phases of one event.
        answer: as in `answer_message`.
        p: probability that what the event is about holds, in [0, 1], or None.
        started_at: when it began.
        ended_at: when it ended; given in phase `end` and in no other.
        reason: why it ended, where that was not the answer: `shutdown`.

    Raises:
        InputError: the answer is not of its kind.
        ConfigError: the kind is no standing question's, `p` is no probability, or `ended_at` does
            not go with the phase.
    """
    if (phase == "end") != (ended_at is not None):
        raise ConfigError(f"ended_at: expected in phase end alone, got {ended_at} in {phase}")
    data = {
        **_asked(question_id=question_id, question=question, kind=kind, answer=answer, p=p),
        "phase": phase,
        "event_id": event_id,
        "started_at": rfc3339(started_at),
        "ended_at": None if ended_at is None else rfc3339(ended_at),
        "reason": reason,
        **_told(provenance),
    }
    return _message("event", provenance.camera_id, at=provenance.inferred_at, data=data)


def status_message(
    camera_id: str,
    *,
    at: datetime,
    state: CameraState,
    reason: str | None = None,
    detail: str | None = None,
) -> Message:
    """Return what became of a camera.

    Args:
        camera_id: which.
        at: since when.
        state: what it is now.
        reason: one of a few words, as in `pipeline.errors.SourceReason`.
        detail: for people; credentials are blanked.
    """
    data = {
        "camera_id": camera_id,
        "state": state,
        "reason": reason,
        "detail": None if detail is None else redact(detail),
        "since": rfc3339(at),
    }
    return _message("status", camera_id, at=at, data=data)


def rfc3339(when: datetime) -> str:
    """Return an aware time as `2026-01-02T03:04:05.678Z`."""
    if when.tzinfo is None:
        raise ConfigError(f"time: expected one with a time zone, got {when.isoformat()}")
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(body: Mapping[str, Any]) -> bytes:
    """Return compact UTF-8 JSON.

    Half a surrogate pair becomes `?`: a question from an environment that is not UTF-8 holds some.
    """
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def schema(kind: MessageKind) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a kind's messages."""
    text = files("pipeline").joinpath("schemas", f"{kind}.v1.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _message(
    kind: MessageKind, camera_id: str, *, at: datetime, data: Mapping[str, Any]
) -> Message:
    message_id = str(uuid4())
    body = {
        "specversion": "1.0",
        "id": message_id,
        "type": f"vigil.{kind}.v1",
        "subject": f"camera/{camera_id}",
        "time": rfc3339(at),
        "datacontenttype": "application/json",
        "dataschema": f"urn:vigil:{kind}:v1#data",
        "data": data,
    }
    return Message(kind, camera_id, message_id, body)


def _told(provenance: Provenance) -> dict[str, Any]:
    told = provenance
    kept_ratio = told.tokens_kept / told.tokens_total if told.tokens_total else 0.0
    return {
        "camera_id": told.camera_id,
        "captured_at": rfc3339(told.captured_at),
        "inferred_at": rfc3339(told.inferred_at),
        "frame_age_ms": (told.inferred_at - told.captured_at) // timedelta(milliseconds=1),
        "window": {
            "start": rfc3339(told.window_start),
            "end": rfc3339(told.window_end),
            "frames": told.window_frames,
        },
        "tokens": {
            "kept": told.tokens_kept,
            "total": told.tokens_total,
            "kept_ratio": round(kept_ratio, 6),
        },
        "model": told.model,
        "degraded": told.degraded,
    }


def _asked(
    *, question_id: str, question: str, kind: str, answer: str | int, p: float | None
) -> dict[str, Any]:
    if kind == CAPTION:
        raise ConfigError("kind: expected that of a standing question, got a caption")
    kind_of(kind).check_published(answer)
    if p is not None and not (math.isfinite(p) and -_ROUNDING <= p <= 1 + _ROUNDING):
        raise ConfigError(f"p: expected a probability in [0, 1] or None, got {p}")
    return {
        "question_id": question_id,
        "question": question,
        "kind": kind,
        "answer": answer,
        "p": None if p is None else round(min(max(p, 0.0), 1.0), 6),
    }
