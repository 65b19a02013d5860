"""What Vigil says: CloudEvents 1.0 messages and their schemas.

The four kinds are `caption`, `answer`, `event` and `status`. A message is made where the inference
or the camera is, gets its sequence number in the outbox, and its source, its sender and its
publishing time when it leaves. All fields of a kind are always there; one that nobody can tell is
null. CloudEvents 1.0: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any, Literal, get_args
from uuid import uuid4

from model.kinds import CAPTION, kind_of
from model.kinds.base import Published
from pipeline.carry import Carried
from pipeline.errors import ConfigError
from pipeline.ids import message_id
from pipeline.pictures import Clip, Picture
from pipeline.redact import redact
from pipeline.types import CameraState, Phase, RecordPlace, Video

MessageKind = Literal["caption", "answer", "event", "status"]
KINDS: tuple[MessageKind, ...] = get_args(MessageKind)

AskedBy = Literal["standing", "ask"]
"""Who put a question: the settings, again and again, or somebody, once."""

EndReason = Literal[
    "answer",
    "question_changed",
    "question_removed",
    "events_off",
    "camera_removed",
    "camera_lost",
    "stale",
]
"""Why an event ended."""

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
        demo_model: whether it is a demonstration, which knows only a rendered world.
        degraded: whether the camera's status is that, as under load or where its pictures are late.
        damaged: whether pictures in the window are damaged.
        record: what the newest frame was made from, for the message's id; None for no record.
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
    demo_model: bool
    degraded: bool
    damaged: bool = False
    record: RecordPlace | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.tokens_kept <= self.tokens_total:
            raise ConfigError(
                "tokens: expected 0 <= kept <= total, "
                f"got kept {self.tokens_kept}, total {self.tokens_total}"
            )


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as messages tell it.

    Attributes:
        question_id: its slug.
        question: its words.
        kind: how it is answered.
    """

    question_id: str
    question: str
    kind: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message that has no number yet.

    Attributes:
        kind: what it is.
        camera_id: the camera it is about.
        id: unique, and the same however often it is delivered.
        body: the CloudEvents envelope but for what is put in when it leaves: `source`, and of
            `data` the fields `worker_id`, `term`, `seq` and `published_at`.
        carried: what whoever takes the camera over must know with it.
        pictures: what its `pictures` name.
    """

    kind: MessageKind
    camera_id: str
    id: str
    body: Mapping[str, Any]
    carried: Carried | None = None
    pictures: tuple[Picture, ...] = ()


def caption_message(provenance: Provenance, *, text: str, is_truncated: bool = False) -> Message:
    """Return a caption; `is_truncated` says whether it was cut at its limit."""
    data = {**_told(provenance), "text": text, "truncated": is_truncated}
    return _message("caption", _id("caption", provenance), at=provenance.inferred_at, data=data)


def answer_message(
    provenance: Provenance,
    asked: Asked,
    *,
    published: Published,
    mass: float | None,
    reused: bool,
    is_truncated: bool = False,
    asked_by: AskedBy = "standing",
) -> Message:
    """Return one evaluation of a question.

    Args:
        provenance: what the model had seen.
        asked: the question.
        published: the answer, `unknown` where it has a reason; its probability or None.
        mass: probability that the model gave to answering at all, or None.
        reused: nothing was sent since the last evaluation, so that one stands.
        is_truncated: the answer is text that was cut at its limit.
        asked_by: who asked.

    Raises:
        InputError: the answer is not of its kind.
        ConfigError: the kind is that of captions, `p` or `mass` is no probability, or they do not
            go with the reason.
    """
    reason = published.reason
    if reason is not None and published.answer != "unknown":
        raise ConfigError(f"answer: expected unknown with a reason, got {published.answer!r}")
    if reason not in (None, "in_doubt") and published.p is not None:
        raise ConfigError(f"p: expected None with reason {reason}, got {published.p}")
    data = {
        **_told(provenance),
        **_answered(asked, published.answer, p=published.p),
        "mass": _probability("mass", mass),
        "reason": reason,
        "reused": reused,
        "truncated": is_truncated,
        "asked_by": asked_by,
    }
    its_id = _id("answer", provenance, question_id=asked.question_id)
    return _message("answer", its_id, at=provenance.inferred_at, data=data)


def event_message(  # noqa: PLR0913 - a message is as wide as its schema
    provenance: Provenance,
    asked: Asked,
    *,
    answer: str | int,
    p: float | None,
    phase: Phase,
    event_id: str,
    started_at: datetime,
    ended_at: datetime | None,
    reason: EndReason | None,
    pictures: tuple[Picture, ...] = (),
    clip: Clip | None = None,
) -> Message:
    """Return the start, an update or the end of an event.

    Args:
        provenance: what the model had seen.
        asked: the question it is about.
        answer: as messages give it.
        p: probability that what the event is about holds, in [0, 1], or None.
        phase: `start`, `update` or `end`.
        event_id: the same for all phases of one event.
        started_at: when it began.
        ended_at: when it ended; given in phase `end` and in no other.
        reason: why it ended; as `ended_at`.
        pictures: what the model saw of it.
        clip: of the camera's video; None for none.

    Raises:
        InputError: the answer is not of its kind.
        ConfigError: the kind is that of captions, `p` is no probability, or `ended_at` or `reason`
            does not go with the phase.
    """
    for name, given in (("ended_at", ended_at), ("reason", reason)):
        if (phase == "end") != (given is not None):
            raise ConfigError(f"{name}: expected in phase end alone, got {given} in {phase}")
    data = {
        **_told(provenance),
        **_answered(asked, answer, p=p),
        "phase": phase,
        "event_id": event_id,
        "started_at": rfc3339(started_at),
        "ended_at": None if ended_at is None else rfc3339(ended_at),
        "reason": reason,
        "pictures": [
            {"role": one.role, "key": one.key, "captured_at": rfc3339(one.captured_at)}
            for one in pictures
        ],
        "clip": clip
        and {
            "key": clip.key,
            "codec": clip.codec,
            "start": rfc3339(clip.start),
            "end": rfc3339(clip.end),
        },
        "test": False,
    }
    its_id = _id("event", provenance, question_id=asked.question_id, phase=phase)
    made = _message("event", its_id, at=provenance.inferred_at, data=data)
    return replace(made, pictures=pictures)


def status_message(  # noqa: PLR0913 - a message is as wide as its schema
    camera_id: str,
    *,
    at: datetime,
    state: CameraState,
    since: datetime | None = None,
    reason: str | None = None,
    detail: str | None = None,
    video: Video | None = None,
    lag_ms: int | None = None,
    next_try_at: datetime | None = None,
) -> Message:
    """Return what became of a camera.

    Args:
        camera_id: which.
        at: when that is said.
        state: what it is now.
        since: since when; None for now.
        reason: one of a few words, as in `pipeline.errors.SourceReason`.
        detail: for people; credentials are blanked.
        video: what is known of its video.
        lag_ms: how old its last frame was when it came.
        next_try_at: when it is connected to again.
    """
    data = {
        "camera_id": camera_id,
        "state": state,
        "reason": reason,
        "detail": None if detail is None else redact(detail),
        "since": rfc3339(since or at),
        "codec": video.codec if video else None,
        "width": video.width_px if video else None,
        "height": video.height_px if video else None,
        "fps": video.fps if video else None,
        "keyframe_every_s": video.keyframe_every_s if video else None,
        "lag_ms": lag_ms,
        "next_try_at": None if next_try_at is None else rfc3339(next_try_at),
    }
    return _message("status", str(uuid4()), at=at, data=data)


def said_again(message: Message, *, at: datetime) -> Message:
    """Return a message with the same `data` as another: one that readers have lost."""
    its_id = str(uuid4())
    body = {**message.body, "id": its_id, "time": rfc3339(at)}
    return Message(message.kind, message.camera_id, its_id, body)


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


def _id(kind: MessageKind, told: Provenance, *, question_id: str = "", phase: str = "") -> str:
    return message_id(kind, told.camera_id, told.record, question_id=question_id, phase=phase)


def _message(kind: MessageKind, its_id: str, *, at: datetime, data: Mapping[str, Any]) -> Message:
    camera_id: str = data["camera_id"]
    body = {
        "specversion": "1.0",
        "id": its_id,
        "type": f"vigil.{kind}.v1",
        "subject": f"camera/{camera_id}",
        "time": rfc3339(at),
        "datacontenttype": "application/json",
        "dataschema": f"urn:vigil:{kind}:v1#/properties/data",
        "data": data,
    }
    return Message(kind, camera_id, its_id, body)


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
        "demo_model": told.demo_model,
        "degraded": told.degraded,
        "damaged": told.damaged,
    }


def _answered(asked: Asked, answer: str | int, *, p: float | None) -> dict[str, Any]:
    if asked.kind == CAPTION:
        raise ConfigError("kind: expected that of a question, got a caption")
    kind_of(asked.kind).check_published(answer)
    return {
        "question_id": asked.question_id,
        "question": asked.question,
        "kind": asked.kind,
        "answer": answer,
        "p": _probability("p", p),
    }


def _probability(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    if not (math.isfinite(value) and -_ROUNDING <= value <= 1 + _ROUNDING):
        raise ConfigError(f"{name}: expected a probability in [0, 1] or None, got {value}")
    return round(min(max(value, 0.0), 1.0), 6)
