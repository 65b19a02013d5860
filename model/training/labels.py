"""Labels: what is so on a camera, of a question, from when to when. The one format of them.

Rows `camera,question,start,end,value` as CSV, or objects with these keys as JSON. Evaluation and
training read it, and what collects labels writes it.

- Times are seconds of a file, or RFC 3339 with a zone.
- A row without start and end is the *rest*: it says what holds where no other row says anything.
  Without one, `no` may be taken for it where every row says yes: whoever looked at some moments
  alone writes a rest that is `unknown`.
- The value `unknown` says that nobody can tell.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path

from model.errors import DataError
from model.training import json_rows

COLUMNS = ("camera", "question", "start", "end", "value")
NEEDED = ("question", "start", "end")
UNKNOWN = "unknown"
SUFFIXES = (".csv", ".json", ".jsonl")

Time = float | datetime
"""Seconds of a file, or a moment with a zone."""


@dataclass(frozen=True, slots=True)
class Label:
    """One row.

    Attributes:
        camera: the camera's id or the clip's name; empty where it goes without saying.
        question: the standing question's id.
        start: from when; None with `end`: the rest.
        end: until when, later than `start`.
        value: the right answer, as it is written: `yes`, an option, a number, `unknown`.
        place: `FILE:LINE` that it was read from.
    """

    camera: str
    question: str
    start: Time | None
    end: Time | None
    value: str
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with labels, and what becomes of them; the others are used all the same.

    Attributes:
        place: `FILE:LINE`, or the clip.
        words: what was expected, what came, what follows.
    """

    place: str
    words: str

    def __str__(self) -> str:
        return f"{self.place}: {self.words}"


def told(problems: Iterable[Problem]) -> list[str]:
    """Say all that is wrong, a line each: what is wrong with many rows alike is said once."""
    places: dict[str, list[str]] = {}
    for one in problems:
        places.setdefault(one.words, []).append(one.place)
    return [f"{first}{_and_more(others)}: {words}" for words, (first, *others) in places.items()]


def _and_more(places: Sequence[str]) -> str:
    return f" and {len(places)} more, the last {places[-1]}" if places else ""


def read_labels(path: Path) -> tuple[list[Label], list[Problem]]:
    """Read a file of labels, or all such files of a folder; its ending says which form one has.

    Semicolons and tabs separate as commas do, a byte order mark and Windows' line ends mean
    nothing, and where commas do not separate a decimal comma is one.

    Returns:
        The rows that can be used, and what is wrong with the others.

    Raises:
        DataError: a file cannot be read, or lacks a column without which no row says anything;
            or the folder has none.
    """
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES)
        if not files:
            raise DataError(f"{path}: expected {', '.join(SUFFIXES)} files in it, got none")
        every = [read_labels(one) for one in files]
        return [one for some, _ in every for one in some], [
            one for _, some in every for one in some
        ]
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: expected labels in a .csv, .json or .jsonl file")
    problems: list[Problem] = []
    given = _of_csv(path, problems) if path.suffix.lower() == ".csv" else _of_json(path, problems)
    labels = []
    for line, fields in given:
        place = f"{path}:{line}"
        try:
            labels.append(_label(fields, place))
        except ValueError as error:
            problems.append(Problem(place, f"{error}: this row is left out"))
    return labels, problems


