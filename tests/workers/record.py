"""All that a run of several workers leaves for its judges."""

import json
import pickle
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.messages import MessageKind
from tests.chaos.faults import Timeline
from tests.chaos.reader import Entry
from tests.chaos.truth import Span, Truth
from tests.chaos.worker_process import Life


@dataclass(frozen=True, slots=True)
class Sighting:
    """A worker's page /status at a moment: who calls which camera what.

    Attributes:
        at_ms: when it was asked for.
        worker_id: whose.
        states: of the cameras that it lists.
    """

    at_ms: float
    worker_id: str
    states: Mapping[str, str]

    @property
    def watched(self) -> list[str]:
        """The cameras whose pictures arrive there, late ones too."""
        return [one for one, state in self.states.items() if state in ("online", "degraded")]


@dataclass(frozen=True, slots=True)
class Takeover:
    """A camera whose frames another worker began to answer for.

    Attributes:
        camera_id: it.
        old: the worker before.
        new: the worker after.
        answers: of the new one's making, until the next takeover.
    """

    camera_id: str
    old: str
    new: str
    answers: list[Entry]

    @property
    def first(self) -> Entry:
        return self.answers[0]


@dataclass
class Record:
    """What was done, what was true, and what could be read, heard and seen from outside.

    Attributes:
        fenced: worker -> how often an older term of its was refused.
        shown: camera -> the worker whose status its hash holds at the end, where it is online.
        running: the workers that ran at the end.
        resumed: the worker that was stopped for longer than its session; None where none was.
        first_ms: when the first picture was sent.
        is_long: whether a stall is a small part of the answers.
    """

    truth: Truth
    timeline: Timeline
    lives: Mapping[str, Sequence[Life]]
    entries: Sequence[Entry]
    heard: Counter[str]
    sightings: Sequence[Sighting]
    fenced: Mapping[str, float]
    shown: Mapping[str, str]
    running: Collection[str]
    resumed: str | None
    first_ms: float
    window_s: float = 60.0
    disturbed: Sequence[Span] = field(default_factory=list)  # when owners may change
    is_long: bool = True

    def keep(self, folder: Path) -> None:
        """Write down what was logged, and all of this, for whoever looks into a broken run."""
        for worker_id, lives in self.lives.items():
            for number, life in enumerate(lives):
                lines = [*map(json.dumps, life.log), *life.noise]
                (folder / f"{worker_id}-{number}.log").write_text("\n".join(lines))
        (folder / "record.pickle").write_bytes(pickle.dumps(self))

    @property
    def cameras(self) -> list[str]:
        return sorted({camera_id for camera_id, _ in self.truth.spans})

    def of(self, kind: MessageKind) -> Iterator[Entry]:
        """The messages of a kind, by camera and number."""
        mine = (one for one in self.entries if one.lane[1] == kind)
        yield from sorted(mine, key=lambda one: (one.lane, one.seq))

    @cached_property
    def answers(self) -> dict[str, list[Entry]]:
        """The answers about each camera, in the order of their stream."""
        found: defaultdict[str, list[Entry]] = defaultdict(list)
        for one in self.entries:
            if one.lane[1] == "answer":
                found[one.lane[0]].append(one)
        return dict(found)

    def logged(self, event: str) -> list[Mapping[str, Any]]:
        """What all workers logged under a name."""
        lives = (life for mine in self.lives.values() for life in mine)
        return [line for life in lives for line in life.log if line.get("event") == event]

    @cached_property
    def takeovers(self) -> list[Takeover]:
        found: list[Takeover] = []
        for camera_id, answers in self.answers.items():
            for before, after in pairwise(answers):
                old, new = before.said["worker_id"], after.said["worker_id"]
                if old != new:
                    found.append(Takeover(camera_id, old, new, []))
                if found and found[-1].camera_id == camera_id:
                    found[-1].answers.append(after)
        return found
