"""Reads the console's history: a camera's course, its events, and what the inbox shows."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from worker.console.search import Query, search
from worker.console.tables import END_MS, first_id, open_reader, size_bytes, time_of

MAX_POINTS = 720  # of one question's line: a chart is no wider
PAGE = 60

_EVENT = (
    "event_id, camera, question_id, question, question_kind, started_ms, ended_ms, said, p, "
    "reason, is_test, pictures, clip, is_reviewed, verdict, truth"
)
_EVENTS = f"SELECT {_EVENT} FROM event"  # noqa: S608 (names of ours alone)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events somebody wants to see.

    Attributes:
        camera_id, question_id: of these alone; "" for all.
        state: those that nobody has reviewed, those that somebody has, or all.
        start_ms: that began then or later; `end_ms`: before then.
    """

    camera_id: str = ""
    question_id: str = ""
    state: Literal["new", "reviewed", "all"] = "all"
    start_ms: int = 0
    end_ms: int = END_MS


class Recall:
    """The file in the hands of those who read it; one thread at a time, beside the writer's."""

    def __init__(self, path: Path) -> None:
        self._db = open_reader(path)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def find(self, query: Query) -> dict[str, Any]:
        """Search, as `search.search` says."""
        return search(self._db, query)

    def num_new(self) -> int:
        """Return how many events nobody has reviewed."""
        return int(
            self._db.execute("SELECT count(*) FROM event WHERE is_reviewed = 0").fetchone()[0]
        )

    def event(self, event_id: str) -> dict[str, Any] | None:
        """Return one event, or None."""
        row = self._db.execute(f"{_EVENTS} WHERE event_id = ?", (event_id,)).fetchone()
        return _event(row) if row else None

    def events(self, wanted: Wanted, *, limit: int = PAGE) -> list[dict[str, Any]]:
        """Return the newest events that are wanted, newest first."""
        return list(self._events(wanted, limit=limit))

    def all_events(self, wanted: Wanted) -> list[dict[str, Any]]:
        """Return all events that are wanted, for an export, oldest first."""
        return list(self._events(wanted, limit=-1))[::-1]

    def asked(self) -> dict[str, Any]:
        """Return which cameras and questions events are about, to choose from."""
        rows = self._db.execute(
            "SELECT DISTINCT camera, question_id, question FROM series WHERE kind = 'event'"
        ).fetchall()
        return {
            "cameras": sorted({row[0] for row in rows}),
            "questions": dict(sorted((row[1], row[2]) for row in rows)),
        }

    def course(self, camera_id: str, *, start_ms: int, end_ms: int) -> dict[str, Any]:
        """Return what a camera said in a stretch of time, for its chart.

        Returns:
            `questions`: each with `question_id`, `question`, `kind` and `points` of (time, p, least
            p, greatest p, mass, an answer); p is None where there is none. `events`, `captions`,
            `tokens` as (time, kept, total), `gaps`.
        """
        between = first_id(start_ms), first_id(end_ms)
        step_ms = max(1, (end_ms - start_ms) // MAX_POINTS)
        series = self._db.execute(
            "SELECT id, question_id, question, question_kind FROM series "
            "WHERE camera = ? AND kind = 'answer' ORDER BY question_id, id",
            (camera_id,),
        ).fetchall()
        questions = [
            {"question_id": asked, "question": words, "kind": kind, "points": points}
            for series_id, asked, words, kind in series
            if (points := self._points(series_id, between, step_ms))
        ]
        return {
            "questions": questions,
            "events": self._events_within(camera_id, start_ms, end_ms),
            "captions": self.captions(camera_id, before_ms=end_ms, since_ms=start_ms),
            "tokens": self._tokens(camera_id, between, step_ms),
            "gaps": self.gaps(camera_id, start_ms=start_ms, end_ms=end_ms),
        }

    def captions(
        self, camera_id: str, *, before_ms: int, since_ms: int = 0, limit: int = 40
    ) -> list[tuple[int, str]]:
        """Return a camera's last captions as (time, text), newest first."""
        rows = self._db.execute(
            "SELECT m.id, w.said FROM message m JOIN words w ON w.rowid = m.id "
            "WHERE m.series = (SELECT id FROM series WHERE camera = ? AND kind = 'caption') "
            "AND m.id >= ? AND m.id < ? ORDER BY m.id DESC LIMIT ?",
            (camera_id, first_id(since_ms), first_id(before_ms), limit),
        )
        return [(time_of(row[0]), row[1]) for row in rows]

    def gaps(self, camera_id: str = "", *, start_ms: int = 0, end_ms: int = END_MS) -> list[Any]:
        """Return where messages are missing: camera, kind, from, to, how many or None."""
        return self._db.execute(
            "SELECT camera, kind, start_ms, end_ms, missed FROM gap "
            "WHERE (camera = ? OR ? = '') AND end_ms >= ? AND start_ms < ? "
            "ORDER BY end_ms DESC LIMIT 200",
            (camera_id, camera_id, start_ms, end_ms),
        ).fetchall()

    def standing(self) -> dict[str, Any]:
        """Return how much the history holds, from when on, and what was passed over."""
        first, last, count = (
            self._db.execute("SELECT id FROM message ORDER BY id LIMIT 1").fetchone(),
            self._db.execute("SELECT id FROM message ORDER BY id DESC LIMIT 1").fetchone(),
            self._db.execute("SELECT count(*) FROM message").fetchone()[0],
        )
        return {
            "messages": count,
            "bytes": size_bytes(self._db),
            "first_ms": time_of(first[0]) if first else None,
            "last_ms": time_of(last[0]) if last else None,
            "passed_over": dict(self._db.execute("SELECT reason, count FROM passed_over")),
        }

    # -- parts ----------------------------------------------------------------------------------

    def _events(self, wanted: Wanted, *, limit: int) -> Iterator[dict[str, Any]]:
        state = {"new": 0, "reviewed": 1, "all": None}[wanted.state]
        rows = self._db.execute(
            f"{_EVENTS} WHERE id >= ? AND id < ? "
            "AND (camera = ? OR ? = '') AND (question_id = ? OR ? = '') "
            "AND (is_reviewed = ? OR ? IS NULL) ORDER BY id DESC LIMIT ?",
            (
                *(first_id(wanted.start_ms), first_id(wanted.end_ms)),
                *(wanted.camera_id, wanted.camera_id, wanted.question_id, wanted.question_id),
                *(state, state, limit),
            ),
        )
        return map(_event, rows)

    def _events_within(self, camera_id: str, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
        rows = self._db.execute(
            f"{_EVENTS} WHERE camera = ? AND id < ? "
            "AND (ended_ms IS NULL OR ended_ms >= ?) ORDER BY id DESC LIMIT 500",
            (camera_id, first_id(end_ms), start_ms),
        )
        return [_event(row) for row in rows]

    def _points(self, series_id: int, between: tuple[int, int], step_ms: int) -> list[Any]:
        return self._db.execute(
            "SELECT last >> 20, mean, least, greatest, g.mass, m.said, m.reason FROM ("
            "SELECT max(id) last, avg(p) mean, min(p) least, max(p) greatest, avg(mass) mass "
            "FROM message WHERE series = ? AND id >= ? AND id < ? GROUP BY (id >> 20) / ?"
            ") g JOIN message m ON m.id = last ORDER BY last",
            (series_id, *between, step_ms),
        ).fetchall()

    def _tokens(self, camera_id: str, between: tuple[int, int], step_ms: int) -> list[Any]:
        return self._db.execute(
            "SELECT max(m.id) >> 20, avg(kept), avg(total) FROM message m "
            "WHERE series IN (SELECT id FROM series WHERE camera = ? AND kind = 'answer' "
            "ORDER BY question_id LIMIT 1) AND id >= ? AND id < ? AND total > 0 "
            "GROUP BY (id >> 20) / ? ORDER BY 1",
            (camera_id, *between, step_ms),
        ).fetchall()


def _event(row: Any) -> dict[str, Any]:
    names = [name.strip() for name in _EVENT.split(",")]
    found = dict(zip(names, row, strict=True))
    found["pictures"] = json.loads(found["pictures"])
    found["clip"] = json.loads(found["clip"]) if found["clip"] else None
    return found


def history_error(error: sqlite3.Error) -> str:
    """Return a word for what is wrong with the history's disk."""
    return (error.sqlite_errorname or "").removeprefix("SQLITE_").lower() or "unreadable"
