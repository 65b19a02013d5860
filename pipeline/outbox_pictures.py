"""The pictures of messages in the outbox: beside them, and the first to give way.

A picture takes the room of twenty messages, and what its event says is there without it.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import datetime

from pipeline.messages import Message
from pipeline.pictures import Picture

Row = tuple[int, int, int, bytes]
"""message's row, place among its pictures, size in bytes, JPEG"""

PICTURE = "picture"
"""In the place of a message's kind, where a picture is lost."""

_ROW_BYTES = 64  # what SQLite adds
_INSERT = "INSERT INTO pictures (message, place, size, jpeg) VALUES (?, ?, ?, ?)"
_WHOLE = "SELECT message, place, size, jpeg FROM pictures"
_OLDEST = "SELECT message, place, size FROM pictures ORDER BY message, place"
_OF = """
SELECT message, place, jpeg FROM pictures WHERE message IN (SELECT value FROM json_each(?))
ORDER BY message, place
"""
_FORGET = """
DELETE FROM pictures WHERE message IN (SELECT value FROM json_each(?)) RETURNING size
"""


def rows_of(messages: Iterable[Message], *, first: int) -> list[Row]:
    """Return the pictures of messages whose rows are numbered from `first` on."""
    return [
        (number, place, len(one.jpeg) + _ROW_BYTES, one.jpeg)
        for number, message in enumerate(messages, first)
        for place, one in enumerate(message.pictures)
    ]


def insert(db: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Add pictures."""
    db.executemany(_INSERT, rows)


def of(db: sqlite3.Connection, rows: Sequence[int]) -> dict[int, dict[int, bytes]]:
    """Return the pictures of messages that have some, by the message's row and by place."""
    found: dict[int, dict[int, bytes]] = {}
    for message, place, jpeg in db.execute(_OF, (json.dumps(rows),)):
        found.setdefault(message, {})[place] = jpeg
    return found


def with_pictures(message: Message, jpegs: Mapping[int, bytes]) -> Message:
    """Return a message with those of its pictures that are still there."""
    named = message.body["data"]["pictures"] if jpegs else ()
    pictures = [
        Picture(one["role"], one["key"], datetime.fromisoformat(one["captured_at"]), jpegs[place])
        for place, one in enumerate(named)
        if place in jpegs
    ]
    return replace(message, pictures=tuple(pictures))


def forget(db: sqlite3.Connection, rows: Iterable[int]) -> int:
    """Delete the pictures of messages; return how many bytes that frees."""
    return sum(size for (size,) in db.execute(_FORGET, (json.dumps(list(rows)),)).fetchall())


def give_way(db: sqlite3.Connection, excess_bytes: int) -> list[int]:
    """Delete the oldest until so many bytes are free, or none is left; return the sizes."""
    if excess_bytes <= 0:
        return []
    gone, sizes = [], []
    with closing(db.execute(_OLDEST)) as cursor:
        for message, place, size in cursor:
            gone.append((message, place))
            sizes.append(size)
            excess_bytes -= size
            if excess_bytes <= 0:
                break
    db.executemany("DELETE FROM pictures WHERE message = ? AND place = ?", gone)
    return sizes


def take(file: sqlite3.Connection, memory: sqlite3.Connection) -> None:
    """Copy those that can be read."""
    with suppress(sqlite3.Error), memory:
        memory.execute("BEGIN IMMEDIATE")
        for picture in file.execute(_WHOLE):
            memory.execute(_INSERT, picture)


def replace_all(file: sqlite3.Connection, memory: sqlite3.Connection) -> None:
    """Write another's pictures in the place of those that are there."""
    file.execute("DELETE FROM pictures")
    with closing(memory.execute(_WHOLE)) as pictures:
        insert(file, pictures)
