"""What labels say of clips: the right answer to each question at each moment, or that nobody knows.

What is wrong with a row is told by its file and line, and the others are used.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from math import inf
from pathlib import Path

from model.kinds.base import Target
from model.training.labels import UNKNOWN, Label, Problem
from worker.evaluation.labelled.footage import Clip
from worker.site_settings import QuestionSettings

EDGE_S = 1.0  # labels made by hand are a second off: answers so near to a change do not count
_BEFORE_S = 1e-6
JUDGED_KINDS = ("yes_no", "choice", "count")
_RESTS = {"yes_no": "no", "count": "0"}


@dataclass(frozen=True, slots=True)
class Stretch:
    """From when to when a value holds, in seconds of the clip."""

    start_s: float
    end_s: float
    value: str
    place: str


@dataclass(frozen=True, slots=True)
class Truth:
    """The right answers to one question over one clip.

    Attributes:
        stretches: in order of time; none overlaps another.
        rest: the value wherever no stretch says anything; `unknown` where nobody can tell.
        place: the first row that says so.
    """

    stretches: tuple[Stretch, ...]
    rest: str
    place: str = ""

    def value_at(self, t_s: float) -> str:
        """Return the value at a moment."""
        place = bisect_right([one.start_s for one in self.stretches], t_s) - 1
        if place >= 0 and t_s < self.stretches[place].end_s:
            return self.stretches[place].value
        return self.rest

    def judged_at(self, t_s: float) -> str:
        """Return the value at a moment; `unknown` within `EDGE_S` of a change."""
        edges = {one.start_s for one in self.stretches} | {one.end_s for one in self.stretches}
        near = [edge_s for edge_s in edges if edge_s > 0 and abs(edge_s - t_s) < EDGE_S]
        values = {self.value_at(at_s) for at_s in (t_s, *near)}
        values |= {self.value_at(edge_s - _BEFORE_S) for edge_s in near}
        return values.pop() if len(values) == 1 else UNKNOWN

    def spans(self, target: Target, *, until_s: float) -> list[tuple[float, float]]:
        """Return the stretches of the clip in which what an event is about holds."""
        return self._where(lambda value: bool(holds(value, target)), until_s=until_s)

    def open(self, *, until_s: float) -> list[tuple[float, float]]:
        """Return the stretches of the clip in which nobody can tell."""
        return self._where(lambda value: value == UNKNOWN, until_s=until_s)

    def known_from(self, t_s: float) -> float:
        """Return from when on somebody can tell again, at a moment at which nobody can; or inf."""
        ends = sorted(
            {one.end_s for one in self.stretches} | {one.start_s for one in self.stretches}
        )
        later = [end_s for end_s in ends if end_s > t_s and self.value_at(end_s) != UNKNOWN]
        return later[0] if later else inf

    def _where(self, is_so: Callable[[str], bool], *, until_s: float) -> list[tuple[float, float]]:
        edges = sorted(
            {0.0, until_s, *(one.start_s for one in self.stretches)}
            | {one.end_s for one in self.stretches}
        )
        spans: list[tuple[float, float]] = []
        for start_s, end_s in pairwise(edges):
            if start_s >= until_s or not is_so(self.value_at(start_s)):
                continue
            begun_s = spans.pop()[0] if spans and spans[-1][1] == start_s else start_s
            spans.append((begun_s, min(end_s, until_s)))
        return spans


def holds(value: str, target: Target) -> bool | None:
    """Say whether what an event is about holds where this is the answer; None where none is."""
    if value == UNKNOWN:
        return None
    return int(value) >= target if isinstance(target, int) else value == target


@dataclass(frozen=True, slots=True)
class Truths:
    """What the labels say.

    Attributes:
        of: by (clip's name, question's id); questions without a label on a clip are missing.
        problems: what is wrong with labels.
    """

    of: Mapping[tuple[str, str], Truth]
    problems: tuple[Problem, ...]

    @property
    def question_ids(self) -> list[str]:
        """The questions of which there are labels, in order."""
        return list(dict.fromkeys(question_id for _, question_id in self.of))


def truths_of(
    labels: Iterable[Label],
    clips: Sequence[Clip],
    questions: Mapping[str, QuestionSettings],
) -> Truths:
    """Give every usable label to its clip and question.

    Where no row without times says what the rest is, it is `no` of a yes/no question and 0 of a
    count whose rows do not say so themselves, and unknown otherwise.
    """
    problems: list[Problem] = []
    given: dict[tuple[str, str], list[Label]] = {}
    for label in labels:
        try:
            value = _value(label, questions)
            for clip, placed in _placed(label, clips):
                found = replace(placed, value=value)
                given.setdefault((clip.name, label.question), []).append(found)
        except ValueError as error:
            problems.append(Problem(label.place, f"{error}: this row is left out"))
    truths = {
        key: _truth(mine, kind=questions[key[1]].kind, problems=problems)
        for key, mine in given.items()
    }
    return Truths(truths, tuple(problems))


def beyond(truths: Truths, clip: Clip, *, until_s: float) -> list[Problem]:
    """Tell of labels at times that a clip does not have."""
    mine = [
        one
        for (name, _), truth in truths.of.items()
        if name == clip.name
        for one in truth.stretches
    ]
    late = [one for one in mine if one.start_s >= until_s]
    cut = [one for one in mine if one.start_s < until_s and one.end_s > until_s + EDGE_S]
    lasts = f"{clip.path.name} lasts {until_s:.1f} s"
    problems = [
        Problem(
            one.place,
            f"expected times within the clip, got {one.start_s:g} to {one.end_s:g}; {lasts}: "
            + ("this row is left out" if one in late else "what is beyond it is left out"),
        )
        for one in [*late, *cut]
    ]
    if len(late) > len(mine) / 2:
        words = f"{len(late)} of {len(mine)} labels lie beyond it: they may be of another clip, or "
        problems.append(Problem(clip.path.name, f"{words}of a copy at another speed"))
    return problems


def _value(label: Label, questions: Mapping[str, QuestionSettings]) -> str:
    """Return a label's value as answers to its question are written.

    Raises:
        ValueError: there is no such question, or this is no answer to it.
    """
    question = questions.get(label.question)
    if question is None:
        known = ", ".join(sorted(questions)) or "none"
        raise ValueError(f"expected a question that is asked ({known}), got {label.question!r}")
    if question.kind not in JUDGED_KINDS:
        raise ValueError(
            f"expected a question of kind {', '.join(JUDGED_KINDS)}, got one of kind "
            f"{question.kind}, whose answers no label can judge"
        )
    value = label.value.strip()
    if value.lower() == UNKNOWN:
        return UNKNOWN
    if question.kind == "count":
        if not value.isdecimal():
            raise ValueError(f"value: expected a whole number or {UNKNOWN}, got {_got(value)}")
        return str(int(value))
    answers = question.options or ("yes", "no")
    alike = [answer for answer in answers if answer.casefold() == value.casefold()]
    if not alike:
        raise ValueError(
            f"value: expected one of {', '.join(answers)} or {UNKNOWN}, got {_got(value)}"
        )
    return alike[0]


def _got(value: str) -> str:
    # Labels are read without their questions, and an empty value as yes.
    return f"{value[:40]!r}" + (", as an empty value is read" if value.lower() == "yes" else "")


def _placed(label: Label, clips: Sequence[Clip]) -> list[tuple[Clip, Label]]:
    """Return the clips that a label is about, its times in seconds of each.

    Raises:
        ValueError: there is none, or it is not clear which.
    """
    exact = [clip for clip in clips if clip.is_called(label.camera)]
    named = [clip for clip in clips if clip in exact or clip.camera == label.camera]
    if not label.camera:
        beside = Path(label.place.rpartition(":")[0]).stem
        named = [*clips] if len(clips) == 1 else [one for one in clips if one.is_called(beside)]
    if not named:
        known = ", ".join(dict.fromkeys(name for one in clips for name in (one.name, one.camera)))
        raise ValueError(f"expected a camera or clip ({known}), got {label.camera!r}")
    if label.start is None:
        return [(clip, label) for clip in named]
    if isinstance(label.start, datetime):
        return _by_the_clock(label, named)
    if len(named) > 1 and len(exact) != 1:
        names = ", ".join(clip.name for clip in named)
        raise ValueError(f"expected the name of one clip for times in seconds ({names})")
    return [((exact or named)[0], label)]


def _by_the_clock(label: Label, clips: Sequence[Clip]) -> list[tuple[Clip, Label]]:
    """Put a label with times of day where clips have them; cut at a clip's beginning."""
    known = [(clip, clip.began) for clip in clips if clip.began is not None]
    if not known:
        raise ValueError(
            "expected seconds, since nobody knows when the clip began; --began tells, or a name "
            f"like {clips[0].camera}_20260501T080000Z.mp4"
        )
    placed = []
    for clip, began in sorted(known, key=lambda one: one[1]):
        start_s, end_s = (
            (time - began).total_seconds() if isinstance(time, datetime) else 0.0
            for time in (label.start, label.end)
        )
        if end_s > 0:
            placed.append((clip, replace(label, start=max(0.0, start_s), end=end_s)))
    if not placed:
        raise ValueError("expected times after a clip's beginning, got earlier ones")
    # A camera's clips follow each other: of those that had begun by then, the last is meant.
    begun = [one for one in placed if one[1].start]
    later = [one for one in placed if not one[1].start]
    return [*begun[-1:], *later]


