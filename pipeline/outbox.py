"""Replies on their way out, safe on disk: bounded, ordered, numbered.

One SQLite file with a write-ahead log and `synchronous=NORMAL`: whatever `put` returned from
survives a kill of the process. A power cut may undo the last puts and deliveries, those since the
log was last synced (about 4 MiB of it); it leaves the file whole, and what was undone together was
put together, so events and their machines' states still agree. Numbers that were undone are given
again, in a later `generation`, so that nothing that follows is taken for a repetition.
"""

import json
import secrets
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from math import nan
from pathlib import Path

from pipeline.earlier_messages import up_to_date
from pipeline.errors import OutboxError
from pipeline.messages import KINDS, Message, MessageKind, Stored, encode
from pipeline.observer import OUTBOX_DROPPED, OUTBOX_SET_ASIDE, UNOBSERVED, Observer
from pipeline.redact import redact

_VERSION = 1
_ROW_BYTES = 192  # what SQLite adds to a body: the other columns, the index, its share of a page
_SET_ASIDE = 0
_WORTH: dict[MessageKind, int] = {"caption": 1, "status": 2, "answer": 3, "event": 4}

_TABLES = """
CREATE TABLE IF NOT EXISTS origin (name TEXT NOT NULL, generation INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    worth INTEGER NOT NULL,
    camera_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    generation INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    size INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_worth ON messages (worth);
CREATE TABLE IF NOT EXISTS numbers (
    camera_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (camera_id, kind)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS states (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

_INSERT = """
INSERT INTO messages (worth, camera_id, kind, id, size, body, generation, seq)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_OLDEST = """
SELECT row, generation, seq, kind, camera_id, id, body FROM messages
WHERE worth > ? ORDER BY row LIMIT ?
"""
_FORGET = """
DELETE FROM messages WHERE row IN (SELECT value FROM json_each(?)) RETURNING worth, size
"""
# Behind all that waits, under the generation of now: a later position than any before. The number
# stays, so that the gap in the stream is filled.
_RETRY = """
INSERT INTO messages (worth, camera_id, kind, generation, seq, id, size, body)
SELECT :worth, camera_id, kind, (SELECT generation FROM origin), seq, id, size, body
FROM messages WHERE worth = :aside AND kind = :kind ORDER BY row
"""
_SHELVE = """
UPDATE messages SET worth = :aside
WHERE row IN (SELECT value FROM json_each(:rows)) AND worth > :aside RETURNING kind
"""
_LEAST_WORTH = "SELECT row, worth, kind, size FROM messages ORDER BY worth, row"


