"""Searches what was said: captions, answers where they changed, and events, newest first.

"When did the gate open?" is a search too: its plain words are looked for, answers that deny are
left out, and what follows closely upon each other is one stretch of time.
"""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.camera_id import is_camera_id
from worker.console.tables import END_MS, first_id, time_of

MAX_WORDS = 16
MAX_HITS = 100
TOGETHER_MS = 120_000
MARK = ("\x01", "\x02")  # around a word that was found; no message has them

_WORD = re.compile(r"\w+")
_WHEN = re.compile(r"\s*(when|since when|what time|at what time|how often)\b", re.I)
_EMPTY = """
a an and any are at be been by did do does for from had has have he her his how i in is
it its last many me much of often on or our she since show some that the their them
there these they this time to us was we were what when where which who will with you
""".split()  # noqa: SIM905 (prose wraps better)
_DENIES = ("no", "unknown", "0")


@dataclass(frozen=True, slots=True)
class Query:
    """What somebody looks for.

    Attributes:
        text: as it was typed.
        camera_id: of this camera alone; "" for all.
        before_ms: said before that; None for now.
    """

    text: str
    camera_id: str = ""
    before_ms: int | None = None


def search(db: sqlite3.Connection, query: Query) -> dict[str, Any]:
    """Return what was found, as plain values for the page.

    Returns:
        `is_when`; `some`: no entry has all words, these have one of them; `hits`: `at_ms`, `end_ms`
        of a stretch, `count` of what it holds, `camera`, `kind`, `question`, `said`, `event_id`;
        `more_before_ms`: where to go on, or None.
    """
    is_when = _WHEN.match(query.text) is not None
    words = _words(query.text)
    found: list[dict[str, Any]] = []
    is_some = False
    if words:
        found = list(_found(db, words, query, joined=" AND "))
        if not found and len(words) > 1:
            found, is_some = list(_found(db, words, query, joined=" OR ")), True
    more = found[-1]["at_ms"] if len(found) == MAX_HITS else None
    if is_when:
        found = _stretches([one for one in found if one["plain"] not in _DENIES])
    for one in found:
        del one["plain"]
    return {"is_when": is_when, "some": is_some, "hits": found, "more_before_ms": more}


def _words(text: str) -> list[str]:
    words = [word.lower() for word in _WORD.findall(text)]
    telling = [word for word in words if word not in _EMPTY]
    return (telling or words)[:MAX_WORDS]


def _found(
    db: sqlite3.Connection, words: Sequence[str], query: Query, *, joined: str
) -> Iterator[dict[str, Any]]:
    # In quotes a word is a word, whatever FTS5 would take it for; the last may be unfinished.
    quoted = [f'"{word}"' for word in words]
    last = words[-1]
    quoted[-1] = f'("{last}" OR "{last}" *)' if len(last) > 2 else quoted[-1]
    match = f"{{question said}} : ({joined.join(quoted)})"
    if is_camera_id(query.camera_id):
        # so the index leaves few to compare: those of `gate-2` too, where `gate` is asked for
        match += f' AND camera : "{query.camera_id}"'
    before = first_id(END_MS if query.before_ms is None else query.before_ms)
    rows = db.execute(
        "SELECT w.rowid, w.camera, s.kind, highlight(words, 1, ?, ?), highlight(words, 2, ?, ?), "
        "w.said, m.p, e.event_id, e.ended_ms FROM words w "
        "JOIN message m ON m.id = w.rowid JOIN series s ON s.id = m.series "
        "LEFT JOIN event e ON e.id = w.rowid "
        "WHERE words MATCH ? AND w.rowid < ? AND (w.camera = ? OR ? = '') "
        "ORDER BY w.rowid DESC LIMIT ?",
        (*MARK, *MARK, match, before, query.camera_id, query.camera_id, MAX_HITS),
    )
    for rowid, camera, kind, question, said, plain, p, event_id, ended_ms in rows:
        at_ms = time_of(rowid)
        yield {
            "at_ms": at_ms,
            "end_ms": ended_ms or at_ms,
            "count": 1,
            "camera": camera,
            "kind": kind,
            "question": question,
            "said": said,
            "plain": plain,
            "p": p,
            "event_id": event_id,
        }


def _stretches(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join what one camera said of one kind and question within two minutes; newest first."""
    joined: list[dict[str, Any]] = []
    open_ones: dict[tuple[str, str, str], dict[str, Any]] = {}
    for one in found:
        key = one["camera"], one["kind"], one["question"]
        later = open_ones.get(key)
        if later is not None and later["at_ms"] - one["end_ms"] <= TOGETHER_MS:
            later["at_ms"] = one["at_ms"]
            later["count"] += 1
            later["said"], later["event_id"] = one["said"], one["event_id"] or later["event_id"]
        else:
            open_ones[key] = one
            joined.append(one)
    return joined
