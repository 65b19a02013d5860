"""Faults of Redis, each begun and taken back, and the timeline of all that was done."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf

from pipeline.messages import KINDS
from pipeline.publishers.redis_keys import stream_key
from pipeline.publishers.redis_scripts import COMMANDS, VISITING_COMMANDS
from tests.chaos.reader import PREFIX, StreamReader
from tests.chaos.truth import CAMERAS, Span
from tests.chaos.worker_process import now_ms
from tests.servers.redis import RedisServer, free_port

USER, PASSWORD = "vigil", "s3cret"
RIGHTS = " ".join(
    [f"{USER} on >{PASSWORD} ~{PREFIX}:* resetchannels &{PREFIX}:*"]  # before 7.0 all had all
    + [f"+{one}" for one in (*COMMANDS, *VISITING_COMMANDS)]
)


@dataclass(slots=True)
class Fault:
    """Something that was done to Redis, to the worker or to a camera.

    Attributes:
        kind: what.
        begin_ms: since when.
        end_ms: until when.
        reasons: why publishing may fail meanwhile; none where it may not.
        is_sure: it must fail meanwhile.
        about: details for people.
    """

    kind: str
    begin_ms: float
    end_ms: float = inf
    reasons: frozenset[str] = frozenset()
    is_sure: bool = False
    about: str = ""

    @property
    def span(self) -> Span:
        return Span(self.begin_ms, self.end_ms)


@dataclass(slots=True)
class Timeline:
    """All faults, in the order of their beginnings. Any thread may add to it."""

    faults: list[Fault] = field(default_factory=list)
    wiped_ms: list[float] = field(default_factory=list)  # when Redis lost all it had

    @contextmanager
    def during(
        self, kind: str, *, reasons: tuple[str, ...] = (), is_sure: bool = False, about: str = ""
    ) -> Iterator[Fault]:
        fault = Fault(
            kind,
            now_ms(),
            reasons=frozenset(reasons),
            is_sure=is_sure and bool(reasons),
            about=about,
        )
        self.faults.append(fault)
        try:
            yield fault
        finally:
            fault.end_ms = min(fault.end_ms, now_ms())

    def of(self, *kinds: str) -> list[Fault]:
        return [one for one in self.faults if one.kind in kinds]

    def outages(self) -> list[Fault]:
        return [one for one in self.faults if one.reasons]

    def told(self, *, begin_ms: float) -> list[str]:
        """A line each, in seconds since a moment, which comes first."""
        faults = [
            f"{(one.begin_ms - begin_ms) / 1000:8.2f} {(one.end_ms - begin_ms) / 1000:8.2f}  "
            f"{one.kind} {one.about}"
            for one in self.faults
        ]
        return [f"    0.00 is {begin_ms:.0f} ms", *faults]


Way = Callable[["RedisFaults", random.Random, float], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault.

    Attributes:
        way: does it, yields details of it, then takes it back.
        reasons: why publishing may fail.
        is_sure: it must fail, if this lasts for some seconds.
        is_setting: Redis goes on meanwhile, so that another fault may come on top.
    """

    way: Way
    reasons: tuple[str, ...]
    is_sure: bool = True
    is_setting: bool = False


