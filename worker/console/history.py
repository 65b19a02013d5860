"""Writes the console's history: what the streams told, once each, as much as may be kept."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.messages import MessageKind
from worker.console.tables import END_MS, first_id, open_history, own_id, size_bytes, time_of
from worker.console.told import Happening, Told

Verdict = Literal["right", "wrong"]
Stream = tuple[str, MessageKind]  # camera and kind

_SHARE = 20  # where there are too many bytes, a twentieth of the messages goes besides
_ROUNDS = 4  # in one sweep; the next one goes on
_CHUNK = 5000
# What SQLite or Python holds against one message's values, whatever else is kept. A disk that is
# full or failing is none of it: it is waited out.
_OWN_FAULTS = (
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
    *(sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError),
)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a stream was read: the last entry's id there, and its message's running number."""

    stream_id: str
    seq: int


BEGINNING = Cursor("0-0", 0)


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages that a stream no longer held when it was read.

    Attributes:
        start_ms: when the last one before was said; `end_ms`: the first one after.
        missed: how many are missing; None where the numbers do not tell.
    """

    start_ms: int
    end_ms: int
    missed: int | None


@dataclass(frozen=True, slots=True)
class Page:
    """What was read of one stream at a time.

    Attributes:
        stream: which.
        messages: what could be read, in order.
        cursor: how far.
        passed_over: what could not be read, by reason.
        gap: what was missing before the first.
    """

    stream: Stream
    messages: Sequence[Told]
    cursor: Cursor
    passed_over: Mapping[str, int] = field(default_factory=dict)
    gap: Gap | None = None


class History:
    """The file, in the hands of the one who writes it; one thread at a time.

    Not guaranteed: that what was written is there after a power cut; the streams are read again
    from where the file then says.
    """

    def __init__(self, path: Path, *, keep_ms: int, max_bytes: int) -> None:
        """Open or make it.

        Args:
            path: where.
            keep_ms: what is older goes; an event is as old as its end, and not while it goes on.
            max_bytes: where it holds more, the oldest goes; what goes on, last.

        Raises:
            ConfigError: the file cannot be used.
        """
        self._db = open_history(path)
        self._keep_ms = keep_ms
        self._max_bytes = max_bytes
        self._series: dict[tuple[str, ...], int] = {}
        self._last_said: dict[int, str | None] = {}

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def cursors(self) -> dict[Stream, Cursor]:
        """Return how far each stream was read."""
        rows = self._db.execute("SELECT camera, kind, stream_id, seq FROM cursor")
        return {(camera, kind): Cursor(stream_id, seq) for camera, kind, stream_id, seq in rows}

    def oldest_ms(self, now_ms: int) -> int:
        """Return the time before which nothing is kept."""
        return now_ms - self._keep_ms

    def take(self, pages: Sequence[Page]) -> None:
        """Write pages and how far they go, all or nothing.

        A message that cannot be kept is passed over and counted as `broken`: what is tried again
        would end here again.

        Raises:
            sqlite3.Error: the disk is full or failing; nothing of it was written.
        """
        try:
            with self._at_once():
                for page in pages:
                    self._take(page)
        except sqlite3.Error:
            self._series.clear()  # it may name what was rolled back
            self._last_said.clear()
            raise

    def mark(self, event_id: str, verdict: Verdict | None, *, truth: str = "") -> bool:
        """Note whether an event is right, and what is true where it is wrong; it is then reviewed.

        Returns:
            Whether there is such an event.
        """
        done = self._db.execute(
            "UPDATE event SET verdict = ?, truth = ?, is_reviewed = 1 WHERE event_id = ?",
            (verdict, truth or None, event_id),
        )
        return done.rowcount > 0

    def review(self, event_ids: Sequence[str], *, is_reviewed: bool = True) -> int:
        """Note which events somebody has seen; return how many there were."""
        with self._at_once():
            return sum(
                self._db.execute(
                    "UPDATE event SET is_reviewed = ? WHERE event_id = ?", (is_reviewed, event_id)
                ).rowcount
                for event_id in event_ids
            )

    def sweep(self, now_ms: int) -> int:
        """Delete what is older than is kept, or more than is kept; return how many messages."""
        removed = self._forget_before(first_id(self.oldest_ms(now_ms)), is_open_kept=True)
        for _ in range(_ROUNDS):
            size = size_bytes(self._db)
            if size <= self._max_bytes:
                break
            (count,) = self._db.execute("SELECT count(*) FROM message").fetchone()
            share = 1 - self._max_bytes / size + 1 / _SHARE
            row = self._db.execute(
                "SELECT id FROM message ORDER BY id LIMIT 1 OFFSET ?", (round(share * count),)
            ).fetchone()
            oldest_id = row[0] if row else first_id(END_MS)
            removed += self._forget_before(oldest_id, is_open_kept=True) or self._forget_before(
                oldest_id, is_open_kept=False
            )
            # what the index still holds of deleted messages takes room until it is merged
            self._db.execute("INSERT INTO words (words, rank) VALUES ('merge', 1000)")
        if removed:
            self._db.execute("PRAGMA incremental_vacuum")
        return removed

    # -- writing --------------------------------------------------------------------------------

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _take(self, page: Page) -> None:
        camera_id, kind = page.stream
        passed_over = Counter(page.passed_over)
        for told in page.messages:
            try:
                self._keep(told)
            except _OWN_FAULTS:
                passed_over["broken"] += 1
        for reason, count in passed_over.items():
            self._db.execute(
                "INSERT INTO passed_over VALUES (?, ?) "
                "ON CONFLICT DO UPDATE SET count = count + excluded.count",
                (reason, count),
            )
        if page.gap is not None:
            gap = page.gap
            self._db.execute(
                "INSERT OR REPLACE INTO gap VALUES (?, ?, ?, ?, ?)",
                (camera_id, kind, gap.start_ms, gap.end_ms, gap.missed),
            )
        self._db.execute(
            "INSERT OR REPLACE INTO cursor VALUES (?, ?, ?, ?)",
            (camera_id, kind, page.cursor.stream_id, page.cursor.seq),
        )

    def _keep(self, told: Told) -> None:
        if told.happening is not None:
            self._keep_event(told, told.happening)
            return
        series = self._series_of(told)
        message_id = self._new_id(told.at_ms, series, told.seq)
        if message_id is None:
            return
        self._insert(message_id, series, told)
        # An answer is found where it changed: every five seconds the same one is no find.
        is_new = told.kind == "answer" and self._last(series) != told.said
        self._last_said[series] = told.said
        if told.kind == "caption" or is_new:
            self._index(message_id, told)

    def _keep_event(self, told: Told, happening: Happening) -> None:
        found = self._db.execute(
            "SELECT id, pictures FROM event WHERE event_id = ?", (happening.event_id,)
        ).fetchone()
        pictures = {one["role"]: one for one in (json.loads(found[1]) if found else ())}
        pictures.update({one.role: asdict(one) for one in happening.pictures})
        clip = json.dumps(asdict(happening.clip)) if happening.clip else None
        if found:
            self._db.execute(
                "UPDATE event SET ended_ms = coalesce(?, ended_ms), said = ?, p = ?, "
                "reason = coalesce(?, reason), pictures = ?, clip = coalesce(?, clip) WHERE id = ?",
                (
                    *(happening.ended_ms, told.said, told.p, told.reason),
                    *(json.dumps(list(pictures.values())), clip, found[0]),
                ),
            )
            return
        series = self._series_of(told)
        message_id = self._new_id(happening.started_ms, series, happening.event_id)
        if message_id is None:
            return
        self._insert(message_id, series, told)
        self._db.execute(
            "INSERT INTO event (id, event_id, camera, question_id, question, question_kind, "
            "started_ms, ended_ms, said, p, reason, is_test, pictures, clip) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(message_id, happening.event_id, told.camera_id, told.question_id),
                *(told.question, told.question_kind, happening.started_ms, happening.ended_ms),
                *(told.said, told.p, told.reason, happening.is_test),
                *(json.dumps(list(pictures.values())), clip),
            ),
        )
        self._index(message_id, told)

    def _insert(self, message_id: int, series: int, told: Told) -> None:
        said = None if told.kind == "caption" else told.said  # a caption's is in the index alone
        self._db.execute(
            "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(message_id, series, told.seq, said, told.p, told.mass, told.reason),
                *(told.kept, told.total, told.asked_by == "ask"),
            ),
        )

    def _index(self, message_id: int, told: Told) -> None:
        self._db.execute(
            "INSERT INTO words (rowid, camera, question, said) VALUES (?, ?, ?, ?)",
            (message_id, told.camera_id, told.question, told.said),
        )

    def _new_id(self, at_ms: int, series: int, own: object) -> int | None:
        """Return an id that is free; None where the very message is there already."""
        message_id = own_id(at_ms, series, own)
        while True:
            row = self._db.execute(
                "SELECT series, seq FROM message WHERE id = ?", (message_id,)
            ).fetchone()
            if row is None:
                return message_id
            if row == (series, own):
                return None
            message_id += 1

    def _series_of(self, told: Told) -> int:
        key = (told.camera_id, told.kind, told.question_id, told.question, told.question_kind)
        found = self._series.get(key)
        if found is None:
            self._db.execute(
                "INSERT OR IGNORE INTO series (camera, kind, question_id, question, question_kind) "
                "VALUES (?, ?, ?, ?, ?)",
                key,
            )
            (found,) = self._db.execute(
                "SELECT id FROM series WHERE (camera, kind, question_id, question, question_kind) "
                "= (?, ?, ?, ?, ?)",
                key,
            ).fetchone()
            self._series[key] = int(found)
        return int(found)

    def _last(self, series: int) -> str | None:
        if series not in self._last_said:
            row: Any = self._db.execute(
                "SELECT said FROM message WHERE series = ? ORDER BY id DESC LIMIT 1 OFFSET 1",
                (series,),
            ).fetchone()
            self._last_said[series] = row[0] if row else None
        return self._last_said[series]

    def _forget_before(self, oldest_id: int, *, is_open_kept: bool) -> int:
        oldest_ms = time_of(oldest_id)
        self._db.execute(
            "DELETE FROM event WHERE id < ? AND (ended_ms < ? OR NOT ?)",
            (oldest_id, oldest_ms, is_open_kept),
        )
        removed = 0
        while True:  # all but what stays with its event
            with self._at_once():
                row = self._db.execute(
                    "SELECT max(id) FROM (SELECT id FROM message "
                    "WHERE id < ? AND id NOT IN (SELECT id FROM event) ORDER BY id LIMIT ?)",
                    (oldest_id, _CHUNK),
                ).fetchone()
                last = row[0]
                if last is None:
                    break
                self._db.execute(
                    "DELETE FROM words WHERE rowid <= ? AND rowid NOT IN (SELECT id FROM event)",
                    (last,),
                )
                removed += self._db.execute(
                    "DELETE FROM message WHERE id <= ? AND id NOT IN (SELECT id FROM event)",
                    (last,),
                ).rowcount
        with self._at_once():
            self._db.execute("DELETE FROM gap WHERE end_ms < ?", (oldest_ms,))
            self._db.execute(
                "DELETE FROM series WHERE NOT EXISTS "
                "(SELECT 1 FROM message WHERE message.series = series.id)"
            )
        self._series.clear()
        self._last_said.clear()
        return removed
