"""The console's history file: its tables, how it is opened, and how its ids are made of times.

A message's id is its time in milliseconds with 20 bits of its own behind it. So the order of ids is
that of time, in the full-text index too, whose rowid it is; a stretch of time is a range of ids;
and a message that comes twice has the same id.
"""

import os
import sqlite3
import zlib
from contextlib import ExitStack, closing
from pathlib import Path

from pipeline.errors import ConfigError

VERSION = 1
APPLICATION = 0x5649474C  # "VIGL", in the file's head
END_MS = 1 << 42  # in 2109: later than every message, and SQLite can still hold an id of it
_OWN_BITS = 20
_LOG_PAGES = 1000
_BUSY_MS = 5000

SCHEMA = """
PRAGMA auto_vacuum = INCREMENTAL;
CREATE TABLE series (
  id INTEGER PRIMARY KEY, camera TEXT NOT NULL, kind TEXT NOT NULL,
  question_id TEXT NOT NULL, question TEXT NOT NULL, question_kind TEXT NOT NULL,
  UNIQUE (camera, kind, question_id, question, question_kind)
) STRICT;
CREATE TABLE message (
  id INTEGER PRIMARY KEY, series INTEGER NOT NULL, seq INTEGER NOT NULL, said TEXT,
  p REAL, mass REAL, reason TEXT, kept INTEGER, total INTEGER, asked INTEGER NOT NULL
) STRICT;
CREATE INDEX message_of_series ON message (series, id);
CREATE VIRTUAL TABLE words USING fts5 (
  camera, question, said, tokenize = 'porter unicode61 remove_diacritics 2'
);
CREATE TABLE event (
  id INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, camera TEXT NOT NULL,
  question_id TEXT NOT NULL, question TEXT NOT NULL, question_kind TEXT NOT NULL,
  started_ms INTEGER NOT NULL, ended_ms INTEGER, said TEXT NOT NULL, p REAL, reason TEXT,
  is_test INTEGER NOT NULL, pictures TEXT NOT NULL, clip TEXT,
  is_reviewed INTEGER NOT NULL DEFAULT 0, verdict TEXT, truth TEXT
) STRICT;
CREATE INDEX event_new ON event (is_reviewed) WHERE is_reviewed = 0;
CREATE TABLE cursor (
  camera TEXT NOT NULL, kind TEXT NOT NULL, stream_id TEXT NOT NULL, seq INTEGER NOT NULL,
  PRIMARY KEY (camera, kind)
) STRICT, WITHOUT ROWID;
CREATE TABLE gap (
  camera TEXT NOT NULL, kind TEXT NOT NULL, start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL,
  missed INTEGER, PRIMARY KEY (camera, kind, start_ms)
) STRICT, WITHOUT ROWID;
CREATE TABLE passed_over (
  reason TEXT PRIMARY KEY, count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""


def open_history(path: Path) -> sqlite3.Connection:
    """Open or make the file, readable by its owner alone.

    Raises:
        ConfigError: it cannot be opened, or is another program's or a later version's.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        with ExitStack() as stack:  # closes it where it is refused
            db = stack.enter_context(closing(_connect(path)))
            version = _number(db, "user_version"), _number(db, "application_id")
            if version == (0, 0) and not _number(db, "schema_version"):
                db.executescript(SCHEMA)
                db.execute(f"PRAGMA application_id = {APPLICATION}")
                db.execute(f"PRAGMA user_version = {VERSION}")
            elif version != (VERSION, APPLICATION):
                raise ConfigError(f"{path}: expected a history of this version's console")
            db.execute("PRAGMA journal_mode = WAL")
            stack.pop_all()
    except sqlite3.DatabaseError as error:
        raise ConfigError(
            f"{path}: expected a history of the console that can be written: {error}"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{path}: expected a file that can be written: {error.strerror}"
        ) from None
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    return db


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a history that is there, beside the one who writes it, to read alone."""
    db = _connect(path)
    db.execute("PRAGMA query_only = 1")
    db.execute("PRAGMA mmap_size = 268435456")
    return db


def first_id(at_ms: int) -> int:
    """Return the least id that a message of that millisecond can have."""
    return at_ms << _OWN_BITS


def time_of(message_id: int) -> int:
    """Return the milliseconds since 1970 that an id is made of."""
    return message_id >> _OWN_BITS


def own_id(at_ms: int, *parts: object) -> int:
    """Return the id of a message that `parts` tell from others of the same millisecond."""
    own = zlib.crc32("\0".join(map(str, parts)).encode()) & ((1 << _OWN_BITS) - 1)
    return first_id(at_ms) | own


def size_bytes(db: sqlite3.Connection) -> int:
    """Return what the file holds; pages that wait to be used again do not count."""
    pages = _number(db, "page_count") - _number(db, "freelist_count")
    return pages * _number(db, "page_size")


def _connect(path: Path) -> sqlite3.Connection:
    # each connection is used by one thread at a time, though not always by the one that opened it
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    return db


def _number(db: sqlite3.Connection, pragma: str) -> int:
    return int(db.execute(f"PRAGMA {pragma}").fetchone()[0])
