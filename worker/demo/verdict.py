"""Verdicts: how far each message of the demo agrees with its clip's timeline."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from model.scenes import KINDS
from model.scenes.wording import article, stated_facts
from worker.demo.timeline import Stay, Timeline

SETTLE_S = 1.0  # an answer that holds so much earlier or later counts as right
_STEP_S = 0.25


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was true, in words, and how many of how many things said are right.

    Attributes:
        truth: from the timeline.
        right: of those said.
        said: facts that a caption states; 1 for an answer or event.
        told: facts of the timeline that a caption should state, and does.
        true: facts that it should state; 0 for the others.
    """

    truth: str
    right: int
    said: int
    told: int = 0
    true: int = 0

    @property
    def is_right(self) -> bool:
        """Whether nothing said is wrong and nothing true is left out."""
        return self.right == self.said and self.told == self.true


@dataclass(frozen=True, slots=True)
class Subject:
    """What a question is about: things of these kinds, and the answer that those there make."""

    kinds: tuple[str, ...]
    answer: Callable[[list[Stay]], str]

    def of(self, stays: list[Stay]) -> list[Stay]:
        """Give those of these kinds."""
        return [stay for stay in stays if stay.kind in self.kinds]


def _any(stays: list[Stay]) -> str:
    return "yes" if stays else "no"


def _number(stays: list[Stay]) -> str:
    return str(len(stays))


def _names(stays: list[Stay]) -> str:
    return _listed(f"{article(stay.subject)} {stay.subject}" for stay in stays) or "nobody"


def _listed(names: Iterable[str]) -> str:
    return " and ".join(sorted(names))


SUBJECTS: Mapping[str, Subject] = {
    "Is a person in view?": Subject(("person",), _any),
    "Is there smoke?": Subject(("smoke",), _any),
    "Is there fire?": Subject(("fire",), _any),
    "Is there fire or smoke?": Subject(("fire", "smoke"), _any),
    "Is the gate open?": Subject(("gate",), _any),
    "How many people are there?": Subject(("person",), _number),
    "How many cars are there?": Subject(("car",), _number),
    "Who or what is in view?": Subject(KINDS, _names),
}
"""The questions whose answer the timeline knows."""


@dataclass(slots=True)
class Judge:
    """Compares what is said of a camera that plays a clip with the clip's timeline.

    A file camera's capture times are those of its stream counted from the start of play, and its
    first frame is answered about: so the first message tells when play began, and with it every
    later message's place in the clip, to the millisecond.
    """

    timeline: Timeline
    tally: dict[str, Verdict] = field(default_factory=dict)
    _began_at: datetime | None = None

    def verdict(self, kind: str, said: Mapping[str, Any]) -> Verdict | None:
        """Judge one message's data and count it in.

        Args:
            kind: `caption`, `answer`, `event` or `status`.
            said: the message's data.

        Returns:
            None where the timeline does not know the answer.
        """
        if kind == "status":
            if said["state"] == "offline":
                self.reset()
            return None
        if self._began_at is None:
            self._began_at = datetime.fromisoformat(said["captured_at"])
        judged = self._caption(said) if kind == "caption" else self._answer(kind, said)
        if judged is not None:
            before = self.tally.get(kind, Verdict("", 0, 0))
            self.tally[kind] = Verdict(
                "",
                before.right + judged.right,
                before.said + judged.said,
                before.told + judged.told,
                before.true + judged.true,
            )
        return judged

    def reset(self) -> None:
        """Forget when play began: the camera begins anew."""
        self._began_at = None

    def in_words(self) -> str:
        """Sum the tally up."""
        parts = []
        if caption := self.tally.get("caption"):
            parts.append(
                f"captions: {caption.right} of {caption.said} stated facts right, "
                f"{caption.told} of {caption.true} true ones told"
            )
        parts += [
            f"{kind}s: {self.tally[kind].right} of {self.tally[kind].said} right"
            for kind in ("answer", "event")
            if kind in self.tally
        ]
        return "; ".join(parts) or "nothing to judge"

    def _stream_s(self, when: str) -> float:
        if self._began_at is None:
            raise AssertionError("the first message sets when play began")
        return (datetime.fromisoformat(when) - self._began_at).total_seconds()

    def _caption(self, said: Mapping[str, Any]) -> Verdict:
        start_s = self._stream_s(said["window"]["start"])
        end_s = self._stream_s(said["captured_at"])
        true, stated = self.timeline.stated(start_s, end_s), stated_facts(said["text"])
        shown = [
            self.timeline.in_clip(stay).in_words(actions)
            for stay, actions in self.timeline.seen(start_s, end_s)
        ]
        both = len(true & stated)
        truth = f"{self._clip(start_s)} to {self._clip(end_s)}: {'; '.join(shown) or 'nothing'}"
        return Verdict(truth, both, len(stated), both, len(true))

    def _answer(self, kind: str, said: Mapping[str, Any]) -> Verdict | None:
        subject = SUBJECTS.get(said["question"])
        if subject is None or (kind == "event" and said["kind"] != "yes_no"):
            return None
        heard = _normal(str(said["answer"]))
        at = said["captured_at"]
        if kind == "event":
            heard = "no" if said["phase"] == "end" else "yes"
            at = {"start": said["started_at"], "end": said["ended_at"]}.get(said["phase"], at)
        at_s = self._stream_s(at)
        moments_s = np.arange(at_s - SETTLE_S, at_s + SETTLE_S + _STEP_S / 2, _STEP_S)
        fitting = {subject.answer(self._there(subject, float(one_s))) for one_s in moments_s}
        there = self._there(subject, at_s)
        shown = "; ".join(self.timeline.in_clip(stay).in_words() for stay in there)
        truth = f"{self._clip(at_s)}: {subject.answer(there)}{f' ({shown})' if shown else ''}"
        return Verdict(truth, int(heard in fitting), 1)

    def _there(self, subject: Subject, time_s: float) -> list[Stay]:
        return subject.of(self.timeline.at(time_s))

    def _clip(self, stream_s: float) -> str:
        return f"{stream_s % self.timeline.duration_s:.1f} s"


def _normal(answer: str) -> str:
    """Give an answer with what it lists in one order: "a car and a dog", "a dog and a car"."""
    return _listed(part for part in re.split(r", and |, | and ", answer.strip()) if part)
