"""A JSON list or JSON lines, value by value, each with the line of the file it begins in."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import DataError

BLANK = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Row:
    """One value of a file.

    Attributes:
        line: where it begins, from 1.
        value: what JSON made of it; None where it is broken.
        broken: why it is no JSON; empty where it is.
    """

    line: int
    value: Any
    broken: str = ""


def rows(path: Path) -> Iterator[Row]:
    """Read a file: one value a line where its name ends in `.jsonl`, else one list.

    A line that is no JSON is a broken row. In a list nobody knows where the value after a broken
    one begins, so that is an error.

    Raises:
        DataError: the file is missing, not UTF-8, or not one whole JSON list.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise DataError(f"{path}: expected a JSON file in UTF-8, got: {exc}") from exc
    return _lines(text) if path.suffix == ".jsonl" else _List(text, path).rows()


def _lines(text: str) -> Iterator[Row]:
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            try:
                yield Row(line, json.loads(content))
            except (ValueError, RecursionError) as exc:  # a number may have too many digits
                yield Row(line, None, broken=str(exc))


class _List:
    """A step through a list's text."""

    def __init__(self, text: str, path: Path) -> None:
        self._text = text
        self._path = path
        self._decoder = json.JSONDecoder()
        self._place = 0
        self._line = 1

    def rows(self) -> Iterator[Row]:
        self._expect("[", "a JSON list")
        while self._next() != "]":
            line, value = self._line, self._value()
            yield Row(line, value)
            if self._next() != "]":
                self._expect(",", "a comma or the end of the list")
                if self._next() == "]":
                    raise self._refused("a value after the comma")
        self._expect("]", "the end of the list")
        if self._next():
            raise self._refused("nothing after the list")

    def _next(self) -> str:
        """Pass over blanks; give the character that follows, or nothing at the end."""
        place = self._place
        while self._text[place : place + 1] and self._text[place] in BLANK:
            place += 1
        self._move(place)
        return self._text[place : place + 1]

    def _expect(self, character: str, words: str) -> None:
        if self._next() != character:
            raise self._refused(words)
        self._move(self._place + 1)

    def _value(self) -> Any:
        try:
            value, end = self._decoder.raw_decode(self._text, self._place)
        except json.JSONDecodeError as exc:
            raise DataError(f"{self._path}:{exc.lineno}: expected JSON, got: {exc}") from exc
        except (ValueError, RecursionError) as exc:
            raise DataError(f"{self._path}:{self._line}: expected JSON, got: {exc}") from exc
        self._move(end)
        return value

    def _move(self, place: int) -> None:
        self._line += self._text.count("\n", self._place, place)
        self._place = place

    def _refused(self, words: str) -> DataError:
        found = self._text[self._place : self._place + 20]
        got = repr(found) if found else "the end of the file"
        return DataError(f"{self._path}:{self._line}: expected {words}, got {got}")