def as_csv(labels: Iterable[Label]) -> str:
    """Write labels as CSV, the columns' names first."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_written(getattr(one, name)) for name in COLUMNS] for one in labels)
    return out.getvalue()


def as_json(labels: Iterable[Label]) -> str:
    """Write labels as one JSON list, a row a line."""
    rows = [
        json.dumps({name: _plain(getattr(one, name)) for name in COLUMNS}, ensure_ascii=False)
        for one in labels
    ]
    return "[\n" + ",\n".join(rows) + "\n]\n"


def _of_csv(path: Path, problems: list[Problem]) -> Iterator[tuple[int, Mapping[str, str]]]:
    text = _text(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names: list[str] | None = None
    try:
        for cells in reader:
            values = [cell.strip() for cell in cells]
            if not any(values):
                continue
            if names is None:
                names = [value.lower() for value in values]
                _check_columns(names, path, line=reader.line_num, problems=problems)
            elif len(values) > len(names):
                place = f"{path}:{reader.line_num}"
                words = f"expected {len(names)} values, got {len(values)}: this row is left out"
                problems.append(Problem(place, words))
            else:
                row = dict(zip(names, values, strict=False))
                if delimiter != ",":
                    row |= {name: row.get(name, "").replace(",", ".") for name in ("start", "end")}
                yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: expected CSV, got: {error}") from error
    if names is None:
        raise DataError(f"{path}:1: expected the columns {', '.join(COLUMNS)}, got an empty file")


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: expected a file of labels, got: {error.strerror}") from error
    is_utf_16 = raw[:2] in (b"\xff\xfe", b"\xfe\xff")  # as spreadsheets save "Unicode text"
    try:
        return raw.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: expected UTF-8, got other bytes") from error


def _check_columns(names: Sequence[str], path: Path, *, line: int, problems: list[Problem]) -> None:
    place = f"{path}:{line}"
    if missing := [name for name in NEEDED if name not in names]:
        raise DataError(
            f"{place}: expected the columns {', '.join(COLUMNS)}, got no {', '.join(missing)}"
        )
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            raise DataError(f"{place}: expected each column once, got {name!r} again")
        if name not in COLUMNS:
            problems.append(Problem(place, _unknown_column(name)))


def _of_json(path: Path, problems: list[Problem]) -> Iterator[tuple[int, Mapping[str, str]]]:
    told: set[str] = set()
    for row in json_rows.rows(path):
        place = f"{path}:{row.line}"
        if row.broken or not isinstance(row.value, dict):
            words = row.broken or "expected an object with the keys " + ", ".join(COLUMNS)
            problems.append(Problem(place, f"{words}: this row is left out"))
            continue
        names = [name for name in row.value if name not in COLUMNS and name not in told]
        told |= set(names)
        problems += [Problem(place, _unknown_column(name)) for name in names]
        yield row.line, {name: _given(value) for name, value in row.value.items()}


def _unknown_column(name: str) -> str:
    close = get_close_matches(name, COLUMNS, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"expected the columns {', '.join(COLUMNS)}, got {name!r} too: it is passed over{meant}"


def _given(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value).strip()


def _label(fields: Mapping[str, str], place: str) -> Label:
    """Make a row of what was written.

    Raises:
        ValueError: what was expected, and what came.
    """
    question = fields.get("question", "").lower()
    if not question:
        raise ValueError("expected the id of a question, got none")
    start, end = (_time(fields.get(name, ""), name) for name in ("start", "end"))
    if (start is None) != (end is None):
        missing = "start" if start is None else "end"
        raise ValueError(f"expected start and end, or neither for the rest; got no {missing}")
    if isinstance(start, datetime) != isinstance(end, datetime):
        raise ValueError("expected start and end both in seconds or both as RFC 3339")
    if start is not None and end is not None and not _is_before(start, end):
        raise ValueError(
            f"expected an end after the start, got {fields['start']} to {fields['end']}"
        )
    value = fields.get("value", "") or "yes"
    return Label(fields.get("camera", "").lower(), question, start, end, value, place)


def _time(text: str, name: str) -> Time | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        pass
    else:
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"{name}: expected seconds from the file's beginning, got {text}")
        return seconds
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(
            f"{name}: expected seconds such as 12.5, or RFC 3339 with a zone such as "
            f"2026-05-01T08:00:00Z, got {text[:40]!r}"
        )
    return moment


def _is_before(start: Time, end: Time) -> bool:
    if isinstance(start, datetime) and isinstance(end, datetime):
        return start < end
    return not isinstance(start, datetime) and not isinstance(end, datetime) and start < end


def _written(value: str | Time | None) -> str:
    plain = _plain(value)
    return "" if plain is None else str(plain)


def _plain(value: str | Time | None) -> str | float | None:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, float):
        return int(value) if value.is_integer() else round(value, 3)
    return value
