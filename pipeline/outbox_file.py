"""The outbox's file: opened, checked, kept private, moved aside; and the room on its disk."""

import errno
import os
import shutil
import sqlite3
from contextlib import closing, suppress
from glob import escape
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory, TemporaryFile

from pipeline.errors import OutboxError
from pipeline.outbox_tables import TABLES

RESERVE_BYTES = 1 << 20  # kept free on the disk: the log, and what moving it into the file takes

_VERSION = 2
_READABLE = (0, 1, _VERSION)  # a new file, one without pictures
_LOG_PAGES = 128  # half a MiB, then the log's pages are moved into the file and synced
_MEMORY = ":memory:"
_PARTS = ("", "-wal", "-shm")

_OURS = {"origin", "messages", "numbers", "states", "pictures"}

_HELD = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_REASONS = {
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_READONLY: "read_only",
    sqlite3.SQLITE_IOERR: "io_error",
    sqlite3.SQLITE_CORRUPT: "corrupt",
    sqlite3.SQLITE_NOTADB: "corrupt",
    sqlite3.SQLITE_CANTOPEN: "cannot_open",
}
_OS_REASONS = {
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
    errno.EFBIG: "full",
    errno.EROFS: "read_only",
    errno.EACCES: "read_only",
    errno.EPERM: "read_only",
}


class CorruptFileError(sqlite3.DatabaseError):
    """The file is no SQLite database, or a damaged one."""


def open_file(path: Path) -> sqlite3.Connection:
    """Open or make an outbox's file, readable by its owner alone; its generation is one more.

    Raises:
        OutboxError: it is in use, or no outbox of this version, or can never be a file.
        CorruptFileError: it is damaged.
        sqlite3.Error, OSError: the disk is full, failing or cannot be written.
    """
    if path.is_dir():
        raise OutboxError(f"{path}: expected a file, got a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except (FileExistsError, NotADirectoryError, FileNotFoundError):
        raise OutboxError(f"{path}: expected a file in a folder that can be made") from None
    for suffix in (*_PARTS, ".corrupt-*"):  # the version before left them to the umask
        for part in path.parent.glob(escape(path.name) + suffix):
            with suppress(PermissionError):
                part.chmod(0o600)
    return _connect(path)


def open_memory() -> sqlite3.Connection:
    """Return an empty outbox that lives in memory alone."""
    return _connect(_MEMORY)


def open_copy(path: Path) -> sqlite3.Connection | None:
    """Return a copy of a file that cannot be opened where it lies; None where it cannot be read.

    SQLite reads a log only where it may write.

    Raises:
        OutboxError: it is no outbox of this version.
    """
    for place in (None, "/dev/shm"):  # noqa: S108 (a folder of one's own is made in it)
        with suppress(OSError, sqlite3.Error), TemporaryDirectory(dir=place) as folder:
            copy = Path(folder) / "outbox"
            shutil.copyfile(path, copy)
            log = path.with_name(f"{path.name}-wal")
            if log.exists():
                shutil.copyfile(log, f"{copy}-wal")
            return _connect(copy)  # which goes on when its names are gone
    return None


def move_aside(path: Path) -> Path:
    """Rename the file with its log, whose pages must not be read into the next one."""
    number = 1
    while (aside := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    move(path, aside)
    return aside


def move(path: Path, to: Path) -> None:
    """Rename the file, its log first."""
    for suffix in reversed(_PARTS):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(to.with_name(to.name + suffix))


def is_held(path: Path) -> bool:
    """Say whether another process has the outbox open."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(uri, uri=True)) as db:
        db.execute("PRAGMA busy_timeout = 0")
        db.execute("PRAGMA locking_mode = EXCLUSIVE")  # so that no file is made beside it
        try:
            db.execute("PRAGMA user_version")
        except sqlite3.DatabaseError as exc:
            return exc.sqlite_errorcode & 0xFF in _HELD
    return False


def has_waiting(path: Path) -> bool:
    """Say whether messages wait in an outbox that no process has open."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    with suppress(sqlite3.Error), closing(sqlite3.connect(uri, uri=True)) as db:
        db.execute("PRAGMA busy_timeout = 0")
        db.execute("PRAGMA locking_mode = EXCLUSIVE")  # so that no file is made beside it
        return db.execute("SELECT 1 FROM messages WHERE worth > 0 LIMIT 1").fetchone() is not None
    return False


def begin_in_log(path: Path, memory: sqlite3.Connection) -> bool:
    """Begin the file anew in the place its log has on a full disk, if it fits; say whether it did.

    In this order no byte is freed that another program could take, nor is any moment without a
    whole file: what the log had is in `memory`.
    """
    log = path.with_name(f"{path.name}-wal")
    with suppress(OSError, sqlite3.Error):
        memory.execute("VACUUM")
        content = memory.serialize()
        if log.stat().st_size < len(content):
            return False
        with log.open("r+b") as file:
            file.write(content)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        log.replace(path)
        return True
    return False


def has_room(folder: Path, num_bytes: int) -> bool:
    """Say whether the disk has so much left, for this user: quotas and limits count."""
    try:
        with TemporaryFile(dir=folder) as probe:
            os.posix_fallocate(probe.fileno(), 0, num_bytes)
    except OSError:
        return False
    return True


def reason_of(error: Exception) -> str:
    """Return one of a few words for what is the matter with the file."""
    if isinstance(error, OSError):
        return _OS_REASONS.get(error.errno or 0, "io_error")
    code = getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR
    return _REASONS.get(code & 0xFF, "failed")


def _connect(path: Path | str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
    try:
        # a second worker on the same file would give the same numbers to other messages
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        _check(db, path)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {RESERVE_BYTES}")
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute("PRAGMA secure_delete = FAST")  # or what is deleted takes room in the log
        # the generation must not be undone by a power cut: it tells what else was
        db.execute("PRAGMA synchronous = FULL")
        with db:
            db.execute("BEGIN IMMEDIATE")
            for table in TABLES.split(";"):
                db.execute(table)
            db.execute(
                "INSERT INTO origin SELECT ?, 0 WHERE NOT EXISTS (SELECT * FROM origin)",
                (token_hex(8),),
            )
            db.execute("UPDATE origin SET generation = generation + 1")
            db.execute(f"PRAGMA user_version = {_VERSION}")
        db.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.DatabaseError as exc:
        db.close()
        code = (getattr(exc, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise CorruptFileError(str(exc)) from exc
        if code in _HELD:
            raise OutboxError(
                f"{path}: in use by another worker (the file is locked): each needs its own outbox"
            ) from exc
        raise
    except OutboxError:
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection, path: Path | str) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if version not in _READABLE:
        raise OutboxError(f"{path}: expected version {_VERSION}, got {version}: another wrote it")
    if {name for name in tables if not name.startswith("sqlite_")} - _OURS:
        raise OutboxError(f"{path}: expected an outbox, got another program's database")
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise CorruptFileError(verdict)
