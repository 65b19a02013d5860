"""All that a run of the chaos test leaves for its judges."""

import json
import pickle
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pipeline.messages import MessageKind
from tests.chaos.faults import Timeline
from tests.chaos.monitor import Sample
from tests.chaos.reader import Entry, Lane
from tests.chaos.storm import SetAside
from tests.chaos.truth import Span, Truth, joined
from tests.chaos.worker_process import Life


@dataclass
class Record:
    """What was done, what was true, and what could be read, heard and seen from outside."""

    truth: Truth
    timeline: Timeline
    lives: Sequence[Life]
    paused: Sequence[Span]
    entries: Sequence[Entry]
    heard: Counter[str]
    listened: Sequence[Span]
    samples: Sequence[Sample]
    set_aside: Sequence[SetAside]
    shown: Mapping[tuple[str, str], str]  # camera and field of its hash, at the end -> message id

    def keep(self, folder: Path) -> None:
        """Write down what was logged, and all of this, for whoever looks into a broken run."""
        for number, life in enumerate(self.lives):
            lines = [*map(json.dumps, life.log), *life.noise]
            (folder / f"life-{number}.log").write_text("\n".join(lines))
        (folder / "record.pickle").write_bytes(pickle.dumps(self))

    @cached_property
    def once(self) -> list[Entry]:
        """Every message as it was written first, in the order of its stream."""
        first: dict[str, Entry] = {}
        for one in self.entries:
            first.setdefault(one.id, one)
        return list(first.values())

    def of(self, kind: MessageKind) -> Iterator[Entry]:
        """The messages of a kind, by their numbers."""
        yield from sorted((one for one in self.once if one.lane[1] == kind), key=_by_number)

    @cached_property
    def dead(self) -> list[Span]:
        """When no worker ran, or one that held its breath."""
        down = [
            Span(before.ended_ms or 0.0, after.started_ms or 0.0)
            for before, after in zip(self.lives, self.lives[1:], strict=False)
        ]
        first = Span(0.0, self.lives[0].started_ms or 0.0)
        last = Span(self.lives[-1].ended_ms or 0.0, float("inf"))
        return joined([first, *down, *self.paused, last])


@dataclass
class Verdict:
    """What was found: what is broken, and figures."""

    broken: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def wants(self, holds: object, why: str) -> None:
        if not holds:
            self.broken.append(why)


def _by_number(one: Entry) -> tuple[Lane, int]:
    return one.lane, one.seq
