"""Events against the truth: which starts were right, which were missed, how late they came."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal


@dataclass(frozen=True, slots=True)
class Start:
    """An event's beginning as it was announced, in seconds of stream time.

    Attributes:
        start_s: the first frame that spoke for it.
        announced_s: the frame it was announced at.
    """

    start_s: float
    announced_s: float


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch in which something was there, in seconds of stream time.

    Attributes:
        start_s: when it began.
        end_s: when it was over.
        again_s: when it began again after gaps too short for an event to be sure to end in.
    """

    start_s: float
    end_s: float
    again_s: tuple[float, ...] = ()


What = Literal["found", "missed", "false"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one stretch, or of one event that belongs to none.

    Attributes:
        what: the stretch was found or missed, the event is false.
        at_s: when it began, in seconds of stream time.
        delay_s: of a found one, from its beginning to the announcement.
    """

    what: What
    at_s: float
    delay_s: float | None = None


@dataclass(frozen=True, slots=True)
class Matched:
    """How a camera's events fit the truth.

    Attributes:
        num_spans: stretches long enough for an event.
        num_found: of them with an event that began in it.
        num_starts: events, those aside that began in a stretch too short or again after a gap.
        delays_s: for each found stretch, from its beginning to the announcement.
    """

    num_spans: int
    num_found: int
    num_starts: int
    delays_s: tuple[float, ...]

    @property
    def precision(self) -> float | None:
        """The share of events that are right; None without events."""
        return self.num_found / self.num_starts if self.num_starts else None

    @property
    def recall(self) -> float | None:
        """The share of stretches that were found; None without any."""
        return self.num_found / self.num_spans if self.num_spans else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of both; None where there is neither an event nor a stretch."""
        either = self.num_starts + self.num_spans
        return 2 * self.num_found / either if either else None

    @property
    def median_delay_s(self) -> float | None:
        """The median of the delays; None where nothing was found."""
        return median(self.delays_s) if self.delays_s else None


def joined(spans: Iterable[tuple[float, float]], *, gap_s: float) -> list[Span]:
    """Join stretches that overlap or lie closer together than `gap_s`, in order of time."""
    found: list[Span] = []
    for start_s, end_s in sorted(spans):
        last = found[-1] if found else None
        if last is None or start_s - last.end_s >= gap_s:
            found.append(Span(start_s, end_s))
            continue
        again_s = (*last.again_s, start_s) if start_s > last.end_s else last.again_s
        found[-1] = Span(last.start_s, max(last.end_s, end_s), again_s)
    return found


def outcomes(
    starts: Sequence[Start], spans: Sequence[Span], *, shortest_s: float, early_s: float = 1.0
) -> list[Outcome]:
    """Say of each event and each stretch what became of it: one event to a stretch.

    Args:
        starts: one camera's, in order of time.
        spans: the truth, joined.
        shortest_s: a stretch shorter than this is too short to be confirmed; whether there is an
            event in it counts for nothing.
        early_s: how long before a stretch its event may begin: something comes into view before
            half of it is in view. Nor is it an error that an event ends in a short gap and another
            begins, no earlier than this before the gap's end.
    """
    delays_s: dict[Span, float] = {}
    found: list[Outcome] = []
    for start in starts:
        inside = [one for one in spans if one.start_s - early_s <= start.start_s <= one.end_s]
        free = [one for one in inside if one not in delays_s]
        if not free and any(
            start.start_s >= again_s - early_s for one in inside for again_s in one.again_s
        ):
            continue
        if free and free[0].end_s - free[0].start_s < shortest_s:
            continue
        if free:
            delays_s[free[0]] = start.announced_s - free[0].start_s
        else:
            found.append(Outcome("false", start.start_s))
    for one in spans:
        if one.end_s - one.start_s >= shortest_s:
            what: What = "found" if one in delays_s else "missed"
            found.append(Outcome(what, one.start_s, delays_s.get(one)))
    return found


def match(
    starts: Sequence[Start], spans: Sequence[Span], *, shortest_s: float, early_s: float = 1.0
) -> Matched:
    """Count what became of one camera's events and stretches, as `outcomes` says it."""
    return counted(outcomes(starts, spans, shortest_s=shortest_s, early_s=early_s))


def counted(found: Iterable[Outcome]) -> Matched:
    """Count outcomes."""
    every = list(found)
    delays_s = tuple(one.delay_s for one in every if one.delay_s is not None)
    num_missed = sum(one.what == "missed" for one in every)
    num_false = sum(one.what == "false" for one in every)
    num_found = len(every) - num_missed - num_false
    return Matched(num_found + num_missed, num_found, num_found + num_false, delays_s)


def total(matched: Iterable[Matched]) -> Matched:
    """Add up cameras."""
    every = list(matched)
    return Matched(
        num_spans=sum(one.num_spans for one in every),
        num_found=sum(one.num_found for one in every),
        num_starts=sum(one.num_starts for one in every),
        delays_s=tuple(delay_s for one in every for delay_s in one.delays_s),
    )
