"""Records that wait for a broker: in a file that a kill does not harm, bounded, in order."""

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Condition, Event
from typing import Any

from pipeline.clock import Clock
from pipeline.errors import OutboxError
from pipeline.metrics import (
    INGEST_BYTES,
    INGEST_DROPPED,
    INGEST_WAITING,
    INGEST_WAITING_BYTES,
)
from pipeline.observer import Observer
from pipeline.outbox_file import reason_of
from pipeline.outbox_trouble import Trouble
from pipeline.sinks.outlet import OutRecord

MAX_MEMORY_BYTES = 64 * 2**20  # while the disk fails
ROW_BYTES = 200  # what a record takes beside its picture
LOOK_S = 1.0

_VERSION = 1
_TABLE = """
CREATE TABLE IF NOT EXISTS frames (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    camera TEXT NOT NULL,
    captured_at REAL NOT NULL,
    state TEXT NOT NULL,
    value BLOB NOT NULL
)
"""
_ROW = "INSERT INTO frames VALUES (?, ?, ?, ?, ?)"
_INSERT = "INSERT INTO frames (camera, captured_at, state, value) VALUES (?, ?, ?, ?)"
_ALL = "SELECT row, camera, captured_at, state, value FROM frames ORDER BY row"
# With a picture go those after it that stand for it.
_WITH_ITS_OWN = "FROM frames WHERE camera = ? AND row >= ? AND row < ?"
_END = 2**62


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record that waits, and its place in the queue."""

    row: int
    record: OutRecord


class FrameBuffer:
    """A bounded queue of records. Safe from any thread.

    When it is full the oldest picture gives way, and with it the records that stand for it: they
    would be taken for the picture before. Every record goes through the file, so that a killed
    process has lost none; it is not synced, so a power cut may lose some, or the file. While the
    file fails the records are in memory.
    """

    def __init__(
        self, path: Path | None, *, max_bytes: int, clock: Clock, observer: Observer
    ) -> None:
        """Open or make the file; None for memory alone.

        Raises:
            OutboxError: the file is in use, of another version, or no such file.
        """
        self._path = path
        self._max_bytes = max_bytes
        self._observer = observer
        self._changed = Condition()
        self._trouble = Trouble(clock=clock, observer=observer)
        self._known: set[str] = set()  # cameras whose last picture waits here, or has arrived
        self.num_waiting = self.size_bytes = 0
        try:
            self._db = _connect(None) if path is None else self._opened(path)
        except (sqlite3.Error, OSError) as error:
            self._db = _connect(None)
            self._fails(error)
        self._count()

    @property
    def trouble(self) -> str:
        """What is the matter with the disk, in words; empty where nothing is."""
        return self._trouble.text

    @property
    def num_set_aside(self) -> int:
        """None ever is."""
        return 0

    def put(self, record: OutRecord) -> bool:
        """Let a record wait; False, and nothing done, for one that stands for a picture now gone.

        One that only tells of damage stands for none.
        """
        with self._changed:
            if record.value:
                self._known.add(record.camera_id)
            elif record.camera_id not in self._known and record.state != "damaged":
                return False
            self._outlive(lambda: self._insert(record))
            self._grew(1, ROW_BYTES + len(record.value))
            while self.size_bytes > self._bound and self.num_waiting > 1:
                self._outlive(self._give_way)
            self._changed.notify_all()
            return True

    def wait(self, timeout_s: float) -> bool:
        """Return True as soon as something waits, False after `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: self.num_waiting > 0, timeout_s)

    def pending(self, limit: int) -> list[Waiting]:
        """Return up to `limit` records, oldest first. They stay until they are settled."""
        with self._changed:
            rows: Iterable[Any] = self._outlive(
                lambda: self._db.execute(f"{_ALL} LIMIT ?", (limit,)).fetchall()
            )
        return [
            Waiting(row, OutRecord(camera, datetime.fromtimestamp(at, UTC), state, value))
            for row, camera, at, state, value in rows
        ]

    def delivered(self, row: int) -> None:
        """Forget a record: it has arrived."""
        with self._changed:
            found = self._outlive(lambda: self._pop(row))
            if found is not None:
                camera, num_bytes = found
                self._observer.count(INGEST_BYTES, num_bytes, camera=camera)

    def refused(self, row: int) -> None:
        """Forget a picture that the broker does not take, and those that stand for it."""
        with self._changed:
            self._outlive(lambda: self._drop(row, reason="too_large"))

    def run(self, stop: Event, *, beat: Callable[[], None]) -> None:
        """Look after the disk until `stop`, and beat while whoever writes to it does not hang."""
        while not stop.wait(LOOK_S):
            with self._changed:
                if self._trouble.is_due() and self._path is not None:
                    self._return(self._path)
            beat()

    def close(self) -> None:
        """Close the file; what waits in it waits for the next start."""
        with self._changed:
            self._path = None  # what comes yet is refused, not kept in memory
            self._db.close()

    # ---------------------------------------------------------------- rows; the lock is held

    @property
    def _bound(self) -> int:
        return min(self._max_bytes, MAX_MEMORY_BYTES) if self.trouble else self._max_bytes

    def _insert(self, record: OutRecord) -> None:
        values = record.camera_id, record.captured_at.timestamp(), record.state, record.value
        self._db.execute(_INSERT, values)

    def _pop(self, row: int) -> tuple[str, int] | None:
        found = self._db.execute(
            "DELETE FROM frames WHERE row = ? RETURNING camera, length(value)", (row,)
        ).fetchall()
        for _, num_bytes in found:
            self._grew(-1, -ROW_BYTES - num_bytes)
        return found[0] if found else None

    def _give_way(self) -> None:
        (row,) = self._db.execute("SELECT min(row) FROM frames").fetchone()
        self._drop(row, reason="full")

    def _drop(self, row: int, *, reason: str) -> None:
        found = self._db.execute(
            "SELECT camera, length(value) > 0 FROM frames WHERE row = ?", (row,)
        ).fetchone()
        if found is None:
            return
        camera, is_picture = found
        (later,) = self._db.execute(
            "SELECT min(row) FROM frames WHERE camera = ? AND row > ? AND value <> x''",
            (camera, row),
        ).fetchone()
        place = (camera, row, (later or _END) if is_picture else row + 1)
        number, num_bytes = self._db.execute(
            f"SELECT count(*), sum(length(value)) {_WITH_ITS_OWN}", place
        ).fetchone()
        self._db.execute(f"DELETE {_WITH_ITS_OWN}", place)
        if is_picture and not later:
            self._known.discard(camera)
        self._grew(-number, -ROW_BYTES * number - num_bytes)
        self._observer.count(INGEST_DROPPED, number, camera=camera, reason=reason)

    def _grew(self, number: int, num_bytes: int) -> None:
        self.num_waiting += number
        self.size_bytes += num_bytes
        self._observer.set(INGEST_WAITING, self.num_waiting)
        self._observer.set(INGEST_WAITING_BYTES, self.size_bytes)

    def _count(self) -> None:
        number, num_bytes = self._db.execute(
            "SELECT count(*), coalesce(sum(length(value)), 0) FROM frames"
        ).fetchone()
        self.num_waiting = self.size_bytes = 0
        self._grew(number, num_bytes + ROW_BYTES * number)

    # ---------------------------------------------------------------- the disk

    def _outlive(self, work: Callable[[], Any]) -> Any:
        """Do again in memory what the file failed to do."""
        try:
            return work()
        except sqlite3.Error as error:
            if self.trouble or self._path is None:
                raise OutboxError(f"no room for pictures: {error}") from error
            self._fails(error)
            return work()

    def _fails(self, error: Exception) -> None:
        """Go on in memory, with what can still be read; what cannot is counted."""
        file, self._db = self._db, _connect(None)
        before = self.num_waiting
        self._db.executemany(_ROW, _rescued(file))
        with suppress(sqlite3.Error):
            file.close()
        self._count()
        if self.num_waiting < before:
            self._known.clear()
            number = before - self.num_waiting
            self._observer.count(INGEST_DROPPED, number, camera="", reason="disk")
        reason = reason_of(error)
        text = f"{self._path}: pictures wait in memory, {MAX_MEMORY_BYTES >> 20} MiB at most: "
        self._trouble.begin(text + reason, reason=reason)

    def _return(self, path: Path) -> None:
        """Go back to the file, begun anew: what it had is in memory, or was sent."""
        memory = self._db
        try:
            with ExitStack() as stack:  # closes it where it fails again
                file = stack.enter_context(closing(self._opened(path)))
                file.execute("DELETE FROM frames")
                with file:
                    file.execute("BEGIN")
                    file.executemany(_ROW, memory.execute(_ALL))
                stack.pop_all()
        except (sqlite3.Error, OSError, OutboxError):
            return
        self._db = file
        memory.close()
        self._trouble.end()

    def _opened(self, path: Path) -> sqlite3.Connection:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _connect(path)
        except sqlite3.DatabaseError as error:
            if reason_of(error) != "corrupt":
                raise
        for suffix in ("", "-wal", "-shm"):  # as a power cut may leave it; nobody reads it any more
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        self._observer.count(INGEST_DROPPED, camera="", reason="disk")
        return _connect(path)


def _rescued(file: sqlite3.Connection) -> list[Any]:
    """Return the newest rows that can be read and that memory holds, oldest first."""
    rows, num_bytes, is_cut = [], 0, True
    with suppress(sqlite3.Error):
        for row in file.execute(f"{_ALL} DESC"):
            num_bytes += ROW_BYTES + len(row[-1])
            if num_bytes > MAX_MEMORY_BYTES:
                break
            rows.append(row)
        else:
            is_cut = False
    rows.reverse()
    if not is_cut:
        return rows
    known: set[str] = set()  # what stands for a picture that was cut off goes with it
    sound = []
    for row in rows:
        known |= {row[1]} if row[-1] else set()
        sound += [row] if row[1] in known else []
    return sound


def _check(db: sqlite3.Connection, path: Path | None) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (others,) = db.execute(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' "
        "AND name NOT IN ('frames', 'sqlite_sequence')"
    ).fetchone()
    if version not in (0, _VERSION) or others:
        raise OutboxError(f"{path}: expected a buffer of pictures, got another's database")


def _connect(path: Path | None) -> sqlite3.Connection:
    db = sqlite3.connect(
        path or ":memory:", timeout=1.0, isolation_level=None, check_same_thread=False
    )
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        _check(db, path)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")  # what is sent within seconds need not reach a disk
        db.execute(_TABLE)
        db.execute(f"PRAGMA user_version = {_VERSION}")
        db.execute("DELETE FROM frames WHERE 0")  # takes the lock, so that one in use is seen now
    except sqlite3.OperationalError as error:
        db.close()
        if "locked" in str(error):
            raise OutboxError(
                f"{path}: in use by another vigil ingest: each needs its own"
            ) from None
        raise
    except BaseException:
        db.close()
        raise
    return db
