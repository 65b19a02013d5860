"""Replies onto Redis: a bounded stream, pub/sub, and a hash for late joiners.

Delivery is at least once, publication once: a script on the server compares each message with the
last one it published of that outbox, camera and kind, so what is delivered again after a lost reply
is passed over.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from pipeline.clock import Clock
from pipeline.errors import ConfigError, PublishError
from pipeline.messages import Stored, rfc3339
from pipeline.publishers.base import PendingMessages
from pipeline.publishers.redis_keys import channel, heartbeat_key, state_key, stream_key
from pipeline.redact import encode_credentials

CONNECT_TIMEOUT_S = 1.0
SOCKET_TIMEOUT_S = 2.0  # the driver's own defaults blocked 60 s on a half-open server
BATCH = 64  # messages in a round trip: some 100 kB, a few ms of the server's one thread
LOOK_S = 0.25  # how long a stop or a heartbeat may wait for an empty outbox
# What Redis refuses for the message's own sake (its key holds another type) does not heal by
# waiting. Two more tries are for what a failover or an operator may be changing at this moment.
MAX_TRIES = 3
TRY_AGAIN_S = 0.2

# Steps: 1. read how far this was published; 2. stream; 3. hash and cursor; 4. channel. A script is
# not rolled back: were the channel refused (ACL), the stream would still have the message once.
# A message waits (-1) while the one before it in the batch was refused, or it would pass over it.
_PUBLISH = """
local state, stream = KEYS[1], KEYS[2]
local cursor_field, origin, position, after = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local max_len, field, id, event, channel = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local cursor = redis.call('HGET', state, cursor_field) or ''
local reached_origin, reached = string.match(cursor, '^(%S+) (%d+)$')
reached = reached_origin == origin and tonumber(reached) or 0
if reached >= tonumber(position) then return 0 end
if reached < tonumber(after) then return -1 end
redis.call('XADD', stream, 'MAXLEN', '~', max_len, '*', 'event', event, 'id', id)
redis.call('HSET', state, field, event, cursor_field, origin .. ' ' .. position)
redis.call('PUBLISH', channel, event)
return 1
"""
_PUBLISHED, _HELD = 1, -1

# Most telling first. Redis before 7 wraps an error inside a script as "ERR Error running script
# ... -OOM ...", so the words are looked for anywhere in the text.
_REASONS: tuple[tuple[type[RedisError], str], ...] = (
    (redis.exceptions.AuthenticationError, "auth_failed"),
    (redis.exceptions.AuthorizationError, "auth_failed"),
    (redis.exceptions.NoPermissionError, "not_permitted"),
    (redis.exceptions.BusyLoadingError, "loading"),
    (redis.exceptions.ReadOnlyError, "read_only"),
    (redis.exceptions.OutOfMemoryError, "out_of_memory"),
    (redis.exceptions.TimeoutError, "timeout"),
    (redis.exceptions.ConnectionError, "unreachable"),
)
_WORDS = {
    "NOAUTH": "auth_failed",
    "WRONGPASS": "auth_failed",
    "NOPERM": "not_permitted",
    "LOADING": "loading",
    "READONLY": "read_only",
    "OOM": "out_of_memory",
    "MISCONF": "cannot_persist",
    "NOREPLICAS": "no_replicas",
    "MASTERDOWN": "master_down",
    "BUSY": "busy",
}
_WORD = re.compile(r"\b(?:" + "|".join(_WORDS) + r")\b")
_REFUSAL = re.compile(r"\b[A-Z]{4,}\b")


_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a batch, by `Stored.row`.

    Attributes:
        settled: Redis has them, from now or from before.
        num_published: how many of them it has from now.
        refused: what Redis will not take, with its word for why, and what waits behind it.
    """

    settled: tuple[int, ...]
    num_published: int
    refused: Mapping[int, str]


