"""Follows the streams into the history and onto the wall: by id, so that nothing is missed.

How far each stream was read is written together with what was read of it. What a stream no longer
holds when it is read is a gap, and is written down as one.
"""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from pipeline.errors import PublishError
from worker.console.history import BEGINNING, Cursor, Gap, History, Page, Stream
from worker.console.redis import ConsoleRedis, Entries, streams_of
from worker.console.told import Told, UnreadableError, read_message
from worker.console.wall import Wall

REGISTER_EVERY_S = 2.0
SWEEP_EVERY_S = 60.0
WATCH_EVERY_S = 3.0
SHOT_EVERY_S = 1.0
BLOCK_MS = 500
ENTRIES = 4000  # of all streams at a time: some 4 MB
RETRY_S, RETRY_CAP_S = 0.25, 2.0

InHistory = Callable[[Callable[[], object]], Awaitable[object]]

log = structlog.get_logger("vigil")


class Follower:
    """Reads what is new, for as long as the console runs."""

    def __init__(
        self, redis: ConsoleRedis, history: History, wall: Wall, *, in_history: InHistory
    ) -> None:
        """Note the parts.

        Args:
            redis: where the streams are.
            history: where they go; this is all that writes it but for marks.
            wall: what is told at once.
            in_history: runs a function in the one thread that the history is used in.
        """
        self._redis = redis
        self._history = history
        self._wall = wall
        self._in_history = in_history
        self._cursors: dict[Stream, Cursor] = {}
        self._foreign: set[Stream] = set()
        self._new: list[str] = []
        self.is_caught_up = False

    async def run(self) -> None:
        """Follow until cancelled, through whatever outage."""
        await self._in_history(self._take_cursors)
        sweeping = asyncio.create_task(self._sweep())
        failures = 0
        try:
            while True:
                try:
                    await self._follow()
                except PublishError as error:
                    self._fails(error.reason)
                except sqlite3.Error as error:
                    self._fails(f"history_{(error.sqlite_errorname or '').lower()}")
                failures += 1
                await asyncio.sleep(min(RETRY_CAP_S, RETRY_S * 2 ** min(failures, 8)))
                failures = 0 if self._wall.link["up"] else failures
        finally:
            sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await sweeping

    async def watch(self) -> None:
        """Fetch the pictures of those cameras that somebody looks at, until cancelled."""
        loop = asyncio.get_running_loop()
        said: dict[str, float] = {}
        while True:
            now_s = loop.time()
            watched = self._wall.watched()
            try:
                if due := [one for one in watched if now_s - said.get(one, -1e9) >= WATCH_EVERY_S]:
                    await self._redis.watch(due)
                    said = {one: at for one, at in said.items() if one in watched}
                    said |= dict.fromkeys(due, now_s)
                if watched:
                    self._wall.show(await self._redis.shots(watched))
            except PublishError:
                pass  # the one who follows tells it
            await asyncio.sleep(max(0.1, SHOT_EVERY_S / 2 - (loop.time() - now_s)))

    # -- following ------------------------------------------------------------------------------

    def _take_cursors(self) -> None:
        self._cursors = self._history.cursors()

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        register_due_s = 0.0
        await self._check_cursors()
        while True:
            if loop.time() >= register_due_s:
                self._new = self._wall.register(await self._redis.cameras())
                self._wall.stand(is_up=True)
                self._foreign = await self._redis.foreign(list(self._foreign))
                register_due_s = loop.time() + REGISTER_EVERY_S
            await self._tell_states()
            streams = {*streams_of(self._wall.tiles), *self._cursors} - self._foreign
            if not streams:
                await asyncio.sleep(BLOCK_MS / 1000)
                continue
            pages = await self._pages(streams)
            if pages:
                await self._in_history(lambda pages=pages: self._history.take(pages))  # type: ignore[misc] # mypy cannot infer a lambda with a default
            self._told(pages)
            self.is_caught_up = not pages

    async def _check_cursors(self) -> None:
        """Begin again where a stream ends before our place in it: Redis' clock was set back."""
        last = await self._redis.last_ids(list(self._cursors))
        for stream, last_id in last.items():
            if _order(last_id) < _order(self._cursors[stream].stream_id):
                # what is there twice is kept once
                self._cursors[stream] = Cursor(BEGINNING.stream_id, self._cursors[stream].seq)

    async def _pages(self, streams: set[Stream]) -> list[Page]:
        """Read on; what is no stream is left out until it is one, counted and said once."""
        after = {one: self._cursors.get(one, BEGINNING) for one in streams}
        count = max(10, ENTRIES // len(streams))
        try:
            found = await self._redis.read(
                {one: cursor.stream_id for one, cursor in after.items()},
                count=count,
                block_ms=BLOCK_MS,
            )
        except PublishError as error:
            foreign = await self._redis.foreign(list(after)) if error.reason == "wrong_type" else ()
            if not foreign:
                raise
            self._foreign.update(foreign)
            for camera_id, kind in foreign:
                log.warning("console_passes_over", camera=camera_id, kind=kind, reason=error.reason)
            return [Page(one, (), after[one], {error.reason: 1}) for one in foreign]
        return [await self._page(stream, found[stream]) for stream in found if found[stream]]

    async def _page(self, stream: Stream, entries: Entries) -> Page:
        camera_id, kind = stream
        now_ms = self._wall.now_ms()
        oldest_ms = self._history.oldest_ms(now_ms)
        messages: list[Told] = []
        passed_over: Counter[str] = Counter()
        for _, fields in entries:
            try:
                messages.append(
                    read_message(
                        fields.get(b"event"),
                        kind=kind,
                        camera_id=camera_id,
                        now_ms=now_ms,
                        oldest_ms=oldest_ms,
                    )
                )
            except UnreadableError as error:
                passed_over[error.reason] += 1
        before = self._cursors.get(stream, BEGINNING)
        gap = await self._gap(stream, before, first=messages[0] if messages else None)
        seq = messages[-1].seq if messages else before.seq
        return Page(stream, messages, Cursor(entries[-1][0], seq), passed_over, gap)

    async def _gap(self, stream: Stream, before: Cursor, *, first: Told | None) -> Gap | None:
        """Return what was missed between two readings; None where nothing was.

        While the last entry that was read is in the stream, all that follow it are.
        """
        if before.stream_id == BEGINNING.stream_id or first is None:
            return None
        if first.seq == before.seq + 1 or await self._redis.holds(stream, before.stream_id):
            return None
        missed = first.seq - before.seq - 1
        start_ms = min(_order(before.stream_id)[0], first.at_ms)
        return Gap(start_ms, first.at_ms, missed if missed > 0 else None)

    def _told(self, pages: list[Page]) -> None:
        for page in pages:
            self._cursors[page.stream] = page.cursor
            for told in page.messages:
                self._wall.tell(told)

    async def _tell_states(self) -> None:
        """Show at once how a camera stands that was not known, however much there is to read."""
        while self._new:
            camera_id = self._new[-1]
            now_ms = self._wall.now_ms()
            for name, raw in (await self._redis.state(camera_id)).items():
                kind = {"question": "answer"}.get(name.partition(":")[0], name.partition(":")[0])
                if kind not in ("caption", "answer", "event", "status"):
                    continue
                with suppress(UnreadableError):
                    self._wall.tell(
                        read_message(raw, kind=kind, camera_id=camera_id, now_ms=now_ms)  # type: ignore[arg-type] # it was just compared
                    )
            self._new.pop()

    async def _sweep(self) -> None:
        while True:
            with suppress(sqlite3.Error):
                await self._in_history(lambda: self._history.sweep(self._wall.now_ms()))
            await asyncio.sleep(SWEEP_EVERY_S)

    def _fails(self, reason: str) -> None:
        self.is_caught_up = False
        if self._wall.link["up"] or self._wall.link["reason"] != reason:
            log.warning("console_waits", reason=reason)
        self._wall.stand(is_up=False, reason=reason)


def _order(entry_id: str) -> tuple[int, int]:
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number or 0)