class RedisFaults:
    """What can be done to one server, by its administrator and by its machine."""

    def __init__(
        self, server: RedisServer, *, spare: RedisServer, reader: StreamReader, timeline: Timeline
    ) -> None:
        """Begin with a server that is well.

        Args:
            server: it.
            spare: reads what a killed server had on its disk, before that is deleted.
            reader: is shown that.
            timeline: is told everything.
        """
        self._server = server
        self._spare = spare
        self._reader = reader
        self._timeline = timeline

    @contextmanager
    def fault(self, name: str, rng: random.Random, *, seconds: float) -> Iterator[None]:
        """Do one of `REDIS_KINDS`, for about so many seconds."""
        kind = REDIS_KINDS[name]
        with self._timeline.during(name, reasons=kind.reasons, is_sure=kind.is_sure) as fault:
            doing = kind.way(self, rng, seconds)
            fault.about = next(doing)
            try:
                yield
            finally:
                next(doing, None)

    def say(self, *words: str) -> None:
        """Give a command to the server."""
        with self._server.client() as client:
            client.execute_command(*words)

    def stopped(self, _rng: random.Random, _seconds: float) -> Iterator[str]:
        self._server.pause()
        yield ""
        self._server.resume()

    def restarted(self, _rng: random.Random, _seconds: float) -> Iterator[str]:
        self._killed()
        yield ""
        self._server.start()

    def emptied(self, _rng: random.Random, _seconds: float) -> Iterator[str]:
        self._killed()
        self._server.move_data(self._spare)
        self._spare.start()
        with self._spare.client() as client:
            self._reader.absorb(client)
        self._spare.kill()
        yield ""
        self._timeline.wiped_ms.append(now_ms())
        self._server.start()

    def out_of_memory(self, _rng: random.Random, _seconds: float) -> Iterator[str]:
        self.say("CONFIG", "SET", "maxmemory", "1")
        yield ""
        self.say("CONFIG", "SET", "maxmemory", "0")

    def read_only(self, _rng: random.Random, _seconds: float) -> Iterator[str]:
        self.say("REPLICAOF", "127.0.0.1", str(free_port()))
        yield ""
        self.say("REPLICAOF", "NO", "ONE")

    def no_replicas(self, _rng: random.Random, _seconds: float) -> Iterator[str]:
        self.say("CONFIG", "SET", "min-replicas-to-write", "1")
        yield ""
        self.say("CONFIG", "SET", "min-replicas-to-write", "0")

    def no_channels(self, _rng: random.Random, _seconds: float) -> Iterator[str]:
        self.say("ACL", "SETUSER", USER, "resetchannels")
        yield ""
        self.say("ACL", "SETUSER", USER, f"&{PREFIX}:*")

    def no_command(self, rng: random.Random, _seconds: float) -> Iterator[str]:
        # without the rest messages arrive, but for hkeys, of which there is no hurry
        command = rng.choice([one for one in COMMANDS if one not in ("hkeys", "get", "set")])
        self.say("ACL", "SETUSER", USER, f"-{command}")
        yield command
        self.say("ACL", "SETUSER", USER, f"+{command}")

    def password(self, _rng: random.Random, _seconds: float) -> Iterator[str]:
        self.say("ACL", "SETUSER", USER, "resetpass", ">another")
        self.say("CLIENT", "KILL", "USER", USER)
        yield ""
        self.say("ACL", "SETUSER", USER, "resetpass", f">{PASSWORD}")

    def cut(self, rng: random.Random, _seconds: float) -> Iterator[str]:
        whose = rng.choice((("USER", USER), ("TYPE", "pubsub")))
        self.say("CLIENT", "KILL", *whose)
        yield whose[1]

    def paused(self, rng: random.Random, seconds: float) -> Iterator[str]:
        what = rng.choice(("WRITE", "ALL"))
        begun_s = time.monotonic()
        self.say("CLIENT", "PAUSE", str(round(1000 * seconds)), what)
        yield what
        time.sleep(max(0.0, begun_s + seconds - time.monotonic()))

    @contextmanager
    def blocked(self, key: str) -> Iterator[None]:
        """Let another program have a stream's key meanwhile."""
        kept = f"kept:{now_ms()}"
        with self._server.client() as client:
            with client.pipeline() as pipe:
                pipe.rename(key, kept)
                pipe.set(key, "somebody else's")
                pipe.execute(raise_on_error=False)  # there may be no such stream yet
            self._reader.absorb(client, key=key, kept_as=kept)
            client.delete(kept)
            yield
            client.delete(key)

    def _killed(self) -> None:
        """Kill it: what was only a setting is gone with it."""
        killed_ms = now_ms()
        self._server.kill()
        settings = [name for name, kind in REDIS_KINDS.items() if kind.is_setting]
        for fault in self._timeline.of(*settings):
            if fault.end_ms > killed_ms:
                fault.end_ms = killed_ms


REDIS_KINDS: Mapping[str, Kind] = {
    "stopped": Kind(RedisFaults.stopped, ("timeout",)),
    "restarted": Kind(RedisFaults.restarted, ("unreachable", "loading")),
    "emptied": Kind(RedisFaults.emptied, ("unreachable", "loading")),
    "out_of_memory": Kind(RedisFaults.out_of_memory, ("out_of_memory",), is_setting=True),
    "read_only": Kind(RedisFaults.read_only, ("read_only",), is_setting=True),
    "no_replicas": Kind(RedisFaults.no_replicas, ("no_replicas",), is_setting=True),
    "no_channels": Kind(RedisFaults.no_channels, ("not_permitted",), is_setting=True),
    "no_command": Kind(RedisFaults.no_command, ("not_permitted",), is_setting=True),
    "password": Kind(RedisFaults.password, ("auth_failed", "unreachable"), is_setting=True),
    "cut": Kind(RedisFaults.cut, ("unreachable",), is_sure=False),
    "paused": Kind(RedisFaults.paused, ("timeout",)),
}

STREAMS = tuple(
    (camera_id, kind, stream_key(PREFIX, camera_id, kind))
    for camera_id in CAMERAS
    for kind in KINDS
    if kind in ("answer", "event")
)