class RedisPublisher:
    """One connection to Redis; a `Publisher`.

    Not guaranteed: that a subscriber of the channel gets everything (pub/sub forgets who is away;
    the stream does not), or that Redis keeps what it took through a crash of its own.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str,
        worker_id: str,
        clock: Clock,
        stream_max_len: int = 10_000,
        heartbeat_s: float = 5.0,
    ) -> None:
        """Note where to publish; connect with the first message.

        Args:
            url: `redis://`, `rediss://` or `unix://`, with user and password where needed.
            prefix: first part of every key and channel, and the source in messages.
            worker_id: names this worker in messages and in its heartbeat key.
            clock: stamps `published_at`, times heartbeats.
            stream_max_len: entries each Redis stream keeps, about (whole nodes are trimmed).
            heartbeat_s: how often `run` renews the heartbeat key, which lives three times as long.

        Raises:
            ConfigError: the URL cannot be read.
        """
        self._prefix = prefix
        self._worker_id = worker_id
        self._clock = clock
        self._stream_max_len = stream_max_len
        self._heartbeat_s = heartbeat_s
        self._beat_due_s = clock.monotonic_s()
        self._tries: dict[int, int] = {}
        self._redis = _client(url)

    def deliver(self, batch: Sequence[Stored]) -> Delivery:
        """Publish what was not published yet, in order, in one round trip.

        Raises:
            PublishError: Redis cannot be reached or takes nothing now; it may have some of the
                batch, and passes over that when it is delivered again.
        """
        at = self._clock.now()
        pipe = self._redis.pipeline(transaction=False)
        before: dict[tuple[str, str], int] = {}
        for stored in batch:
            camera_id, kind = key = (stored.message.camera_id, stored.message.kind)
            pipe.eval(
                _PUBLISH,
                2,
                state_key(self._prefix, camera_id),
                stream_key(self._prefix, camera_id, kind),
                f"cursor:{kind}",
                stored.origin,
                stored.position,
                before.get(key, 0),
                self._stream_max_len,
                _state_field(stored),
                stored.message.id,
                stored.envelope(prefix=self._prefix, worker_id=self._worker_id, published_at=at),
                channel(self._prefix, camera_id, kind),
            )
            before[key] = stored.position
        replies = _answered(lambda: pipe.execute(raise_on_error=False))
        for reply in replies:
            if isinstance(reply, ResponseError) and (reason := _reason(reply)):
                raise PublishError(f"redis: {reason}")
        rows = [stored.row for stored in batch]
        refused = {
            row: _refusal(reply)
            for row, reply in zip(rows, replies, strict=True)
            if isinstance(reply, ResponseError) or reply == _HELD
        }
        return Delivery(
            settled=tuple(row for row in rows if row not in refused),
            num_published=sum(reply == _PUBLISHED for reply in replies),
            refused=refused,
        )

    def heartbeat(self, fields: Mapping[str, object]) -> None:
        """Say that this worker lives, for three times `heartbeat_s`, with `fields` as JSON.

        Raises:
            PublishError: Redis cannot be reached or refuses.
        """
        now = rfc3339(self._clock.now())
        value = json.dumps({**fields, "worker_id": self._worker_id, "at": now}, allow_nan=False)
        key = heartbeat_key(self._prefix, self._worker_id)
        lives_ms = round(3000 * self._heartbeat_s)
        _answered(lambda: self._redis.set(key, value, px=lives_ms))

    def run(
        self,
        outbox: PendingMessages,
        stop: Event,
        *,
        fields: Callable[[], Mapping[str, object]] = dict,
    ) -> None:
        while True:
            if self._clock.monotonic_s() >= self._beat_due_s:
                self.heartbeat(fields())
                self._beat_due_s = self._clock.monotonic_s() + self._heartbeat_s
            batch = outbox.pending(BATCH) if outbox.wait(0.0 if stop.is_set() else LOOK_S) else []
            if not batch and stop.is_set():
                return
            if batch:
                self._settle(batch, outbox, stop)

    def close(self) -> None:
        self._redis.close()

    def _settle(self, batch: Sequence[Stored], outbox: PendingMessages, stop: Event) -> None:
        delivery = self.deliver(batch)
        outbox.delivered(delivery.settled)
        self._tries = {row: self._tries.get(row, 0) + 1 for row in delivery.refused}
        hopeless = [row for row, tries in self._tries.items() if tries >= MAX_TRIES]
        if hopeless:
            outbox.set_aside(hopeless)
            _log_set_aside(batch, {row: delivery.refused[row] for row in hopeless})
        elif not delivery.settled:
            self._clock.wait(TRY_AGAIN_S, stop)


def _client(url: str) -> redis.Redis:
    """Return a client that has not connected, with none of the driver's own retries."""
    refused = None
    try:
        client = redis.Redis.from_url(
            encode_credentials(url),
            protocol=2,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=SOCKET_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        # unknown options in the URL show only here
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
    except (TypeError, ValueError, RedisError) as exc:
        refused = type(exc).__name__
    else:
        return client
    # outside the except: the driver's text may carry a piece of the password
    raise ConfigError(
        "redis URL: expected redis://, rediss:// or unix:// with options the driver knows and any "
        f"/ of a password written as %2F, got one it refuses ({refused})"
    )


def _answered(talk: Callable[[], Any]) -> Any:
    """Return what Redis says, or raise a PublishError.

    The driver's exception is not chained: the text of some carries what was sent.
    """
    try:
        return talk()
    except (RedisError, OSError, UnicodeError) as exc:  # UnicodeError: no host can be called so
        reason = _reason(exc) or "refused"
    raise PublishError(f"redis: {reason}")


def _reason(exc: Exception) -> str | None:
    """Return why Redis takes nothing now; None when what it says is about one message alone."""
    for kind, reason in _REASONS:
        if isinstance(exc, kind):
            return reason
    if isinstance(exc, RedisError):
        word = _WORD.search(str(exc))
        return _WORDS[word[0]] if word else None
    return "unreachable"


def _refusal(reply: object) -> str:
    """Return Redis' word for why one message was not taken."""
    if reply == _HELD:
        return "behind_refused"
    word = _REFUSAL.search(str(reply))
    return word[0].lower() if word else "refused"


def _state_field(stored: Stored) -> str:
    """Return the field of the state hash that holds the last message of this sort."""
    match stored.message.kind:
        case "answer":
            return f"question:{stored.message.body['data']['question_id']}"
        case "event":
            return f"event:{stored.message.body['data']['question_id']}"
        case kind:
            return kind


def _log_set_aside(batch: Sequence[Stored], refused: Mapping[int, str]) -> None:
    messages = {stored.row: stored.message for stored in batch}
    counts = Counter(
        (messages[row].camera_id, messages[row].kind, reason) for row, reason in refused.items()
    )
    for (camera_id, kind, reason), count in counts.items():
        _log.error("replies_set_aside", camera_id=camera_id, kind=kind, reason=reason, count=count)
