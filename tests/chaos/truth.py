"""What truly happens in front of the cameras, by the wall's milliseconds: scripted, and seeded."""

import json
import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CAMERAS = ("gate", "yard", "dock", "hall")
ANSWERS: Mapping[str, Mapping[bool, str | int]] = {
    "fire": {True: "yes", False: "no"},
    "helmet": {True: "no", False: "yes"},
    "boxes": {True: 3, False: 0},
}
"""What is true of each question while its event is on, and while it is not."""
QUESTIONS = tuple(ANSWERS)

SHORTEST_MS = 4500  # by far enough for an event to be confirmed
_FIRST_MS = 1500

Watched = tuple[str, str]
"""A camera and a question."""
WATCHED: Sequence[Watched] = [(camera, name) for camera in CAMERAS for name in QUESTIONS]


def _length_ms(rng: random.Random) -> int:
    return rng.randint(SHORTEST_MS, 9000) if rng.random() < 0.9 else rng.randint(9000, 25_000)


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """From one moment until just before another, in milliseconds since 1970."""

    begin_ms: float
    end_ms: float

    @property
    def length_ms(self) -> float:
        return self.end_ms - self.begin_ms

    def wider(self, *, before_ms: float = 0, after_ms: float = 0) -> "Span":
        return Span(self.begin_ms - before_ms, self.end_ms + after_ms)


def joined(spans: Sequence[Span]) -> list[Span]:
    """The same times without overlaps, in order."""
    whole: list[Span] = []
    for span in sorted(spans):
        if whole and span.begin_ms <= whole[-1].end_ms:
            whole[-1] = Span(whole[-1].begin_ms, max(whole[-1].end_ms, span.end_ms))
        else:
            whole.append(span)
    return whole


def without(span: Span, others: Sequence[Span]) -> Iterator[Span]:
    """What is left of a span without others, which do not overlap and are in order."""
    begin_ms = span.begin_ms
    for other in others:
        if other.end_ms <= begin_ms or other.begin_ms >= span.end_ms:
            continue
        if other.begin_ms > begin_ms:
            yield Span(begin_ms, other.begin_ms)
        begin_ms = other.end_ms
    if begin_ms < span.end_ms:
        yield Span(begin_ms, span.end_ms)


class Truth:
    """When each question's event is truly on."""

    def __init__(self, spans: Mapping[Watched, Sequence[Span]]) -> None:
        self.spans = spans
        self._turns = {
            watched: [at_ms for span in mine for at_ms in (span.begin_ms, span.end_ms)]
            for watched, mine in spans.items()
        }

    @classmethod
    def scripted(
        cls,
        rng: random.Random,
        *,
        within: Span,
        watched: Iterable[Watched] = WATCHED,
        length_ms: Callable[[random.Random], int] = _length_ms,
    ) -> "Truth":
        """Draw events with pauses between them; all are over at the end.

        Args:
            rng: the luck.
            within: when.
            watched: cameras, and questions about them.
            length_ms: draws how long an event or a pause is.
        """
        spans = {}
        for one in watched:
            mine, at_ms = [], within.begin_ms + rng.randint(_FIRST_MS, 6000)
            while (end_ms := at_ms + length_ms(rng)) < within.end_ms:
                mine.append(Span(at_ms, end_ms))
                at_ms = end_ms + length_ms(rng)
            spans[one] = mine
        return cls(spans)

    @property
    def num_events(self) -> int:
        return sum(len(mine) for mine in self.spans.values())

    def is_on(self, watched: Watched, at_ms: float) -> bool:
        return bisect_right(self._turns[watched], at_ms) % 2 == 1

    def answer(self, watched: Watched, at_ms: float) -> str | int:
        """The answer that is true."""
        return ANSWERS[watched[1]][self.is_on(watched, at_ms)]

    def save(self, path: Path) -> None:
        whole = {
            "/".join(watched): [(one.begin_ms, one.end_ms) for one in mine]
            for watched, mine in self.spans.items()
        }
        path.write_text(json.dumps(whole))

    @classmethod
    def load(cls, path: Path) -> "Truth":
        spans = {}
        for name, mine in json.loads(path.read_text()).items():
            camera, _, question = name.partition("/")
            spans[camera, question] = [Span(begin_ms, end_ms) for begin_ms, end_ms in mine]
        return cls(spans)
