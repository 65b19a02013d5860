"""What a message of a stream tells, as much of it as the console shows and keeps."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeVar

from pipeline.messages import MessageKind

T = TypeVar("T")
Phase = Literal["start", "update", "end"]
_PHASES: tuple[Phase, ...] = ("start", "update", "end")
AHEAD_MS = 24 * 3600 * 1000  # a clock may be wrong by a zone; further ahead is no time at all
MAX_TEXT = 4000


class UnreadableError(Exception):
    """A stream's entry that is no message of its kind; `reason` is a word to count by."""

    def __init__(self, reason: Literal["broken", "ancient", "ahead"]) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that an event names: `role`, its key in Redis, and when it was captured."""

    role: str
    key: str
    captured_at: str


@dataclass(frozen=True, slots=True)
class Clip:
    """A stretch of video that an event names: its key in Redis, its codec, its times."""

    key: str
    codec: str
    start: str
    end: str


@dataclass(frozen=True, slots=True)
class Happening:
    """What is an event's own in its messages.

    Attributes:
        event_id: the same in all its phases.
        phase: `start`, `update` or `end`.
        started_ms: since 1970, like every time in milliseconds here.
        ended_ms: None before its end.
        pictures: what the model saw of it, as far as this message names it.
        clip: None where this message names none.
        is_test: nothing happened; somebody tries.
    """

    event_id: str
    phase: Phase
    started_ms: int
    ended_ms: int | None
    pictures: tuple[Picture, ...]
    clip: Clip | None
    is_test: bool


@dataclass(frozen=True, slots=True)
class Told:
    """One message.

    Attributes:
        kind: what it is.
        camera_id: the camera it is about, by the stream that it stood in.
        at_ms: when it was said.
        seq: its running number; 0 where it has none.
        said: a caption's text, an answer in words, a status's state.
        question_id: "" where it is about no question.
        question: its words.
        question_kind: how it is answered.
        p: probability, or None.
        mass: probability of answering at all, or None.
        reason: why an answer is unknown, an event ended or a status is so.
        asked_by: `standing` or `ask`; "" where it is no answer.
        is_reused: the answer is the one before, since nothing was sent.
        kept: tokens of the window that were sent; None where it is not told.
        total: tokens that it would have had.
        detail: what else a status or a window tells, for tiles.
        happening: an event's own part.
    """

    kind: MessageKind
    camera_id: str
    at_ms: int
    seq: int
    said: str
    question_id: str = ""
    question: str = ""
    question_kind: str = ""
    p: float | None = None
    mass: float | None = None
    reason: str | None = None
    asked_by: str = ""
    is_reused: bool = False
    kept: int | None = None
    total: int | None = None
    detail: Mapping[str, Any] | None = None
    happening: Happening | None = None

    def times_ms(self) -> list[int]:
        """Return all times that it names: when it was said, an event's start and its end."""
        event = self.happening
        times = [self.at_ms, *((event.started_ms, event.ended_ms) if event else ())]
        return [one for one in times if one is not None]


def read_message(
    raw: object, *, kind: MessageKind, camera_id: str, now_ms: int, oldest_ms: int = 0
) -> Told:
    """Read one message as its stream or hash holds it, leniently in what may be missing.

    Args:
        raw: the message as UTF-8 JSON.
        kind: of the stream that it stood in.
        camera_id: as `kind`.
        now_ms: a message that names a time further ahead than a day is none.
        oldest_ms: what is from before is not kept.

    Raises:
        UnreadableError: it is no message of this kind, or one from before, or a time of it is
            before 1970 or too far ahead.
    """
    try:
        body = json.loads(raw) if isinstance(raw, str | bytes) else None
        told = _read(body, kind, camera_id)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        told = None
    if told is None or min(told.times_ms()) < 0:
        raise UnreadableError("broken")
    if told.at_ms < oldest_ms:
        raise UnreadableError("ancient")
    if max(told.times_ms()) > now_ms + AHEAD_MS:
        raise UnreadableError("ahead")
    return told


def writable(value: T) -> T:
    """Return what was read from JSON, where it can be written again.

    NaN cannot, nor half a surrogate pair: JSON has ways to say them, and nothing else has.

    Raises:
        ValueError, RecursionError: it cannot.
    """
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


def time_ms(text: object) -> int:
    """Read an RFC 3339 time as milliseconds since 1970.

    Raises:
        ValueError, TypeError: it is none.
    """
    when = datetime.fromisoformat(_words(text))
    if when.tzinfo is None:
        raise ValueError("expected a time with a zone")
    return round(when.timestamp() * 1000)


def _read(body: Any, kind: MessageKind, camera_id: str) -> Told | None:
    if body["type"] != f"vigil.{kind}.v1":
        return None
    data = body["data"]
    if data["camera_id"] != camera_id:
        return None
    at_ms, seq = time_ms(body["time"]), _whole(data.get("seq", 0))
    match kind:
        case "caption":
            said = _words(data["text"])
        case "status":
            said = _words(data["state"])
        case _:
            said = _answer(data["answer"])
    tokens = data.get("tokens") or {}
    is_asked = kind in ("answer", "event")
    return Told(
        kind=kind,
        camera_id=camera_id,
        at_ms=at_ms,
        seq=seq,
        said=said,
        question_id=_words(data["question_id"]) if is_asked else "",
        question=_words(data["question"]) if is_asked else "",
        question_kind=_words(data["kind"]) if is_asked else "",
        p=_probability(data.get("p")),
        mass=_probability(data.get("mass")),
        reason=None if data.get("reason") is None else _words(data["reason"]),
        asked_by=_words(data.get("asked_by", "standing")) if kind == "answer" else "",
        is_reused=data.get("reused") is True,
        kept=_whole(tokens["kept"]) if "kept" in tokens else None,
        total=_whole(tokens["total"]) if "total" in tokens else None,
        detail=_detail(kind, data),
        happening=_happening(data) if kind == "event" else None,
    )


def _detail(kind: MessageKind, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what tiles show besides."""
    names = (
        ("detail", "since", "codec", "width", "height", "fps", "lag_ms", "next_try_at")
        if kind == "status"
        else ("captured_at", "frame_age_ms", "model", "demo_model", "degraded", "damaged")
    )
    found = {name: data.get(name) for name in names}
    if kind != "status":
        window = data.get("window") or {}
        found["window"] = {name: window.get(name) for name in ("start", "end", "frames")}
    return writable(found)


def _happening(data: Mapping[str, Any]) -> Happening:
    phase = data["phase"]
    if phase not in _PHASES:
        raise ValueError("expected a phase")
    clip = data.get("clip")
    ended = data.get("ended_at")
    return Happening(
        event_id=_words(data["event_id"]),
        phase=phase,
        started_ms=time_ms(data["started_at"]),
        ended_ms=None if ended is None else time_ms(ended),
        pictures=tuple(
            Picture(_words(one["role"]), _words(one["key"]), _words(one["captured_at"]))
            for one in data.get("pictures") or ()
        ),
        clip=None
        if clip is None
        else Clip(*(_words(clip[name]) for name in ("key", "codec", "start", "end"))),
        is_test=data.get("test") is True,
    )


def _words(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("expected words")
    # half a surrogate pair can be written in JSON, and nowhere else
    return value[:MAX_TEXT].encode("utf-8", "replace").decode()


def _answer(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _words(value)


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise TypeError("expected a whole number")
    return value


def _probability(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= 1:
        raise TypeError("expected a probability")
    return float(value)