def _truth(labels: Sequence[Label], *, kind: str, problems: list[Problem]) -> Truth:
    """Order a question's rows over one clip; where those over a moment differ, it is unknown."""
    rests = [one for one in labels if one.start is None]
    for extra in rests[1:]:
        words = f"expected one row without times, got another after {rests[0].place}"
        problems.append(Problem(extra.place, f"{words}: this row is left out"))
    timed = [
        Stretch(float(one.start), float(one.end), one.value, one.place)
        for one in labels
        if isinstance(one.start, float) and isinstance(one.end, float)
    ]
    timed.sort(key=lambda stretch: (stretch.start_s, stretch.end_s))
    problems += _overlaps(timed)
    rest = _RESTS.get(kind, UNKNOWN)
    if rests:
        rest = rests[0].value
    elif any(one.value == rest for one in timed):
        rest = UNKNOWN
    return Truth(_apart(timed), rest, labels[0].place)


def _overlaps(timed: Sequence[Stretch]) -> Iterator[Problem]:
    """Tell of each row that begins before one above it has ended, the one that ends last."""
    last: Stretch | None = None
    for one in timed:
        if last is not None and one.start_s < last.end_s:
            is_same = one.value == last.value
            words = f"expected stretches that do not overlap, got {one.start_s:g} to {one.end_s:g} "
            words += f"beside {last.start_s:g} to {last.end_s:g} of {last.place}: "
            both = "they are joined" if is_same else f"where both hold, the answer is {UNKNOWN}"
            yield Problem(one.place, words + both)
        last = one if last is None or one.end_s > last.end_s else last


def _apart(timed: Sequence[Stretch]) -> tuple[Stretch, ...]:
    """Cut rows at all their edges; a piece has the value that all rows over it agree on."""
    edges = sorted({edge_s for one in timed for edge_s in (one.start_s, one.end_s)})
    waiting, over = deque(timed), list[Stretch]()
    pieces: list[Stretch] = []
    for start_s, end_s in pairwise(edges):
        over = [one for one in over if one.end_s > start_s]
        while waiting and waiting[0].start_s == start_s:
            over.append(waiting.popleft())
        if not over:
            continue
        values = {one.value for one in over}
        value = values.pop() if len(values) == 1 else UNKNOWN
        # One that goes on over an edge is one stretch; two rows that merely touch stay two.
        goes_on = over[0].start_s < start_s and pieces[-1].value == value
        piece = replace(pieces.pop(), end_s=end_s) if goes_on else None
        pieces.append(piece or Stretch(start_s, end_s, value, over[-1].place))
    return tuple(pieces)
