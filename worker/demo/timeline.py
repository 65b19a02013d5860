"""Timeline: what truly happens in a rendered clip, written beside it, for as long as it loops."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from model.scenes import Fact, Presence, Scene
from model.scenes.wording import Stated
from pipeline.errors import ConfigError

SEEN_EVERY_S = 1.0
SETTLE_S = 1.0  # a stop so near the first or last frame cannot be seen to be one
SLACK_S = 0.02  # presence is known to a twentieth of a second, capture times to a millisecond
_EDGE_S = 0.2  # how far an action may lie from the edge of the presence it begins or ends
_SILENT = ("gate", "lights")  # nobody tells that a gate goes on standing open


@dataclass(frozen=True, slots=True)
class Stay:
    """Something in view, or a fixture that is on, open or burning, from one moment to another.

    Attributes:
        subject: "person in red", "brown parcel", "gate", "lights", "smoke".
        kind: one of the scenes' kinds, or the fixture.
        colour: "" where none.
        start_s: the first moment, in seconds of the clip.
        end_s: the last.
        comes: what it does then: "enters from the left"; "" where the clip begins with it.
        stops_s: when it comes to a stop.
        goes: what it does in the end; "" where the clip ends with it.
    """

    subject: str
    kind: str
    colour: str
    start_s: float
    end_s: float
    comes: str
    stops_s: tuple[float, ...]
    goes: str

    def moved(self, by_s: float) -> Self:
        """Give the same, so much later."""
        stops_s = tuple(when + by_s for when in self.stops_s)
        return replace(self, start_s=self.start_s + by_s, end_s=self.end_s + by_s, stops_s=stops_s)

    def holds(self, time_s: float) -> bool:
        """Say whether it is there at a moment."""
        return self.start_s - SLACK_S <= time_s <= self.end_s + SLACK_S

    def in_words(self, actions: Sequence[str] = ()) -> str:
        """Give it as a line of the timeline: "person in red enters from the left, 2.1-7.4 s"."""
        told = "".join(f" {action}," for action in actions)
        return f"{self.subject}{told} {self.start_s:.1f}-{self.end_s:.1f} s"


@dataclass(frozen=True, slots=True)
class Timeline:
    """The stays of a clip that is played over and over.

    Times asked about are seconds since the clip was begun for the first time. Its end and its
    beginning show the same still picture, so that nothing happens in between.
    """

    duration_s: float
    stays: tuple[Stay, ...]

    @classmethod
    def of(cls, scene: Scene, *, start_s: float, duration_s: float) -> Self:
        """Give the timeline of a stretch of a scene.

        Raises:
            ValueError: the stretch reaches beyond the scene.
        """
        end_s = start_s + duration_s
        if not 0 <= start_s < end_s <= scene.duration_s:
            raise ValueError(
                f"expected a stretch within 0-{scene.duration_s:g} s, got {start_s:g}-{end_s:g} s"
            )
        stays = [
            _stay(span, scene.timeline, start_s=start_s, end_s=end_s)
            for span in scene.presence()
            if span.start_s < end_s and span.end_s > start_s
        ]
        return cls(duration_s, tuple(stays))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `written` gave.

        Raises:
            ConfigError: the file is no timeline.
        """
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            stays = [Stay(**{**one, "stops_s": tuple(one["stops_s"])}) for one in held["stays"]]
            return cls(float(held["duration_s"]), tuple(stays))
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"expected a clip's timeline in {path}: {error}") from None

    def written(self, **about: str | float) -> str:
        """Return JSON, a stay a line, with these words about the clip before it."""
        head = "".join(f"{json.dumps(k)}: {json.dumps(v)},\n" for k, v in about.items())
        lines = ",\n".join(f"  {json.dumps(asdict(stay))}" for stay in self.stays)
        return f'{{\n{head}"duration_s": {self.duration_s},\n"stays": [\n{lines}\n]\n}}\n'

    def at(self, time_s: float) -> list[Stay]:
        """Give what is there at a moment."""
        return [stay for stay in self._unrolled(time_s, time_s) if stay.holds(time_s)]

    def between(self, start_s: float, end_s: float) -> list[Stay]:
        """Give what is there at any moment from one to another, in order of coming."""
        found = [
            stay
            for stay in self._unrolled(start_s, end_s)
            if stay.start_s <= end_s + SLACK_S and stay.end_s >= start_s - SLACK_S
        ]
        return sorted(found, key=lambda stay: stay.start_s)

    def seen(self, start_s: float, end_s: float) -> list[tuple[Stay, list[str]]]:
        """Give what frames a second show of each stay: its actions, "is there" where it has none.

        What no frame shows is left out, and so is a gate that goes on standing open.
        """
        times_s = np.arange(start_s, end_s + SLACK_S, SEEN_EVERY_S)
        found = []
        for stay in self.between(start_s, end_s):
            held = [stay.holds(float(time_s)) for time_s in times_s]
            if any(held) and (actions := _actions(stay, held, times_s)):
                found.append((stay, actions))
        return found

    def stated(self, start_s: float, end_s: float) -> frozenset[Stated]:
        """Give what a caption of these frames should state: (kind, colour, action)."""
        return frozenset(
            (stay.kind, stay.colour, action)
            for stay, actions in self.seen(start_s, end_s)
            for action in actions
        )

    def in_clip(self, stay: Stay) -> Stay:
        """Give a stay of any round with its times in the clip."""
        return stay.moved(-(stay.start_s // self.duration_s) * self.duration_s)

    def _unrolled(self, start_s: float, end_s: float) -> Iterator[Stay]:
        first, last = int(start_s // self.duration_s), int(end_s // self.duration_s)
        for number in range(first, last + 1):
            for stay in self.stays:
                yield stay.moved(number * self.duration_s)


def _actions(stay: Stay, held: list[bool], times_s: NDArray[np.float64]) -> list[str]:
    """Give what frames tell of a stay that `held` at some of them."""
    low_s, high_s = times_s[0] + SETTLE_S - SLACK_S, times_s[-1] - SETTLE_S + SLACK_S
    actions = [
        stay.comes if not held[0] else "",
        "stops" if any(low_s <= when <= high_s for when in stay.stops_s) else "",
        stay.goes if not held[-1] else "",
    ]
    told = [action for action in actions if action]
    return told or ([] if stay.kind in _SILENT else ["is there"])


def _stay(span: Presence, facts: tuple[Fact, ...], *, start_s: float, end_s: float) -> Stay:
    own = [fact for fact in facts if fact.subject == span.subject and fact.action != "is there"]
    turns = [fact for fact in own if fact.action != "stops"]

    def done(edge_s: float) -> str:
        near = (f.action for f in turns if f.start_s - _EDGE_S <= edge_s <= f.end_s + _EDGE_S)
        return next(near, "") if start_s < edge_s < end_s else ""

    return Stay(
        subject=span.subject,
        kind=span.kind,
        colour=span.colour,
        start_s=round(max(span.start_s, start_s) - start_s, 2),
        end_s=round(min(span.end_s, end_s) - start_s, 2),
        comes=done(span.start_s),
        stops_s=tuple(
            round(fact.start_s - start_s, 2)
            for fact in own
            if fact.action == "stops" and span.start_s <= fact.start_s <= span.end_s
        ),
        goes=done(span.end_s),
    )
