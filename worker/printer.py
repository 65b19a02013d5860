"""Prints messages for people: a line for each, answers where they change; or each as JSON."""

import json
import shutil
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

_COLOURS = {"caption": "36", "answer": "32", "event": "35", "status": "90", "wrong": "31"}
_LABEL_CHARS = len("vigil:yard:captions")
_MARGIN_CHARS = len("00:00:00  ") + _LABEL_CHARS + len("  ")


@dataclass(frozen=True, slots=True)
class Truth:
    """What was true when a message was made, in words, and whether it agrees."""

    words: str
    is_right: bool


@dataclass(slots=True)
class Printer:
    """Prints one message after the other.

    Attributes:
        has_mass: an answer is printed with the probability that the model answers at all.
        as_json: each message is printed as it is, on a line of its own.
        has_all: an answer that the model gave anew is printed also where it is the same.
        begin: for a file: times are those since then, of capture.
    """

    has_mass: bool = False
    as_json: bool = False
    has_all: bool = False
    begin: datetime | None = None
    _shown: dict[tuple[str, str], tuple[object, bool]] = field(default_factory=dict)
    _day: date = field(default_factory=lambda: datetime.now().astimezone().date())

    def show(self, channel: str, message: Mapping[str, Any], *, truth: Truth | None = None) -> None:
        """Print a message, but for an answer that is the same as the one before.

        Args:
            channel: where it was published.
            message: the whole of it.
            truth: printed beneath it.
        """
        if self.as_json:
            say(json.dumps(message, ensure_ascii=False))
            return
        said, kind = message["data"], str(message["type"]).split(".")[1]
        if kind == "answer" and not self._is_news(said, truth):
            return
        label = _coloured(f"{channel:<{_LABEL_CHARS}}", kind)
        words = _indented(in_words(kind, said, has_mass=self.has_mass))
        say(f"{self._time(said)}  {label}  {words}")
        if truth is not None:
            hue = "status" if truth.is_right else "wrong"
            say(_coloured(f"{'truth':>{_MARGIN_CHARS - 2}}  {_indented(truth.words)}", hue))
        if kind == "caption":
            tokens = said["tokens"]
            sent = f"{tokens['kept']} of {tokens['total']} tokens in the window"
            age = f", frame {said['frame_age_ms']} ms old when answered" if not self.begin else ""
            say(f"{'sent':>{_MARGIN_CHARS - 2}}  {sent} ({tokens['kept_ratio']:.0%}){age}")

    def _time(self, said: Mapping[str, Any]) -> str:
        """Return when a message was made; the day is printed where it is another."""
        if self.begin is not None:
            if "captured_at" not in said:
                return " " * len("00:00:00")
            at = datetime.fromisoformat(said["captured_at"])
            seconds = max(0, round((at - self.begin).total_seconds()))
            return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        at = datetime.fromisoformat(said["published_at"]).astimezone()
        if at.date() != self._day:
            self._day = at.date()
            say(f"{self._day:%Y-%m-%d}")
        return f"{at:%H:%M:%S}"

    def _is_news(self, said: Mapping[str, Any], truth: Truth | None) -> bool:
        """Say whether an answer, or whether it is right, has changed since it was last printed."""
        if self.has_all:
            return not said["reused"]
        key = said["camera_id"], said["question_id"]
        now = said["answer"], truth is None or truth.is_right
        is_news = self._shown.get(key) != now
        self._shown[key] = now
        return is_news


def in_words(kind: str, said: Mapping[str, Any], *, has_mass: bool = False) -> str:
    """Return what a message's data says, on one line."""
    if kind == "caption":
        return json.dumps(said["text"], ensure_ascii=False)
    if kind == "status":
        why = ": ".join(filter(None, (said["reason"], said["detail"])))
        video = [f"{said['codec']} {said['width']}x{said['height']}"] if said.get("codec") else []
        video += [f"{said['fps']:g} fps"] if video and said["fps"] else []
        return ", ".join([f"{said['state']} ({why})" if why else str(said["state"]), *video])
    beside = [said["reason"]] if said.get("reason") else []
    beside += [f"p {said['p']:.2f}"] if said["p"] is not None else []
    if has_mass and said.get("mass") is not None:
        beside.append(f"mass {said['mass']:.2f}")
    phase = f"{'test ' if said.get('test') else ''}{said['phase']}: " if kind == "event" else ""
    told = f" ({', '.join(beside)})" if beside else ""
    return f"{phase}{said['question']} -> {said['answer']}{told}"


def say(line: str) -> None:
    """Print a line of a command's output."""
    print(line, flush=True)  # noqa: T201 (a command's output)


def tell(line: str) -> None:
    """Print a line that is about the command and none of its output, on standard error."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 (what a person is told)


def _indented(text: str) -> str:
    """Wrap to the terminal, under the text of the first line."""
    width = max(40, shutil.get_terminal_size((160, 24)).columns - _MARGIN_CHARS)
    return f"\n{'':{_MARGIN_CHARS}}".join(textwrap.wrap(text, width) or [""])


def _coloured(text: str, kind: str) -> str:
    return f"\x1b[{_COLOURS[kind]}m{text}\x1b[0m" if sys.stdout.isatty() else text
