"""What readers of Redis get: one follows the streams, one listens on the channels."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import redis

from pipeline.messages import KINDS, MessageKind
from pipeline.publishers.redis_keys import stream_key
from tests.chaos.truth import CAMERAS, Span
from tests.chaos.worker_process import now_ms
from tests.wire import validate

PREFIX = "vigil"
LOOK_S = 0.2
PAGE = 500
VALIDATE_EVERY = 10  # answers and captions; a schema takes milliseconds, and there are many

Lane = tuple[str, MessageKind]
_KEPT = (
    *("question_id", "answer", "reason", "phase", "event_id", "started_at", "ended_at", "state"),
    *("captured_at", "frame_age_ms", "window", "worker_id", "term"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a stream.

    Attributes:
        lane: the camera and the kind.
        written_ms: when Redis took it, by its own clock.
        id: of the message.
        seq: its number.
        made_ms: when it was made.
        said: what is judged of its `data`.
    """

    lane: Lane
    written_ms: float
    id: str
    seq: int
    made_ms: float
    said: dict[str, Any]


def ms_of(time: str) -> float:
    """A message's time, in milliseconds since 1970."""
    return round(1000 * datetime.fromisoformat(time).timestamp())


class StreamReader:
    """Follows every stream from the last entry it has had, through whatever happens to Redis.

    Its record is what Redis has had, also where Redis itself has forgotten it.
    """

    def __init__(
        self, connect: Callable[[], redis.Redis], *, camera_ids: Iterable[str] = CAMERAS
    ) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._keys = {
            stream_key(PREFIX, camera_id, kind): (camera_id, kind)
            for camera_id in camera_ids
            for kind in KINDS
        }
        self._last = dict.fromkeys(self._keys, "0-0")
        self.entries: list[Entry] = []
        self.wrong: list[str] = []

    def follow(self, stop: threading.Event) -> None:
        """Read until `stop`; a thread of its own."""
        client = self._connect()
        while not stop.wait(LOOK_S):
            try:
                self.absorb(client)
            except (redis.RedisError, OSError):
                client.close()
                client = self._connect()
        client.close()

    def absorb(self, client: redis.Redis, *, key: str = "", kept_as: str = "") -> None:
        """Read all there is now.

        Args:
            client: of the server, or of another one that has its data.
            key: of this stream alone.
            kept_as: the name that this stream has now.
        """
        with self._lock:
            if key:
                self._read(client, key, kept_as or key)
                return
            for name in self._keys:  # one by one: one that is no stream must not hide the others
                try:
                    self._read(client, name, name)
                except redis.ResponseError as error:
                    if "WRONGTYPE" not in str(error):
                        raise

    def _read(self, client: redis.Redis, key: str, kept_as: str) -> None:
        while True:
            # redis-py's type is that of all its modes
            found: Any = client.xrange(kept_as, f"({self._last[key]}", count=PAGE)
            self._take(key, found)
            if len(found) < PAGE:
                return

    def _take(self, key: str, found: list[tuple[str, dict[str, str]]]) -> None:
        for entry_id, fields in found:
            self._last[key] = entry_id
            message = json.loads(fields["event"])
            lane = self._keys[key]
            if lane[1] in ("event", "status") or len(self.entries) % VALIDATE_EVERY == 0:
                validate(message)
            data = message["data"]
            if (data["camera_id"], fields["id"]) != (lane[0], message["id"]):
                self.wrong.append(f"{key} {entry_id}: another's message, {message['id']}")
            self.entries.append(
                Entry(
                    lane=lane,
                    written_ms=float(entry_id.split("-")[0]),
                    id=message["id"],
                    seq=data["seq"],
                    made_ms=ms_of(message["time"]),
                    said={name: data[name] for name in _KEPT if name in data},
                )
            )


class Listener:
    """Hears every channel, and connects again when it is cut off."""

    def __init__(self, connect: Callable[[], redis.Redis]) -> None:
        self._connect = connect
        self.heard: Counter[str] = Counter()
        self.listened: list[Span] = []

    def listen(self, stop: threading.Event) -> None:
        """Listen until `stop`; a thread of its own."""
        while not stop.wait(LOOK_S):
            begun_ms = None
            try:
                with self._connect() as client, client.pubsub() as subscription:
                    subscription.psubscribe(f"{PREFIX}:*")
                    while not stop.is_set():
                        got = subscription.get_message(timeout=LOOK_S)
                        if got and got["type"] == "psubscribe":
                            begun_ms = now_ms()
                        elif got:
                            self.heard[json.loads(got["data"])["id"]] += 1
            except (redis.RedisError, OSError):
                pass
            if begun_ms is not None:
                self.listened.append(Span(begun_ms, now_ms()))
