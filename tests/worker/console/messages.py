"""Messages by the project's own code, as a worker would put them into Redis' streams."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import redis

from model.kinds.base import Published, Reason
from pipeline.messages import (
    Asked,
    EndReason,
    Message,
    Provenance,
    answer_message,
    caption_message,
    event_message,
    rfc3339,
    status_message,
)
from pipeline.publishers.redis_keys import state_key, stream_key
from pipeline.stored import Stored
from pipeline.types import CameraState, Phase

T0 = datetime(2026, 11, 2, 12, 0, 0, tzinfo=UTC)
GATE = Asked("gate-open", "Is the gate open?", "yes_no")
PEOPLE = Asked("people", "How many people are there?", "count")
MASKED = '<img src=x onerror="document.title=1"><b>bold</b>'


def seen(camera_id: str, at: datetime, *, kept: int = 108, total: int = 726) -> Provenance:
    return Provenance(
        camera_id=camera_id,
        captured_at=at - timedelta(milliseconds=400),
        inferred_at=at,
        window_start=at - timedelta(seconds=90),
        window_end=at,
        window_frames=91,
        tokens_kept=kept,
        tokens_total=total,
        model="vigil-nano",
        demo_model=True,
        degraded=False,
    )


def caption(text: str, at: datetime = T0, *, camera_id: str = "gate") -> Message:
    return caption_message(seen(camera_id, at), text=text)


def answer(
    said: str | int,
    at: datetime = T0,
    *,
    p: float | None = None,
    asked: Asked = GATE,
    camera_id: str = "gate",
    reason: Reason | None = None,
) -> Message:
    published = Published(said, p, reason)
    return answer_message(seen(camera_id, at), asked, published=published, mass=0.97, reused=False)


def event(
    phase: Phase,
    at: datetime = T0,
    *,
    event_id: str = "e-1",
    camera_id: str = "gate",
    asked: Asked = GATE,
    lasts_s: float = 30.0,
    reason: EndReason = "answer",
    said: str | int = "yes",
) -> Message:
    """Return a phase of an event that began at `at`."""
    is_end = phase == "end"
    return event_message(
        seen(camera_id, at + timedelta(seconds=1)),
        asked,
        answer=said,
        p=0.94,
        phase=phase,
        event_id=event_id,
        started_at=at,
        ended_at=at + timedelta(seconds=lasts_s) if is_end else None,
        reason=reason if is_end else None,
    )


def named(message: Message, pictures: Iterable[tuple[str, str]], clip: str = "") -> Message:
    """Return an event that names pictures (role, key) and a clip."""
    at = message.body["data"]["started_at"]
    told = [{"role": role, "key": key, "captured_at": at} for role, key in pictures]
    film = {"key": clip, "codec": "h264", "start": at, "end": at} if clip else None
    data = {**message.body["data"], "pictures": told, "clip": film}
    return Message(message.kind, message.camera_id, message.id, {**message.body, "data": data})


def status(
    state: CameraState, at: datetime = T0, *, camera_id: str = "gate", **about: Any
) -> Message:
    return status_message(camera_id, at=at, state=state, **about)


class Streams:
    """Puts messages where a worker puts them, numbered as a worker numbers them."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._seqs: dict[tuple[str, str], int] = {}

    def put(self, *messages: Message, max_len: int = 10_000) -> None:
        pipe = self.client.pipeline(transaction=False)
        for message in messages:
            raw = self.envelope(message)
            key = stream_key("vigil", message.camera_id, message.kind)
            pipe.xadd(key, {"event": raw, "id": message.id}, maxlen=max_len, approximate=False)
            pipe.hset(state_key("vigil", message.camera_id), _field(message), raw)
        pipe.execute()

    def raw(self, camera_id: str, text: str | bytes) -> None:
        """Put something that is no message into a camera's stream of captions."""
        self.client.xadd(stream_key("vigil", camera_id, "caption"), {"event": text})

    def envelope(self, message: Message) -> bytes:
        lane = message.camera_id, message.kind
        self._seqs[lane] = seq = self._seqs.get(lane, 0) + 1
        stored = Stored(row=seq, origin="o", generation=1, seq=seq, message=message)
        at = datetime.fromisoformat(message.body["time"])
        return stored.envelope(prefix="vigil", worker_id="worker-1", published_at=at)

    def cameras(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        """Write `vigil:cameras`."""
        self.client.hset(
            "vigil:cameras", mapping={name: json.dumps(one) for name, one in entries.items()}
        )


def listed(*questions: Asked, state: str = "online") -> dict[str, Any]:
    """Return a camera's entry in `vigil:cameras`."""
    return {
        "owner": "worker-1",
        "term": 0,
        "reason": None,
        "since": rfc3339(T0),
        "grid": {"rows": 6, "cols": 11, "token_px": 28},
        "state": state,
        "questions": {
            one.question_id: {
                "question": one.question,
                "kind": one.kind,
                "options": [],
                "every_s": 5.0,
                "target": "yes" if one.kind == "yes_no" else None,
                "enter": 0.7,
                "exit": 0.4,
            }
            for one in questions
        },
    }


def heartbeat(**fields: Any) -> str:
    return json.dumps({"worker_id": "worker-1", "run": "r", "at": rfc3339(T0), **fields})


def _field(message: Message) -> str:
    prefix = {"answer": "question:", "event": "event:"}.get(message.kind)
    return f"{prefix}{message.body['data']['question_id']}" if prefix else message.kind
