"""People who look at cameras and ask something once, by Redis; a connection of their own.

Past the outbox: a picture that could not be put there is followed by the next, and who asks is told
by the deadline. While nobody looks or asks it costs two commands a second, whatever the number of
cameras.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from threading import Event
from typing import Any

import structlog
from redis.exceptions import RedisError

from pipeline.asks import OneOff, Refused, read_ask
from pipeline.clock import Clock
from pipeline.jpeg import jpeg_of
from pipeline.messages import Message, encode, rfc3339
from pipeline.publishers import redis_scripts as scripts
from pipeline.publishers.redis_client import connect
from pipeline.publishers.redis_keys import (
    asks_key,
    cameras_key,
    heartbeat_key,
    picture_key,
    watched_key,
)
from pipeline.publishers.redis_refusals import failure, own_fault
from pipeline.publishers.redis_register import camera_of
from pipeline.stored import Stored
from pipeline.types import PrunedSample
from pipeline.visits import Visits

LOOK_EVERY_S = 1.0  # also between two pictures of a camera
PICTURE_LIVES_MS = 10_000
REPLY_LIVES_MS = 60_000
ASKS_KEPT = 1000  # of the stream; whoever asks trims it too
BATCH = 32  # asks in a round trip; what one connection can be made to refuse in a tenth of a second
REPLIED_WITHIN_S = 0.05  # how long a reply may lie while asks are read
NOT_PERMITTED_AGAIN_S = 60.0
_NO_RIGHT = ("not_permitted", "unknown_command")

_log = structlog.get_logger(__name__)


class RedisVisits:
    """Serves `Visits` over one connection, from one thread.

    Not guaranteed: that two workers which both believe to have a camera do not both ask their
    models; one reply arrives.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str,
        worker_id: str,
        clock: Clock,
        visits: Visits,
        has_camera: Callable[[str], bool],
        rehearse: Callable[[str], str],
    ) -> None:
        """Note whom to serve; connect with the first look.

        Args:
            url: as `redis_address` reads it.
            prefix: of the keys.
            worker_id: names this worker in replies, and in the register.
            clock: for deadlines and looks.
            visits: has the pictures, and takes the questions.
            has_camera: whether this worker watches a camera.
            rehearse: makes a test event of a camera and returns its id.

        Raises:
            ConfigError: the URL cannot be read.
        """
        self._prefix = prefix
        self._worker_id = worker_id
        self._clock = clock
        self._visits = visits
        self._has_camera = has_camera
        self._rehearse = rehearse
        self._is_tls = url.lower().startswith("rediss")
        self._redis = connect(url)
        self._looked_s = clock.monotonic_s() - LOOK_EVERY_S
        self._last_id = "0-0"  # what is past its deadline is passed over
        self._is_behind = True  # what was asked before this connection comes first
        self._shown: dict[str, PrunedSample] = {}  # what lies in Redis of a camera that is watched
        self._again_s: dict[str, float] = {}  # what is not permitted, and when it is tried again

    def run(self, stop: Event, *, works: Callable[[], object]) -> None:
        """Serve until `stop`; call `works` after each round.

        Raises:
            PublishError: Redis cannot be reached, or refuses for another reason than a right.
        """
        while not stop.is_set():
            wait_s = self._looked_s + LOOK_EVERY_S - self._clock.monotonic_s()
            if wait_s <= 0:
                self._looked_s = self._clock.monotonic_s()
                self._permitted("pictures", self._show)
                wait_s = LOOK_EVERY_S
            if self._visits.num_open:
                self._send(self._visits.replies(REPLIED_WITHIN_S))
                wait_s = 0.0
            if not self._permitted("asks", partial(self._read, wait_s, stop)):
                self._clock.wait(wait_s, stop)
            works()

    def close(self) -> None:
        """Let go of the connection."""
        self._redis.close()

    def _permitted(self, what: str, work: Callable[[], object]) -> bool:
        """Do it where that is permitted; return whether it was."""
        now_s = self._clock.monotonic_s()
        if now_s < self._again_s.get(what, now_s):
            return False
        try:
            work()
        except (RedisError, OSError, UnicodeError) as error:
            found = failure(error, is_tls=self._is_tls)
            fault = own_fault(error)
        else:
            self._again_s.pop(what, None)
            return True
        if fault is None and found.reason not in _NO_RIGHT:
            raise found
        if what not in self._again_s:
            _log.warning("visits_refused", what=what, reason=fault or found.reason)
        self._again_s[what] = now_s + NOT_PERMITTED_AGAIN_S
        self._visits.count("connection", fault or found.reason)
        return False

    # -- pictures --------------------------------------------------------------------------------

    def _show(self) -> None:
        cameras = self._visits.cameras()
        if not cameras:
            return
        found: Any = self._redis.mget([watched_key(self._prefix, one) for one in cameras])
        watched = [one for one, key in zip(cameras, found, strict=True) if key is not None]
        self._shown = {one: self._shown[one] for one in watched if one in self._shown}
        pipe = self._redis.pipeline(transaction=False)
        for camera_id in watched:
            key, last = picture_key(self._prefix, camera_id), self._visits.last(camera_id)
            if last is None or last is self._shown.get(camera_id):
                pipe.pexpire(key, PICTURE_LIVES_MS)
            else:
                pipe.eval(scripts.PICTURE, 1, key, PICTURE_LIVES_MS, *_picture(last))
                self._shown[camera_id] = last
        for camera_id, reply in zip(watched, pipe.execute(raise_on_error=False), strict=True):
            if isinstance(reply, Exception):
                self._visits.count("picture", failure(reply, is_tls=self._is_tls).reason)
            else:
                self._visits.count("picture", "done")
            if not reply or isinstance(reply, Exception):  # it is not there
                self._shown.pop(camera_id, None)

    # -- asks ------------------------------------------------------------------------------------

    def _read(self, wait_s: float, stop: Event) -> None:
        """Take asks, and reply to those that need no model."""
        key = asks_key(self._prefix)
        block = None if self._is_behind else max(1, round(1000 * wait_s))
        found: Any = self._redis.xread({key: self._last_id}, count=BATCH, block=block)
        entries = [entry for _, page in found or () for entry in page]
        replies: list[tuple[OneOff, Message | Refused | str]] = []
        for entry_id, fields in entries:
            self._last_id = entry_id
            now = self._clock.now()
            # of what has just come, whatever the server's clock says
            put_at = min(now, _put_at(entry_id)) if self._is_behind else now
            replies += self._taken({_text(k): _text(v) for k, v in fields.items()}, put_at=put_at)
        self._is_behind &= len(entries) == BATCH
        if entries:
            self._redis.xtrim(key, maxlen=ASKS_KEPT, approximate=True)
        self._send(replies)
        if len(entries) == BATCH:  # a flood: the others of this process go first
            self._clock.wait(0.1, stop)

    def _taken(
        self, fields: Mapping[str, str], *, put_at: datetime
    ) -> list[tuple[OneOff, Message | Refused | str]]:
        """Put a question to the model where it is this worker's to answer; or say why not."""
        now = self._clock.now()
        one = read_ask(fields, now=put_at)
        if one is None:
            self._visits.count("ask", "malformed")
            return []
        if isinstance(one, Refused):
            owner = self._owner(fields.get("camera", ""))
            is_ours = owner is None or isinstance(owner, Refused) or owner == self._worker_id
            return [(OneOff(one.id, "", None, now), one)] if is_ours else []
        if one.deadline_at <= now:
            return []
        owner = self._owner(one.camera_id, ask_id=one.id)
        if isinstance(owner, Refused):
            return [(one, owner)]
        if owner != self._worker_id:
            return []
        if one.question is None:
            return [(one, self._rehearse(one.camera_id))]
        refused = self._visits.put(one)
        return [(one, refused)] if refused else []

    def _owner(self, camera_id: str, *, ask_id: str = "") -> str | Refused | None:
        """Return who answers for a camera; None for a worker that is gone, or a refusal."""
        has_camera = self._has_camera(camera_id)
        found: Any = self._redis.hget(cameras_key(self._prefix), camera_id)
        entry = camera_of(found) if found else None
        if entry is None and not has_camera:
            names: Any = self._redis.hkeys(cameras_key(self._prefix))
            known = ", ".join(sorted(_text(name) for name in names)[:20]) or "none"
            return Refused(ask_id, "unknown_camera", f"camera: expected one of {known}")
        owner = str(entry["owner"]) if entry else self._worker_id
        if owner != self._worker_id and not self._redis.get(heartbeat_key(self._prefix, owner)):
            return self._worker_id if has_camera else None
        return owner

    def _send(self, replies: Sequence[tuple[OneOff, Message | Refused | str]]) -> None:
        """Reply, in one round trip; what is refused is counted and not tried again."""
        if not replies:
            return
        pipe = self._redis.pipeline(transaction=False)
        for one, reply in replies:
            key = asks_key(self._prefix, one.id)
            value = self._told(one, reply)
            pipe.eval(scripts.REPLY, 2, key, f"{key}:by", self._worker_id, value, REPLY_LIVES_MS)
        for (_, reply), sent in zip(replies, pipe.execute(raise_on_error=False), strict=True):
            what = "test_event" if isinstance(reply, str) else "ask"
            outcome: str = reply.reason if isinstance(reply, Refused) else "done"
            if isinstance(sent, Exception):
                outcome = failure(sent, is_tls=self._is_tls).reason
            if sent != 0:
                self._visits.count(what, outcome)

    def _told(self, one: OneOff, reply: Message | Refused | str) -> bytes:
        if isinstance(reply, Message):
            stored = Stored(row=0, origin="", generation=0, seq=1, message=reply)
            return stored.envelope(
                prefix=self._prefix, worker_id=self._worker_id, published_at=self._clock.now()
            )
        told = {"id": one.id, "worker_id": self._worker_id}
        if isinstance(reply, Refused):
            return encode({**told, "refused": reply.reason, "detail": reply.detail})
        return encode({**told, "event_id": reply})


def _picture(sample: PrunedSample) -> list[str | bytes]:
    """Return the fields of a picture and their values, one after the other."""
    pruned = sample.pruned
    return [
        *("jpeg", jpeg_of(pruned.pixels)),
        *("captured_at", rfc3339(sample.frame.captured_at)),
        *("grid", json.dumps(asdict(pruned.grid))),
        *("sent", "".join("1" if kept else "0" for kept in pruned.keep_mask.flat)),
    ]


def _put_at(entry_id: bytes | str) -> datetime:
    """Return when an entry was put, by the server's clock, which its id begins with."""
    return datetime.fromtimestamp(int(_text(entry_id).partition("-")[0]) / 1000, UTC)


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
