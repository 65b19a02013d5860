"""The outbox's tables, and what is done to them in one statement or a few."""

import json
import sqlite3
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import closing, suppress

from pipeline import outbox_pictures
from pipeline.earlier_messages import up_to_date
from pipeline.messages import Message, MessageKind
from pipeline.outbox_pictures import PICTURE
from pipeline.stored import Stored, with_carried

_PICTURES, SET_ASIDE = -1, 0
PICTURES_FILL = 0.85  # of the bound, with the messages: for pictures no source is held back
WORTH: dict[MessageKind, int] = {"caption": 1, "status": 2, "answer": 3, "event": 4}

TABLES = """
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
CREATE TABLE IF NOT EXISTS pictures (
    message INTEGER NOT NULL,
    place INTEGER NOT NULL,
    size INTEGER NOT NULL,
    jpeg BLOB NOT NULL,
    PRIMARY KEY (message, place)
);
"""

_INSERT = """
INSERT INTO messages (worth, camera_id, kind, id, size, body, generation, seq, row)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_OLDEST = """
SELECT row, generation, seq, kind, camera_id, id, body FROM messages
WHERE worth > ? ORDER BY row LIMIT ?
"""
_FORGET = """
DELETE FROM messages WHERE row IN (SELECT value FROM json_each(?)) RETURNING worth, size
"""
_SHELVE = """
UPDATE messages SET worth = :aside
WHERE row IN (SELECT value FROM json_each(:rows)) AND worth > :aside RETURNING kind
"""
# Behind all that waits, under the generation of now: a later position than any before. The number
# stays, so that the gap in the stream is filled.
_RETRY = """
INSERT INTO messages (worth, camera_id, kind, generation, seq, id, size, body)
SELECT :worth, camera_id, kind, :generation, seq, id, size, body
FROM messages WHERE worth = :aside AND kind = :kind ORDER BY row
"""
# What was set aside lies behind what was delivered, and what waits may have lain so before a start.
_LATE = """
SELECT id FROM (
    SELECT id, messages.seq, numbers.seq AS last,
        ROW_NUMBER() OVER (PARTITION BY camera_id, kind ORDER BY messages.seq DESC) AS place
    FROM messages JOIN numbers USING (camera_id, kind)
) WHERE seq + place <= last
"""
_RENUMBER = """
UPDATE messages SET seq = :top + (
    SELECT COUNT(*) FROM messages AS earlier
    WHERE camera_id = :camera AND kind = :kind AND row > :row AND earlier.row <= messages.row
) WHERE camera_id = :camera AND kind = :kind AND row > :row
"""
# What was said while it was not known under which term, goes under the one that was granted.
_UNDER_TERM = """
UPDATE messages SET body = CAST(json_set(CAST(body AS TEXT), '$.carried[0]', :term) AS BLOB)
WHERE camera_id = :camera AND row > :row AND json_type(CAST(body AS TEXT), '$.carried') = 'array'
"""
_LAST_AFTER = """
SELECT COALESCE(MAX(seq), :top) FROM messages
WHERE camera_id = :camera AND kind = :kind AND row > :row
"""
_LEAST_WORTH = "SELECT row, worth, kind, size FROM messages WHERE worth < ? ORDER BY worth, row"
_WHOLE = """
SELECT worth, camera_id, kind, id, size, body, generation, seq, row FROM messages ORDER BY row
"""
_UNREAD = """
SELECT worth, camera_id, kind, id, size, body, row FROM messages
WHERE row > ? AND worth > ? ORDER BY row
"""
_TOTALS = """
SELECT COALESCE(MAX(row), 0),
    COALESCE(SUM(size), 0) + (SELECT COALESCE(SUM(size), 0) FROM pictures),
    COUNT(*) FILTER (WHERE worth > ?)
