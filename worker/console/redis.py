"""All that the console reads from Redis and writes there, in the keys that MESSAGES.md names."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError, ResponseError

from pipeline.camera_id import is_camera_id
from pipeline.messages import KINDS
from pipeline.publishers import redis_keys as keys
from pipeline.publishers.redis_client import connect_async
from pipeline.publishers.redis_refusals import failure, own_fault
from worker.console.history import Stream
from worker.console.told import writable

WATCHED_S = 10
MAX_WORKERS = 1000
Entries = Sequence[tuple[str, Mapping[bytes, bytes]]]


@dataclass(frozen=True, slots=True)
class Shot:
    """A camera's last picture.

    Attributes:
        jpeg: the picture; masked regions are black in it.
        captured_at: when, as its worker writes it.
        rows, cols: tokens down and across; 0 where that is not told.
        sent: of each token, row by row, `1` where it was sent to the model and `0` where not; ""
            where that is not told.
    """

    jpeg: bytes = field(repr=False)
    captured_at: str
    rows: int = 0
    cols: int = 0
    sent: str = ""


class ConsoleRedis:
    """One pool of connections. Every method raises PublishError where Redis does not answer."""

    def __init__(self, url: str, *, prefix: str) -> None:
        """Note where; connect with the first question.

        Raises:
            ConfigError: the address cannot be used.
        """
        self._redis = connect_async(url)
        self._prefix = prefix
        self._is_tls = url.lower().startswith("rediss")

    async def close(self) -> None:
        """Let go of the connections."""
        await self._redis.aclose()

    # -- streams and states ---------------------------------------------------------------------

    async def cameras(self) -> dict[str, dict[str, Any]]:
        """Return the register: each camera's owner, grid, state and questions."""
        async with self._told():
            found = await self._redis.hgetall(keys.cameras_key(self._prefix))
        entries = {_text(name): _object(raw) for name, raw in found.items()}
        return {name: entry for name, entry in entries.items() if entry and is_camera_id(name)}

    async def state(self, camera_id: str) -> dict[str, bytes]:
        """Return the hash for late joiners: the last message of each field, where it is a hash."""
        async with self._told():
            pipe = self._redis.pipeline(transaction=False)
            pipe.hgetall(keys.state_key(self._prefix, camera_id))
            [found] = await pipe.execute(raise_on_error=False)
        return {_text(name): raw for name, raw in found.items()} if isinstance(found, dict) else {}

    async def read(
        self, after: Mapping[Stream, str], *, count: int, block_ms: int
    ) -> dict[Stream, Entries]:
        """Return what streams hold behind an entry's id each; wait for the first of it.

        Args:
            after: stream -> the id behind which to begin.
            count: of each stream at most.
            block_ms: how long to wait where there is nothing.
        """
        names = {self._stream_key(stream): stream for stream in after}
        async with self._told():
            reply: Any = await self._redis.xread(
                {key: after[stream] for key, stream in names.items()}, count=count, block=block_ms
            )
        return {
            names[_text(key)]: [(_text(one), fields) for one, fields in entries if fields]
            for key, entries in reply
        }

    async def last_ids(self, streams: Sequence[Stream]) -> dict[Stream, str]:
        """Return the id of the last entry of each stream that has one."""
        last = await self._last(streams)
        return {
            stream: _text(reply[0][0])
            for stream, reply in last.items()
            if isinstance(reply, list) and reply
        }

    async def foreign(self, streams: Sequence[Stream]) -> set[Stream]:
        """Return those under whose keys something else stands, with which `read` refuses all."""
        last = await self._last(streams)
        return {
            stream
            for stream, reply in last.items()
            if isinstance(reply, ResponseError) and own_fault(reply) == "wrong_type"
        }

    async def holds(self, stream: Stream, entry_id: str) -> bool:
        """Whether a stream still has an entry."""
        async with self._told():
            return bool(
                await self._redis.xrange(self._stream_key(stream), entry_id, entry_id, count=1)
            )

    # -- pictures -------------------------------------------------------------------------------

    async def watch(self, camera_ids: Iterable[str]) -> None:
        """Say that somebody looks at cameras, for ten seconds."""
        async with self._told():
            pipe = self._redis.pipeline(transaction=False)
            for camera_id in camera_ids:
                pipe.set(keys.watched_key(self._prefix, camera_id), "1", ex=WATCHED_S)
            await pipe.execute()

    async def shots(self, camera_ids: Sequence[str]) -> dict[str, Shot]:
        """Return the last pictures of cameras that somebody looks at, where there are any."""
        async with self._told():
            pipe = self._redis.pipeline(transaction=False)
            for camera_id in camera_ids:
                pipe.hgetall(keys.picture_key(self._prefix, camera_id))
            replies = await pipe.execute(raise_on_error=False)
        shots = {one: _shot(reply) for one, reply in zip(camera_ids, replies, strict=True)}
        return {camera_id: shot for camera_id, shot in shots.items() if shot is not None}

    async def evidence(self, camera_id: str, key: str) -> bytes | None:
        """Return a picture or clip that an event names; None where it is none, or is no more."""
        if not key.startswith(keys.evidence_prefix(self._prefix, camera_id)):
            return None
        async with self._told():
            found: bytes | None = await self._redis.get(key)  # type: ignore[assignment] # no str is asked for
        return found

    # -- workers and asks -----------------------------------------------------------------------

    async def workers(self) -> list[dict[str, Any]]:
        """Return the heartbeats of the workers that live."""
        found: list[dict[str, Any]] = []
        async with self._told():
            pattern = keys.heartbeat_key(self._prefix, "*")
            async for key in self._redis.scan_iter(match=pattern, count=1000):
                if (beat := _object(await self._redis.get(key))) is not None:
                    found.append({"worker_id": _text(key).rpartition(":")[2], **beat})
                if len(found) == MAX_WORKERS:
                    break
        return sorted(found, key=lambda one: str(one["worker_id"]))

    async def about_server(self) -> dict[str, Any]:
        """Return the server's version and memory, where it tells."""
        async with self._told():
            info: Any = await self._redis.info()
        names = ("redis_version", "used_memory", "maxmemory")
        return {name: info.get(name) for name in names}

    async def ask(
        self,
        ask_id: str,
        *,
        camera_id: str,
        question: str,
        kind: str,
        options: Sequence[str],
        deadline: str,
        wait_s: float,
    ) -> Any:
        """Put a question once; return the reply as JSON says it, None where none came in time.

        Args:
            ask_id: new each time.
            camera_id: whom it is about.
            question: its words.
            kind: how it is to be answered.
            options: the answers to choose from, for a choice.
            deadline: nobody replies after that, RFC 3339.
            wait_s: how long to wait for the reply.
        """
        fields = {"id": ask_id, "camera": camera_id, "question": question, "kind": kind}
        fields["deadline"] = deadline
        if options:
            fields["options"] = json.dumps(list(options))
        async with self._told():
            await self._redis.xadd(keys.asks_key(self._prefix), fields, maxlen=1000)  # type: ignore[arg-type] # a dict of words is one of what it takes
        waited_s = 0.0
        while waited_s < wait_s:  # in steps that end before the connection's own time-out
            async with self._told():
                reply: Any = await self._redis.blpop(
                    [keys.asks_key(self._prefix, ask_id)], timeout=1
                )
            if reply:
                return _object(reply[1])
            waited_s += 1.0
        return None

    async def command(self, fields: Mapping[str, str], *, wait_s: float) -> Any:
        """Send a command; return what the first worker says of it, None where none did in time.

        Args:
            fields: of the command.
            wait_s: how long to wait for an acknowledgement.
        """
        async with self._told():
            key = keys.control_key(self._prefix)
            sent = _text(await self._redis.xadd(key, dict(fields), maxlen=1000))  # type: ignore[arg-type] # as for asks
        acks = keys.acks_key(self._prefix)
        after, waited_s = f"{int(sent.partition('-')[0]) - 1}-0", 0.0
        while waited_s < wait_s:  # in steps that end before the connection's own time-out
            async with self._told():
                found: Any = await self._redis.xread({acks: after}, block=1000)
            if not found:
                waited_s += 1.0
            for entry_id, entry in (one for _, page in found or () for one in page):
                after, ack = _text(entry_id), _object(entry.get(b"ack"))
                if ack is not None and ack.get("command") == sent:
                    return ack
        return None

    # -- parts ----------------------------------------------------------------------------------

    async def _last(self, streams: Sequence[Stream]) -> dict[Stream, Any]:
        async with self._told():
            pipe = self._redis.pipeline(transaction=False)
            for stream in streams:
                pipe.xrevrange(self._stream_key(stream), count=1)
            return dict(zip(streams, await pipe.execute(raise_on_error=False), strict=True))

    def _stream_key(self, stream: Stream) -> str:
        return keys.stream_key(self._prefix, *stream)

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        """Turn what the driver raises into a word of ours; its text may carry what was sent."""
        try:
            yield
        except (RedisError, OSError, UnicodeError) as error:
            found = failure(error, is_tls=self._is_tls)
        else:
            return
        raise found


def streams_of(camera_ids: Iterable[str]) -> list[Stream]:
    """Return the streams of cameras."""
    return [(camera_id, kind) for camera_id in camera_ids for kind in KINDS]


def _text(raw: bytes | str) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw


def _object(raw: object) -> dict[str, Any] | None:
    try:
        found = writable(json.loads(raw)) if isinstance(raw, bytes | str) else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _shot(reply: object) -> Shot | None:
    if not isinstance(reply, dict) or not reply.get(b"jpeg"):
        return None
    grid = _object(reply.get(b"grid")) or {}
    rows, cols = grid.get("rows"), grid.get("cols")
    sent = _text(reply.get(b"sent", b""))
    if not isinstance(rows, int) or not isinstance(cols, int) or len(sent) != rows * cols:
        rows, cols, sent = 0, 0, ""
    return Shot(reply[b"jpeg"], _text(reply.get(b"captured_at", b"")), rows, cols, sent)