class Outbox:
    """Messages that were not delivered yet, oldest first. Any thread may call anything.

    When it is full the least worth goes first: messages that were set aside, then the oldest
    captions, status, answers, and events last of all. The observer is told of every loss.

    Attributes:
        origin: a random name made with the file: with another origin, numbers started again.
        generation: how often the file was opened.
        moved_aside: where a corrupt file lies that a new one took the place of, or None.
    """

    def __init__(
        self, path: Path | None, *, max_bytes: int, observer: Observer = UNOBSERVED
    ) -> None:
        """Open or make the outbox.

        Args:
            path: the file, which one process at a time may have open; None keeps all in memory.
            max_bytes: bound on the messages in it, with what SQLite adds to each.
            observer: told of messages that were dropped or set aside.

        Raises:
            OutboxError: the file cannot be opened, is in use, or is of another version.
        """
        self._max_bytes = max_bytes
        self._num_waiting = 0
        self._num_set_aside = 0  # what was, when the file was opened, waits again
        self._size_bytes = 0
        self._changed = threading.Condition()
        self._observer = observer
        self._dropped: Counter[MessageKind] = Counter()
        self._note_dropped(())
        for kind in KINDS:
            observer.count(OUTBOX_SET_ASIDE, 0, kind=kind)
        self.moved_aside: Path | None = None
        try:
            self._db = self._open(path)
            # a file of 0.2.0 calls the first column `epoch`
            self.origin, self.generation = self._db.execute("SELECT * FROM origin").fetchone()
            self._numbers: dict[tuple[str, str], int] = {
                (camera_id, kind): seq
                for camera_id, kind, seq in self._db.execute("SELECT * FROM numbers")
            }
            self._size_bytes, self._num_waiting = self._db.execute(
                "SELECT COALESCE(SUM(size), 0), COUNT(*) FILTER (WHERE worth > ?) FROM messages",
                (_SET_ASIDE,),
            ).fetchone()
        except (sqlite3.Error, OSError) as exc:
            raise OutboxError(f"outbox {path}: {redact(str(exc))}") from exc

    @property
    def num_waiting(self) -> int:
        """Messages to be delivered."""
        with self._changed:
            return self._num_waiting

    @property
    def num_set_aside(self) -> int:
        """Messages that lie out of the way until the file is opened again."""
        with self._changed:
            return self._num_set_aside

    def camera_ids(self) -> set[str]:
        """Return every camera that a message was ever put of."""
        with self._changed:
            return {camera_id for camera_id, _ in self._numbers}

    @property
    def size_bytes(self) -> int:
        """What counts against `max_bytes`."""
        with self._changed:
            return self._size_bytes

    def oldest_age_s(self, now: datetime) -> float:
        """Return how long ago the oldest message to be delivered was made; 0 where there is none.

        NaN where the file cannot be read: a gauge must not raise.
        """
        try:
            oldest = self.pending(1)
        except OutboxError:
            return nan
        if not oldest:
            return 0.0
        made_at = datetime.fromisoformat(oldest[0].message.body["time"])
        return max(0.0, (now - made_at).total_seconds())

    def put(self, messages: Sequence[Message], *, states: Mapping[str, str] | None = None) -> None:
        """Number and keep messages, and remember named states, all or nothing.

        Raises:
            OutboxError: the disk is full or failing; nothing was kept, no number was used.
        """
        rows = [
            (_WORTH[m.kind], m.camera_id, m.kind, m.id, len(body) + _ROW_BYTES, body)
            for m, body in ((m, encode(m.body)) for m in messages)
        ]
        with self._changed:
            numbers: dict[tuple[str, str], int] = {}
            seqs = []
            for message in messages:
                key = (message.camera_id, message.kind)
                numbers[key] = numbers.get(key, self._numbers.get(key, 0)) + 1
                seqs.append((self.generation, numbers[key]))
            size_bytes = self._size_bytes + sum(size for *_, size, _ in rows)
            with self._transaction() as db:
                db.executemany(_INSERT, [row + seq for row, seq in zip(rows, seqs, strict=True)])
                db.executemany(
                    "INSERT OR REPLACE INTO numbers VALUES (?, ?, ?)",
                    [(*key, seq) for key, seq in numbers.items()],
                )
                db.executemany(
                    "INSERT OR REPLACE INTO states VALUES (?, ?)", (states or {}).items()
                )
                lost = _make_room(db, excess_bytes=size_bytes - self._max_bytes)
            self._numbers |= numbers
            self._num_waiting += len(rows) - sum(worth > _SET_ASIDE for worth, *_ in lost)
            self._size_bytes = size_bytes - sum(size for *_, size in lost)
            if lost:
                self._num_set_aside -= sum(worth == _SET_ASIDE for worth, *_ in lost)
                self._note_dropped(kind for worth, kind, _ in lost if worth > _SET_ASIDE)
            self._changed.notify_all()

    def load_states(self) -> dict[str, str]:
        """Return every state that was ever put, by name, as it was put last."""
        with self._transaction() as db:
            return dict(db.execute("SELECT name, value FROM states"))

    def pending(self, limit: int) -> list[Stored]:
        """Return up to `limit` messages to be delivered, oldest first. They stay until settled."""
        with self._transaction() as db:
            rows = db.execute(_OLDEST, (_SET_ASIDE, limit)).fetchall()
        return [
            Stored(
                row,
                self.origin,
                generation,
                seq,
                Message(kind, camera_id, id_, up_to_date(kind, json.loads(body))),
            )
            for row, generation, seq, kind, camera_id, id_, body in rows
        ]

    def delivered(self, rows: Iterable[int]) -> None:
        """Forget messages, by `Stored.row`."""
        with self._changed:
            with self._transaction() as db:
                gone = db.execute(_FORGET, (json.dumps(list(rows)),)).fetchall()
            self._num_waiting -= sum(worth > _SET_ASIDE for worth, _ in gone)
            self._size_bytes -= sum(size for _, size in gone)

    def set_aside(self, rows: Iterable[int]) -> None:
        """Take messages out of the way until the next start; they stay while there is room."""
        with self._changed:
            with self._transaction() as db:
                names = {"aside": _SET_ASIDE, "rows": json.dumps(list(rows))}
                aside = db.execute(_SHELVE, names).fetchall()
            self._num_waiting -= len(aside)
            self._num_set_aside += len(aside)
            for (kind,) in aside:
                self._observer.count(OUTBOX_SET_ASIDE, kind=kind)

    def wait(self, timeout_s: float) -> bool:
        """Return True as soon as there is something to deliver, False after `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._num_waiting > 0, timeout_s)
            return self._num_waiting > 0

    def close(self) -> None:
        """Close the file. Nothing else may be called after."""
        with self._changed:
            self._db.close()

    def _note_dropped(self, kinds: Iterable[MessageKind]) -> None:
        self._dropped.update(kinds)
        for kind in KINDS:
            self._observer.set(OUTBOX_DROPPED, self._dropped[kind], kind=kind)

    def _open(self, path: Path | None) -> sqlite3.Connection:
        if path is None:
            return _connect(":memory:")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _connect(path)
        except _CorruptFileError:
            self.moved_aside = _move_aside(path)
            return _connect(path)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._changed:
            try:
                with self._db:
                    self._db.execute("BEGIN IMMEDIATE")
                    yield self._db
            except sqlite3.Error as exc:
                raise OutboxError(f"outbox: {redact(str(exc))}") from exc


class _CorruptFileError(sqlite3.DatabaseError):
    """The file is no SQLite database, or a damaged one."""


def _connect(path: Path | str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
    try:
        # a second worker on the same file would give the same numbers to other messages
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        _check(db)
        # the generation must not be undone by a power cut: it tells what else was
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(_TABLES)
        with db:
            db.execute("BEGIN IMMEDIATE")
            db.execute(
                "INSERT INTO origin SELECT ?, 0 WHERE NOT EXISTS (SELECT * FROM origin)",
                (secrets.token_hex(8),),
            )
            db.execute("UPDATE origin SET generation = generation + 1")
            for kind, worth in _WORTH.items():
                db.execute(_RETRY, {"worth": worth, "aside": _SET_ASIDE, "kind": kind})
            db.execute("DELETE FROM messages WHERE worth = ?", (_SET_ASIDE,))
            db.execute(f"PRAGMA user_version = {_VERSION}")
        db.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.DatabaseError as exc:
        db.close()
        code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise _CorruptFileError(str(exc)) from exc
        raise
    return db


def _check(db: sqlite3.Connection) -> None:
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise _CorruptFileError(verdict)
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version not in (0, _VERSION):
        raise sqlite3.DatabaseError(f"expected version {_VERSION}, got {version}")


def _move_aside(path: Path) -> Path:
    """Rename the file with its log, whose pages must not be read into the next one."""
    number = 1
    while (aside := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def _make_room(db: sqlite3.Connection, *, excess_bytes: int) -> list[tuple[int, MessageKind, int]]:
    """Delete the least worth, oldest first; return (worth, kind, size) of what was lost."""
    if excess_bytes <= 0:
        return []
    rows, lost = [], []
    with closing(db.execute(_LEAST_WORTH)) as cursor:
        for row, worth, kind, size in cursor:
            rows.append((row,))
            lost.append((worth, kind, size))
            excess_bytes -= size
            if excess_bytes <= 0:
                break
    db.executemany("DELETE FROM messages WHERE row = ?", rows)
    return lost