FROM messages
"""

Numbers = dict[tuple[str, str], int]
"""(camera_id, kind) -> the last number given."""

Row = tuple[int, str, str, str, int, bytes]
"""worth, camera_id, kind, id, size, body"""

_Read = tuple[int, int, int, MessageKind, str, str, bytes]

Numbered = tuple[int, str, str, str, int, bytes, int, int, int]
"""A `Row` with its generation, number and place."""


def numbered(
    rows: Sequence[Row], numbers: Numbers, *, first: int, generation: int
) -> tuple[Numbers, list[Numbered]]:
    """Return the last numbers after these rows, and the rows with theirs.

    Args:
        rows: in their order.
        numbers: the last ones given.
        first: place of the first row.
        generation: of the outbox now.
    """
    last: Numbers = {}
    found = []
    for place, row in enumerate(rows, first):
        key = (row[1], row[2])
        last[key] = last.get(key, numbers.get(key, 0)) + 1
        found.append((*row, generation, last[key], place))
    return last, found


def insert(db: sqlite3.Connection, rows: Iterable[Numbered]) -> None:
    """Add messages."""
    db.executemany(_INSERT, rows)


def remember(db: sqlite3.Connection, numbers: Numbers, states: Mapping[str, str | None]) -> None:
    """Note the last numbers, and named states; forget a state that is None."""
    db.executemany(
        "INSERT OR REPLACE INTO numbers VALUES (?, ?, ?)",
        [(*key, seq) for key, seq in numbers.items()],
    )
    db.executemany(
        "INSERT OR REPLACE INTO states VALUES (?, ?)",
        [one for one in states.items() if one[1] is not None],
    )
    db.executemany(
        "DELETE FROM states WHERE name = ?",
        [(name,) for name, value in states.items() if value is None],
    )


def remembered(db: sqlite3.Connection) -> tuple[Numbers, dict[str, str | None]]:
    """Return the last numbers, and the states by name."""
    numbers = {(camera, kind): seq for camera, kind, seq in db.execute("SELECT * FROM numbers")}
    return numbers, dict(db.execute("SELECT * FROM states"))


def origin_of(db: sqlite3.Connection) -> tuple[str, int]:
    """Return the outbox's random name and how often it was opened."""
    name, generation = db.execute("SELECT * FROM origin").fetchone()  # 0.2.0 called it `epoch`
    return name, generation


def totals(db: sqlite3.Connection) -> tuple[int, int, int]:
    """Return the last row, the size in bytes, and how many messages are to be delivered."""
    last_row, size_bytes, num_waiting = db.execute(_TOTALS, (SET_ASIDE,)).fetchone()
    return last_row, size_bytes, num_waiting


def oldest(db: sqlite3.Connection, limit: int) -> list[_Read]:
    """Return (row, generation, seq, kind, camera_id, id, body) of those to be delivered."""
    return db.execute(_OLDEST, (SET_ASIDE, limit)).fetchall()


def as_stored(
    rows: Iterable[_Read],
    *,
    older: tuple[int, str],
    origin: str,
    late: Container[str],
    jpegs: Mapping[int, Mapping[int, bytes]] = {},
) -> list[Stored]:
    """Return what `oldest` gave as messages.

    Args:
        rows: what it gave.
        older: those up to this row have this origin.
        origin: that of the others.
        late: ids of messages of which one with a later number is not here any more.
        jpegs: pictures of them, by row and place.
    """
    stored = []
    for row, generation, seq, kind, camera_id, id_, text in rows:
        its_origin = older[1] if row <= older[0] else origin
        body = up_to_date(kind, json.loads(text))
        message = with_carried(Message(kind, camera_id, id_, body), body)
        message = outbox_pictures.with_pictures(message, jpegs.get(row, {}))
        stored.append(Stored(row, its_origin, generation, seq, message, is_late=id_ in late))
    return stored


def continue_after(
    db: sqlite3.Connection, camera_id: str, tops: Mapping[str, int], *, row: int, term: int
) -> Numbers:
    """Number a camera's messages after a row anew, after these, and put them under a term.

    Returns:
        The camera's last numbers.
    """
    db.execute(_UNDER_TERM, {"camera": camera_id, "row": row, "term": term})
    numbers: Numbers = {}
    for kind in WORTH:
        names = {"camera": camera_id, "kind": kind, "row": row, "top": tops.get(kind, 0)}
        db.execute(_RENUMBER, names)
        (last,) = db.execute(_LAST_AFTER, names).fetchone()
        numbers[camera_id, kind] = last
    return numbers


