"""Replies on their way out, safe on disk: bounded, ordered, numbered.

One SQLite file with a write-ahead log and `synchronous=NORMAL`: whatever `put` returned from
survives a kill of the process. A power cut may undo the last puts and deliveries, those since the
log was last synced (half a MiB of it at most); it leaves the file whole, and what was undone
together was put together, so events and their machines' states still agree. Numbers that were
undone are given again, in a later `generation`, so that what follows is taken for no repetition.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import structlog

from pipeline import outbox_pictures
from pipeline import outbox_tables as tables
from pipeline.clock import Clock, SystemClock
from pipeline.errors import OutboxError
from pipeline.messages import Message
from pipeline.observer import UNOBSERVED, Observer
from pipeline.outbox_file import (
    RESERVE_BYTES,
    CorruptFileError,
    begin_in_log,
    has_room,
    move_aside,
    open_copy,
    open_file,
    open_memory,
    reason_of,
)
from pipeline.outbox_tables import SET_ASIDE, WORTH
from pipeline.outbox_trouble import FileError, Losses, Trouble, outlives_file
from pipeline.redact import redact
from pipeline.stored import Stored, written

_ROW_BYTES = 192  # what SQLite adds to a body: the other columns, the index, its share of a page
NEARLY_FULL = 0.9  # of the bound
_STEP_BYTES = 256 << 10  # how far the file may grow before the disk is looked at again
_IN_MEMORY = "messages are kept in memory, and a kill would lose them"
_SHORT = "the disk is nearly full: pictures, captions, status and answers give way, in this order"

_log = structlog.get_logger("vigil")


class Outbox:
    """Messages that were not delivered yet, oldest first. Any thread may call anything.

    When it is full the least worth goes first: pictures of events, messages that were set aside,
    the oldest captions, status, answers, and events last of all. The observer is told of each loss.

    While the file cannot be opened, read or written, all is kept in memory, by the same bound and
    worth, and it is tried again. A file whose disk is nearly full grows for events alone.

    Attributes:
        origin: a random name made with the file, or by a start that could not write it: with
            another origin, numbers started again.
        generation: how often the file was opened.
        moved_aside: where a corrupt file lies that a new one took the place of, or None.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        max_bytes: int,
        observer: Observer = UNOBSERVED,
        clock: Clock | None = None,
    ) -> None:
        """Open or make the outbox.

        Args:
            path: the file, which one process at a time may have open; None keeps all in memory.
            max_bytes: bound on the messages in it, with what SQLite adds to each.
            observer: told of messages that were dropped or set aside, and of the file's failures.
            clock: times the looks at a disk that was full or failing.

        Raises:
            OutboxError: the file is in use, of another version or program, or cannot be a file.
        """
        self._path = path
        self._max_bytes = max_bytes
        self._trouble = Trouble(clock=clock or SystemClock(), observer=observer)
        self._changed = threading.Condition()
        self._losses = Losses(observer)
        self.moved_aside: Path | None = None
        self._num_waiting = self._num_set_aside = self._size_bytes = self._last_row = 0
        self._is_in_memory = path is None
        self._file: sqlite3.Connection | None = None  # that was left, and stays locked
        self._taken_row = 0  # of the file that was left, up to here
        self._older = (0, "")  # messages up to this row have this origin
        self._room_bytes = max_bytes
        try:
            self._db = open_memory() if path is None else self._opened(path)
            self.origin, self.generation = tables.origin_of(self._db)
            self._numbers, self._states = tables.remembered(self._db)
            self._late = tables.late(self._db)
            self._retry()
            self._last_row, self._size_bytes, self._num_waiting = tables.totals(self._db)
        except (sqlite3.Error, OSError) as exc:
            raise OutboxError(f"{path}: {redact(str(exc))}") from exc
        if not self._is_in_memory:
            self._room_bytes = min(max_bytes, self._size_bytes + _STEP_BYTES)

    @outlives_file
    def _retry(self) -> None:
        """Let what was set aside before wait for delivery again."""
        with self._transaction() as db:
            tables.retry(db, generation=self.generation)

    @property
    def trouble(self) -> str:
        """What is the matter with the file or its disk, for people; empty while nothing is."""
        with self._changed:
            return self._trouble.text

    @property
    def num_waiting(self) -> int:
        """Messages to be delivered."""
        return self._num_waiting

    @property
    def num_set_aside(self) -> int:
        """Messages that lie out of the way until the file is opened again."""
        return self._num_set_aside

    def camera_ids(self) -> set[str]:
        """Return every camera that a message was ever put of."""
        return {camera_id for camera_id, _ in tuple(self._numbers)}

    @property
    def size_bytes(self) -> int:
        """What counts against `max_bytes`."""
        return self._size_bytes

    def is_nearly_full(self) -> bool:
        """Say whether a source that can wait is to be held back."""
        bound = self._room_bytes if self._trouble.text else self._max_bytes
        return self._size_bytes >= NEARLY_FULL * bound

    @property
    def last_row(self) -> int:
        """The row of the message that was put last."""
        return self._last_row

    @outlives_file
    def first_waiting(self) -> int | None:
        """Return the row of the oldest message to be delivered; None where none is."""
        with self._transaction() as db:
            rows = tables.oldest(db, 1) if self._num_waiting else []
        return rows[0][0] if rows else None

    @outlives_file
    def continue_after(
        self, camera_id: str, tops: Mapping[str, int], *, row: int, term: int
    ) -> None:
        """Let a camera's numbers go on after those that another worker gave.

        Args:
            camera_id: whose.
            tops: the last number of each kind that was published.
            row: messages after it are numbered anew.
            term: under which these go.
        """
        with self._changed:
            with self._transaction() as db:
                numbers = tables.continue_after(db, camera_id, tops, row=row, term=term)
                tables.remember(db, numbers, {})
            self._numbers |= numbers

    @outlives_file
    def put(
        self, messages: Sequence[Message], *, states: Mapping[str, str | None] | None = None
    ) -> None:
        """Number and keep messages, and remember named states, all or nothing.

        Args:
            messages: in their order.
            states: by name; one that is None is forgotten.

        Raises:
            OutboxError: the outbox is closed; nothing was kept, no number was used.
        """
        rows = [
            (WORTH[m.kind], m.camera_id, m.kind, m.id, len(body) + _ROW_BYTES, body)
            for m, body in ((m, written(m)) for m in messages)
        ]
        with self._changed:
            self._look_at_file()
            self._keep(rows, states=states or {}, messages=messages)
            self._changed.notify_all()

    def load_states(self) -> dict[str, str]:
        """Return every state that was put and not forgotten, by name, as it was put last."""
        with self._changed:
            return {name: value for name, value in self._states.items() if value is not None}

    @outlives_file
    def pending(self, limit: int) -> list[Stored]:
        """Return up to `limit` messages to be delivered, oldest first. They stay until settled.

        All are of one origin, since positions of two cannot be compared.
        """
        with self._transaction() as db:
            rows = tables.oldest(db, limit)
            jpegs = outbox_pictures.of(db, [row for row, *_ in rows])
        stored = tables.as_stored(
            rows, older=self._older, origin=self.origin, late=self._late, jpegs=jpegs
        )
        return [one for one in stored if one.origin == stored[0].origin]

    @outlives_file
    def delivered(self, rows: Iterable[int]) -> None:
        """Forget messages, by `Stored.row`."""
        with self._changed:
            with self._transaction() as db:
                gone = tables.forget(db, list(rows))
            self._num_waiting -= sum(worth > SET_ASIDE for worth, _ in gone)
            self._size_bytes -= sum(size for _, size in gone)

    @outlives_file
    def set_aside(self, rows: Iterable[int]) -> None:
        """Take messages out of the way until the next start; they stay while there is room."""
        with self._changed:
            with self._transaction() as db:
                aside, freed_bytes = tables.shelve(db, list(rows))
            self._num_waiting -= len(aside)
            self._num_set_aside += len(aside)
            self._size_bytes -= freed_bytes
            self._losses.set_aside(aside)

    def wait(self, timeout_s: float) -> bool:
        """Return True as soon as there is something to deliver, False after `timeout_s`."""
        with self._changed:
            self._look_at_file()
            self._changed.wait_for(lambda: self._num_waiting > 0, timeout_s)
            return self._num_waiting > 0

    def close(self) -> None:
        """Close the file, where it can be written with everything. Nothing may be called after."""
        with self._changed:
            if self._is_in_memory and self._path is not None:
                self._save(self._path)
            if self._is_in_memory and self._path is not None:
                _log.error("outbox_not_saved", waiting=self._num_waiting)
            self._db.close()
            if self._file is not None:
                self._file.close()

    def _keep(
        self,
        rows: Sequence[tables.Row],
        *,
        states: Mapping[str, str | None],
        messages: Sequence[Message] = (),
    ) -> None:
        """Number and store rows; what is worth least gives way to them."""
        first = self._last_row + 1
        numbers, numbered = tables.numbered(
            rows, self._numbers, first=first, generation=self.generation
        )
        pictures = outbox_pictures.rows_of(messages, first=first)
        size_bytes = self._size_bytes + sum(row[4] for row in rows) + sum(p[2] for p in pictures)
        room_bytes = self._room_for(size_bytes)
        with self._transaction() as db:
            tables.insert(db, numbered)
            outbox_pictures.insert(db, pictures)
            tables.remember(db, numbers, states)
            lost = tables.make_room(
                db, size_bytes, room_bytes=room_bytes, max_bytes=self._max_bytes
            )
        self._numbers |= numbers
        self._states.update(states)
        self._last_row += len(rows)
        self._num_waiting += len(rows) - sum(worth > SET_ASIDE for worth, *_ in lost)
        self._size_bytes = size_bytes - sum(size for *_, size in lost)
        self._num_set_aside -= sum(worth == SET_ASIDE for worth, *_ in lost)
        self._losses.dropped(kind for worth, kind, _ in lost if worth != SET_ASIDE)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._changed:
            try:
                with self._db:
                    self._db.execute("BEGIN IMMEDIATE")
                    yield self._db
            except sqlite3.Error as exc:
                if not (self._is_in_memory or isinstance(exc, sqlite3.ProgrammingError)):
                    raise FileError(exc) from exc
                raise OutboxError(f"outbox: {redact(str(exc))}") from exc  # it may be closed

    # -- the file, and what is done while there is none ------------------------------------------

    def _opened(self, path: Path) -> sqlite3.Connection:
        """Open the file, or begin in memory with what can be read of it."""
        try:
            return self._open(path)
        except (sqlite3.Error, OSError) as exc:
            self._enter_memory(exc)
        memory, copy = open_memory(), open_copy(path)
        if copy is not None:
            with closing(copy):
                self._taken_row = tables.take(copy, memory)
                tables.remember(memory, *tables.remembered(copy))
                # Numbers go on from the file, which cannot note that they do. Of two starts like
                # this one each has an origin of its own, or Redis would pass the second's over.
                self._older = (self._taken_row, tables.origin_of(copy)[0])
        return memory

    def _open(self, path: Path) -> sqlite3.Connection:
        try:
            return open_file(path)
        except CorruptFileError:
            self.moved_aside = move_aside(path)
            _log.error("outbox_was_corrupt", moved_to=str(self.moved_aside))
            return open_file(path)

    def _enter_memory(self, error: sqlite3.Error | OSError) -> None:
        self._is_in_memory = True
        self._room_bytes = self._max_bytes
        said = (error.strerror if isinstance(error, OSError) else "") or str(error)
        self._trouble.begin(f"{_IN_MEMORY} ({redact(said)})", reason=reason_of(error))

    def leave_file(self, error: sqlite3.Error) -> None:
        """Go on in memory with what can be read of the file, which stays locked."""
        with self._changed:
            if not self._is_in_memory:
                self._leave(error)

    def _leave(self, error: sqlite3.Error) -> None:
        file, memory = self._db, open_memory()
        with suppress(sqlite3.Error):
            file.rollback()
        self._taken_row = tables.take(file, memory)
        self._file, self._db = file, memory
        _, self._size_bytes, self._num_waiting = tables.totals(memory)
        self._enter_memory(error)

    def _look_at_file(self) -> None:
        """Once in a while, see whether the trouble is over."""
        if self._path is None or not self._trouble.is_due():
            return
        folder, size_bytes = self._path.parent, self._size_bytes
        if not self._is_in_memory:
            if size_bytes <= self._room_bytes // 2 or has_room(folder, RESERVE_BYTES):
                self._recovered()
        elif size_bytes <= RESERVE_BYTES or has_room(folder, 2 * size_bytes):
            self._save(self._path)

    def _save(self, path: Path) -> None:
        """Return to the file if it can be written; else let it be opened anew the next time."""
        try:
            self._return_to_file(path)
        except (sqlite3.Error, OSError, OutboxError) as exc:
            file, self._file = self._file, None
            if file is None:
                return
            file.close()
            if reason_of(exc) == "full":  # of the file itself, it may be, though little is left
                self._remember(self._db)
                if begin_in_log(path, self._db):
                    self._taken_row = self._last_row

    def _return_to_file(self, path: Path) -> None:
        """Take what the file could not give when it was left, then write all into it."""
        if self._file is None:
            self._file = self._open(path)
        file = self._file
        unread, last_row = tables.unread(file, self._taken_row)
        if unread:  # late, and numbered anew: what had numbers after theirs was published
            self._keep(unread, states={})
            self._taken_row = last_row
        with file:
            file.execute("BEGIN IMMEDIATE")
            tables.replace(file, self._db)
            self._remember(file)
        self._db.close()
        self._db, self._file = file, None
        self._is_in_memory = False
        self._recovered()

    def _remember(self, db: sqlite3.Connection) -> None:
        tables.name_origin(db, self.origin, self.generation)
        tables.remember(db, self._numbers, self._states)

    def _room_for(self, size_bytes: int) -> int:
        """Return how large the messages may grow; the disk is asked step by step."""
        if self._room_bytes < min(size_bytes, self._max_bytes) and not self._trouble.text:
            if self._path is not None and has_room(self._path.parent, RESERVE_BYTES):
                self._room_bytes = min(self._max_bytes, size_bytes + _STEP_BYTES)
            else:
                self._trouble.begin(_SHORT, reason="full")
        return self._room_bytes

    def _recovered(self) -> None:
        self._room_bytes = min(self._max_bytes, self._size_bytes + _STEP_BYTES)
        self._trouble.end()
