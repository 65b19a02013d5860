"""Replies onto Redis: a bounded stream, pub/sub, and a hash for late joiners.

Delivery is at least once, publication once: a script on the server compares each message with the
last one it published of that outbox, camera and kind, so what is delivered again after a lost reply
is passed over.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

import structlog
from redis.exceptions import RedisError, ResponseError

from pipeline.carry import AT, CARRY_VERSION, Carried
from pipeline.clock import Clock
from pipeline.errors import ConfigError, PublishError
from pipeline.messages import KINDS, rfc3339
from pipeline.publishers import redis_scripts as scripts
from pipeline.publishers.base import (
    NO_CAMERAS,
    Cameras,
    Delivery,
    PendingMessages,
    nothing_new,
)
from pipeline.publishers.redis_claims import Claims, Owner
from pipeline.publishers.redis_client import check_certificates, connect
from pipeline.publishers.redis_evidence import NO_SHELF, Shelf
from pipeline.publishers.redis_keys import (
    carry_key,
    channel,
    heartbeat_key,
    state_key,
    stream_key,
)
from pipeline.publishers.redis_refusals import failure, own_fault
from pipeline.publishers.redis_register import Register
from pipeline.stored import Stored

BATCH = 64  # messages in a round trip: some 100 kB, a few ms of the server's one thread
LOOK_S = 0.25  # how long a stop or a heartbeat may wait for an empty outbox
# What Redis refuses for the message's own sake (its key holds another type) does not heal by
# waiting. Two more tries are for what an operator may be changing at this moment.
MAX_TRIES = 3
TRY_AGAIN_S = 0.2
GONE_AFTER_S = 7 * 24 * 3600.0

Lane = tuple[str, str]  # of messages that keep their order: camera and kind

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Keeping:
    """What Redis keeps of a camera.

    Attributes:
        stream_max_len: entries of each stream, about (whole nodes are trimmed).
        gone_after_s: its keys expire this long after its worker last renewed them.
        shelf: has the pictures of events.
    """

    stream_max_len: int = 10_000
    gone_after_s: float = GONE_AFTER_S
    shelf: Shelf = NO_SHELF


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
        run_id: str = "",
        keeping: Keeping = Keeping(),
        heartbeat_s: float = 5.0,
        cameras: Cameras = NO_CAMERAS,
    ) -> None:
        """Note where to publish; connect with the first message.

        Args:
            url: as `redis_address` reads it, with user and password where needed.
            prefix: first part of every key and channel, and the source in messages.
            worker_id: names this worker in messages and in its heartbeat key.
            clock: stamps `published_at`, times heartbeats.
            run_id: tells this worker from another of the same name: while one publishes, the other
                waits. One that is started again with the same run id may go on at once.
            keeping: how much stays in Redis.
            heartbeat_s: how often `run` renews the heartbeat key, which lives three times as long.
            cameras: what the worker knows of its cameras.

        Raises:
            ConfigError: the URL cannot be read.
        """
        self._prefix = prefix
        self._worker_id = worker_id
        self._run_id = run_id
        self._clock = clock
        self._keeping = keeping
        self._heartbeat_s = heartbeat_s
        self._cameras = cameras
        self._owner = Owner(worker_id, run_id, prefix, self._lives_ms)
        self._claims = Claims(self._owner, cameras, clock=clock)
        self._register = Register(prefix, worker_id, lives_ms=self._lives_ms, cameras=cameras)
        self._beat_due_s = clock.monotonic_s()
        self._warned: set[str] = set()
        self._tries: dict[int, int] = {}
        self._hopeless: set[Lane] = set()
        self._is_tls = url.lower().startswith("rediss")
        self._redis = connect(url)
        self._url = url

    def check_server(self) -> None:
        """Refuse what no waiting will mend. A server that does not answer now is none of that.

        Raises:
            ConfigError: a certificate's file cannot be read, or the server is a node of a cluster,
                or a sentinel that the address takes for a server.
        """
        if self._is_tls:
            check_certificates(self._url)
        try:
            told = self._redis.execute_command("HELLO")  # type: ignore[no-untyped-call]
        except (RedisError, OSError, UnicodeError):
            return
        told = told if isinstance(told, dict) else dict(zip(told[::2], told[1::2], strict=False))
        mode = told.get(b"mode", told.get("mode", b""))
        if mode in (b"cluster", "cluster"):
            raise ConfigError(
                "expected one Redis server, or one behind Sentinel; got a node of a Redis Cluster, "
                "where the keys of one camera would lie in different slots"
            )
        if mode in (b"sentinel", "sentinel"):
            raise ConfigError("expected redis+sentinel://HOST:PORT/SERVICE/0 for a Sentinel")

    def deliver(self, batch: Sequence[Stored]) -> Delivery:
        """Publish what was not published yet, in order, in one round trip.

        Raises:
            PublishError: Redis cannot be reached; it may have some of the batch, and passes over
                that when it is delivered again.
        """
        at = self._clock.now()
        pipe = self._redis.pipeline(transaction=False)
        before: dict[Lane, int] = {}
        for stored in batch:
            camera_id, kind = lane = _lane(stored)
            carried = stored.message.carried
            taken = carried or Carried()
            self._keeping.shelf.put(pipe, stored, prefix=self._prefix, at=at)
            pipe.eval(
                scripts.PUBLISH,
                3,
                state_key(self._prefix, camera_id),
                carry_key(self._prefix, camera_id),
                stream_key(self._prefix, camera_id, stored.message.kind),
                f"cursor:{kind}",
                stored.origin,
                stored.position,
                stored.seq,
                # A message waits while the one before it was refused, or it would pass over it.
                before.get(lane, 0) if lane not in self._hopeless else 0,
                stored.term,
                int(stored.is_late),
                self._keeping.stream_max_len,
                self._lives_ms,
                _state_field(stored),
                stored.message.id,
                stored.envelope(prefix=self._prefix, worker_id=self._worker_id, published_at=at),
                channel(self._prefix, camera_id, stored.message.kind),
                self._owner.name,
                # of a camera that a group may give to somebody else, nobody is the owner yet
                int(carried is not None),
                taken.group,
                self._owner.heartbeats,
                CARRY_VERSION,
                f"{AT}{taken.question_id}" if taken.place else "",
                taken.place,
                *taken.pairs(),
            )
            before[lane] = stored.position
        replies = self._answered(lambda: pipe.execute(raise_on_error=False))
        return self._judged(batch, self._keeping.shelf.judged(batch, replies))

    def heartbeat(self, fields: Mapping[str, object]) -> None:
        """Say that this worker lives, for three times `heartbeat_s`, with `fields` as JSON.

        Raises:
            PublishError: Redis cannot be reached or refuses, or another worker has this one's name.
        """
        self._claim(fields, lives_s=3 * self._heartbeat_s)

    def run(
        self,
        outbox: PendingMessages,
        stop: Event,
        *,
        fields: Callable[[], Mapping[str, object]] = dict,
        works: Callable[[], bool] = nothing_new,
    ) -> None:
        is_refresh_due = False
        while True:
            if self._clock.monotonic_s() >= self._beat_due_s:
                self.heartbeat(fields())
                self._beat_due_s = self._clock.monotonic_s() + self._heartbeat_s
                is_refresh_due = True
            self._claims.ask(self._redis, outbox, answered=self._answered)
            is_last = stop.is_set()  # before the look: what was stored before `stop` is found
            batch = outbox.pending(BATCH) if outbox.wait(0.0 if is_last else LOOK_S) else []
            if batch:
                self._settle(batch, outbox, stop)
                # the register says no later than a status that a camera has another state
                is_refresh_due |= any(one.message.kind == "status" for one in batch)
            elif is_refresh_due and not is_last:
                self._refresh()
                is_refresh_due = False
            if works():
                self._beat_due_s = self._clock.monotonic_s()
            if not batch and is_last:
                self._write_register()
                self._claim(fields(), lives_s=0.001)
                return

    def close(self) -> None:
        self._redis.close()

    @property
    def _lives_ms(self) -> int:
        return round(1000 * self._keeping.gone_after_s)

    def _claim(self, fields: Mapping[str, object], *, lives_s: float) -> None:
        told = {
            **fields,
            "worker_id": self._worker_id,
            "run": self._run_id,
            "at": rfc3339(self._clock.now()),
        }
        key = heartbeat_key(self._prefix, self._worker_id)
        value, lives_ms = json.dumps(told, allow_nan=False), max(1, round(1000 * lives_s))
        claim = scripts.CLAIM
        if not self._answered(
            lambda: self._redis.eval(claim, 1, key, self._run_id, value, lives_ms)
        ):
            raise PublishError(
                "id_in_use",
                f"another worker publishes as {self._worker_id}: each needs a VIGIL_WORKER_ID of "
                "its own",
            )

    def _judged(self, batch: Sequence[Stored], replies: Sequence[object]) -> Delivery:
        settled, refused, fenced = [], {}, []
        found: PublishError | None = None
        for stored, reply in zip(batch, replies, strict=True):
            if reply in (scripts.PUBLISHED, scripts.PASSED_OVER):
                settled.append(stored.row)
            elif isinstance(reply, ResponseError) and (word := own_fault(reply)):
                refused[stored.row] = word
            elif isinstance(reply, Exception):
                found = found or failure(reply, is_tls=self._is_tls)
            elif reply == scripts.FENCED:
                fenced.append(stored.row)
                self._cameras.fenced(stored.message.camera_id, stored.term)
        num_published = sum(reply == scripts.PUBLISHED for reply in replies)
        return Delivery(tuple(settled), num_published, refused, tuple(fenced), found)

    def _settle(self, batch: Sequence[Stored], outbox: PendingMessages, stop: Event) -> None:
        delivery = self.deliver(batch)
        outbox.delivered((*delivery.settled, *delivery.fenced))
        if delivery.failure is not None:
            raise delivery.failure
        lanes = {stored.row: _lane(stored) for stored in batch}
        self._hopeless -= {lanes[row] for row in delivery.settled}
        self._tries = {row: self._tries.get(row, 0) + 1 for row in delivery.refused}
        hopeless = [
            row
            for row, tries in self._tries.items()
            if tries >= MAX_TRIES or lanes[row] in self._hopeless
        ]
        if hopeless:
            self._hopeless |= {lanes[row] for row in hopeless}
            outbox.set_aside(hopeless)
            _log_set_aside(batch, {row: delivery.refused[row] for row in hopeless})
        elif not (delivery.settled or delivery.fenced):
            self._clock.wait(TRY_AGAIN_S, stop)

    def _refresh(self) -> None:
        """Renew what expires with its camera, and look whether its status is still told.

        It is not where Redis was restarted empty, went back to an earlier copy, or evicted it.
        """
        self._sweep()
        self._write_register()
        said = self._cameras.statuses()
        pipe = self._redis.pipeline(transaction=False)
        for camera_id in said:
            pipe.hget(state_key(self._prefix, camera_id), "status")
            for key in self._keys_of(camera_id):
                pipe.pexpire(key, self._lives_ms)
        replies = self._answered(lambda: pipe.execute(raise_on_error=False))
        step = 1 + len(self._keys_of(""))
        differs = {}
        for (camera_id, data), reply in zip(said.items(), replies[::step], strict=True):
            if (camera_id, "status") in self._hopeless:
                continue
            found = _status_data(reply)
            if found is None or (found["worker_id"] == self._worker_id and not _same(found, data)):
                differs[camera_id] = data
        for reply in replies:
            if isinstance(reply, Exception) and own_fault(reply) is None:
                raise failure(reply, is_tls=self._is_tls)
        self._cameras.say_again(differs)

    def _sweep(self) -> None:
        """Take away what the hashes tell of questions and cameras that are gone."""
        pipe = self._redis.pipeline(transaction=False)
        for camera_id, kept in self._cameras.questions().items():
            keys = state_key(self._prefix, camera_id), carry_key(self._prefix, camera_id)
            is_gone, is_here = int(kept is None), int(self._cameras.is_here(camera_id))
            whose = self._run_id, is_gone, self._owner.name, is_here
            pipe.eval(scripts.SWEEP, 2, *keys, *whose, *sorted(kept or ()))
        self._warn("hashes_not_swept", self._answered(lambda: pipe.execute(raise_on_error=False)))

    def _write_register(self) -> None:
        self._warn(
            "register_not_written", self._answered(lambda: self._register.write(self._redis))
        )

    def _warn(self, what: str, replies: Sequence[object]) -> None:
        """Say once what was refused though nothing that is published depends on it."""
        refused = [one for one in replies if isinstance(one, Exception) and not own_fault(one)]
        if refused and what not in self._warned:
            self._warned.add(what)
            _log.warning(what, reason=failure(refused[0]).reason)

    def _keys_of(self, camera_id: str) -> list[str]:
        streams = [stream_key(self._prefix, camera_id, kind) for kind in KINDS]
        return [state_key(self._prefix, camera_id), carry_key(self._prefix, camera_id), *streams]

    def _answered(self, talk: Callable[[], Any]) -> Any:
        """Return what Redis says, or raise a PublishError.

        The driver's exception is not chained: the text of some carries what was sent.
        """
        try:
            return talk()
        except (RedisError, OSError, UnicodeError) as exc:  # UnicodeError: no host is called so
            found = failure(exc, is_tls=self._is_tls)
        raise found


def _lane(stored: Stored) -> Lane:
    return stored.message.camera_id, stored.message.kind


def _state_field(stored: Stored) -> str:
    """Return the field of the state hash that holds the last message of this sort."""
    match stored.message.kind:
        case "answer":
            return f"question:{stored.message.body['data']['question_id']}"
        case "event":
            return f"event:{stored.message.body['data']['question_id']}"
        case kind:
            return kind


def _status_data(reply: object) -> Mapping[str, Any] | None:
    """Return the `data` of a status as the hash holds it; None where it holds none."""
    try:
        data = json.loads(reply)["data"] if isinstance(reply, bytes | str) else None
    except (ValueError, TypeError, KeyError):
        return None
    return data if isinstance(data, dict) and "worker_id" in data else None


def _same(found: Mapping[str, Any], said: Mapping[str, Any]) -> bool:
    return all(found.get(name) == said[name] for name in ("state", "reason", "since"))


def _log_set_aside(batch: Sequence[Stored], refused: Mapping[int, str]) -> None:
    messages = {stored.row: stored.message for stored in batch}
    counts = Counter(
        (messages[row].camera_id, messages[row].kind, reason) for row, reason in refused.items()
    )
    for (camera_id, kind, reason), count in counts.items():
        _log.error("replies_set_aside", camera_id=camera_id, kind=kind, reason=reason, count=count)
