"""Events as files to take away: CSV and JSON, and marks as labels for evaluation; times in UTC."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from model.training.labels import UNKNOWN, Label, as_csv
from pipeline.messages import rfc3339

COLUMNS = (
    "event_id",
    "camera",
    "question_id",
    "question",
    "kind",
    "answer",
    "p",
    "started_at",
    "ended_at",
    "reason",
    "test",
    "reviewed",
    "mark",
    "truth",
)
_OPPOSITE = {"yes": "no", "no": "yes"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def events_csv(events: Iterable[Mapping[str, Any]]) -> str:
    """Return events as CSV with a head; words that a spreadsheet would compute get a ' before."""
    rows = ([_cell(one[name]) for name in COLUMNS] for one in map(_row, events))
    return _csv(COLUMNS, rows)


def events_json(events: Iterable[Mapping[str, Any]]) -> str:
    """Return events as a JSON list, an event a line."""
    return "[\n" + ",\n".join(json.dumps(_row(one), ensure_ascii=False) for one in events) + "\n]\n"


def labels_csv(events: Iterable[Mapping[str, Any]]) -> str:
    """Return what somebody marked, as labels: what is true from an event's start to its end.

    An event that goes on, that was a test, or of which only what is not true is known, has none.
    Of all other times nobody can tell: nobody has looked at them.
    """
    found = [label for one in events if (label := _label(one)) is not None]
    rests = dict.fromkeys((one.camera, one.question) for one in found)
    return as_csv([*found, *(Label(*rest, None, None, UNKNOWN) for rest in rests)])


def _label(event: Mapping[str, Any]) -> Label | None:
    started_ms, ended_ms = event["started_ms"], event["ended_ms"]
    if event["verdict"] is None or event["is_test"] or ended_ms is None or ended_ms <= started_ms:
        return None
    value = event["said"] if event["verdict"] == "right" else event["truth"]
    if event["question_kind"] == "yes_no" and value not in _OPPOSITE:
        value = _OPPOSITE.get(event["said"])
    if not value:
        return None
    start, end = _moment(started_ms), _moment(ended_ms)
    return Label(event["camera"], event["question_id"], start, end, value)


def _row(event: Mapping[str, Any]) -> dict[str, Any]:
    ended_ms = event["ended_ms"]
    return {
        **{name: event[name] for name in ("event_id", "camera", "question_id", "question")},
        "kind": event["question_kind"],
        "answer": event["said"],
        "p": event["p"],
        "started_at": _utc(event["started_ms"]),
        "ended_at": None if ended_ms is None else _utc(ended_ms),
        "reason": event["reason"],
        "test": bool(event["is_test"]),
        "reviewed": bool(event["is_reviewed"]),
        "mark": event["verdict"],
        "truth": event["truth"],
    }


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = "" if value is None else str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def _csv(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return out.getvalue()


def _utc(at_ms: int) -> str:
    return rfc3339(_moment(at_ms))


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