def forget(db: sqlite3.Connection, rows: Sequence[int]) -> list[tuple[int, int]]:
    """Delete messages; return (worth, size) of each that was there, and of their pictures."""
    freed_bytes = outbox_pictures.forget(db, rows)
    gone: list[tuple[int, int]] = db.execute(_FORGET, (json.dumps(rows),)).fetchall()
    return [*gone, (_PICTURES, freed_bytes)]


def shelve(db: sqlite3.Connection, rows: Sequence[int]) -> tuple[list[MessageKind], int]:
    """Set messages aside; return the kind of each that was not, and what their pictures took.

    Of a message that is refused for its own sake Redis has the pictures.
    """
    names = {"aside": SET_ASIDE, "rows": json.dumps(rows)}
    kinds = [kind for (kind,) in db.execute(_SHELVE, names).fetchall()]
    return kinds, outbox_pictures.forget(db, rows)


def retry(db: sqlite3.Connection, *, generation: int) -> None:
    """Let what was set aside wait for delivery again."""
    for kind, worth in WORTH.items():
        names = {"worth": worth, "aside": SET_ASIDE, "kind": kind, "generation": generation}
        db.execute(_RETRY, names)
    db.execute("DELETE FROM messages WHERE worth = ?", (SET_ASIDE,))


def late(db: sqlite3.Connection) -> frozenset[str]:
    """Return the ids of messages of which one with a later number is not here any more."""
    return frozenset(id_ for (id_,) in db.execute(_LATE))


def unread(db: sqlite3.Connection, row: int) -> tuple[list[Row], int]:
    """Return the messages after a row that are to be delivered, and the last one's row."""
    found = db.execute(_UNREAD, (row, SET_ASIDE)).fetchall()
    return [one[:-1] for one in found], found[-1][-1] if found else row


def take(file: sqlite3.Connection, memory: sqlite3.Connection) -> int:
    """Copy the messages that can be read, oldest first; return the row of the last."""
    last_row = 0
    with suppress(sqlite3.Error), memory:
        memory.execute("BEGIN IMMEDIATE")
        for message in file.execute(_WHOLE):
            memory.execute(_INSERT, message)
            last_row = message[-1]
    outbox_pictures.take(file, memory)
    return last_row


def name_origin(db: sqlite3.Connection, name: str, generation: int) -> None:
    """Note another random name and number of openings."""
    db.execute("DELETE FROM origin")
    db.execute("INSERT INTO origin VALUES (?, ?)", (name, generation))


def replace(file: sqlite3.Connection, memory: sqlite3.Connection) -> None:
    """Write another's messages in the place of those that are there."""
    file.execute("DELETE FROM messages")
    with closing(memory.execute(_WHOLE)) as messages:
        insert(file, messages)
    outbox_pictures.replace_all(file, memory)


def make_room(
    db: sqlite3.Connection, size_bytes: int, *, room_bytes: int, max_bytes: int
) -> list[tuple[int, str, int]]:
    """Delete the least worth, oldest first, until the rest fits; an event only above `max_bytes`.

    Returns:
        (worth, kind, size) of what was lost.
    """
    fits_bytes = min(room_bytes, round(PICTURES_FILL * max_bytes))
    sizes = outbox_pictures.give_way(db, size_bytes - fits_bytes)
    pictures: list[tuple[int, str, int]] = [(_PICTURES, PICTURE, size) for size in sizes]
    size_bytes -= sum(sizes)
    lost = _delete(db, size_bytes - room_bytes, below=WORTH["event"])
    size_bytes -= sum(size for *_, size in lost)
    return pictures + lost + _delete(db, size_bytes - max_bytes, below=WORTH["event"] + 1)


def _delete(db: sqlite3.Connection, excess_bytes: int, *, below: int) -> list[tuple[int, str, int]]:
    if excess_bytes <= 0:
        return []
    rows, lost = [], []
    with closing(db.execute(_LEAST_WORTH, (below,))) as cursor:
        for row, worth, kind, size in cursor:
            rows.append((row,))
            lost.append((worth, kind, size))
            excess_bytes -= size
            if excess_bytes <= 0:
                break
    db.executemany("DELETE FROM messages WHERE row = ?", rows)
    return lost
