"""Witness: what frames at one per second tell of a scene, and what they leave open."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from model.scenes.facts import IN_VIEW, Fact
from model.scenes.scene import Scene, Seen, State
from model.scenes.script import Life

HARDLY: Final = 0.10  # an object with less of it in the picture is not there
COVERED: Final = 0.35  # an object hidden more than this may be missed
SETTLE_S: Final = 1.0  # an event younger than this is not asked about

Flags = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Witness:
    """A viewer of ``scene`` from ``start_s`` to ``t_s``, one frame a second."""

    scene: Scene
    start_s: float
    t_s: float
    asked: set[str] = field(default_factory=set)  # the questions it has answered already
    times_s: npt.NDArray[np.float64] = field(init=False)
    now: tuple[Seen, ...] = field(init=False)
    state: State = field(init=False)

    def __post_init__(self) -> None:
        self.times_s = np.arange(self.start_s, self.t_s + 1e-6, 1.0)
        self.now = self.scene.seen(self.t_s)
        self.state = self.scene.state(self.t_s)

    def in_view(self) -> tuple[Seen, ...]:
        """The objects in view now."""
        return tuple(seen for seen in self.now if seen.visible >= IN_VIEW)

    def sure_of(self, kind: str) -> bool:
        """Whether the objects of this kind now are plain: none half in, none half hidden."""
        return all(
            (seen.visible >= IN_VIEW and seen.hidden <= COVERED) or seen.visible < HARDLY
            for seen in self.now
            if seen.kind == kind
        ) and all(
            abs(fact.start_s - self.t_s) >= SETTLE_S
            for fact in self.scene.timeline
            if fact.kind == kind == "parcel" and fact.action in ("is put down", "is taken")
        )

    def lives(self, kind: str) -> list[Life]:
        """The objects of this kind, in view at any frame."""
        return [
            life
            for life in self.scene.script.lives
            if life.kind == kind and bool(self.frames_of(life).any())
        ]

    def frames_of(self, life: Life) -> Flags:
        """At which frames ``life`` is in view, (frames,)."""
        return life.visible_at(self.times_s) >= IN_VIEW

    def steady(self, name: str) -> bool | None:
        """Whether gate, lights, smoke or fire is on now; None while it changes or has just."""
        if any(
            fact.kind == name and fact.start_s - 0.1 <= self.t_s < fact.end_s + SETTLE_S
            for fact in self.scene.timeline
            if fact.action != "is there"
        ):
            return None
        level = getattr(self.scene.script, name).at(self.t_s)
        return bool(level > 0.5)

    def tells(self, fact: Fact) -> bool | None:
        """Whether ``fact`` is seen to happen; None where the frames leave it open."""
        if fact.end_s <= self.start_s or fact.start_s >= self.t_s:
            return False
        settled = fact.start_s >= self.start_s + SETTLE_S and fact.end_s <= self.t_s - SETTLE_S
        return True if settled else None

    def done(self, life: Life) -> list[str]:
        """What ``life`` is seen to do, canonical, in order of time; [] when never in view."""
        held = self.frames_of(life)
        if not held.any():
            return []
        found: list[str] = []
        if life.kind == "parcel":
            if not held[0]:
                found.append("is put down")
            if not held[-1]:
                found.append("is taken")
            return found or ["is there"]
        first, last = int(held.argmax()), len(held) - 1 - int(held[::-1].argmax())
        if first > 0:
            found.append(f"enters from the {_side(life.x.values[0])}")
        low, high = self.start_s + SETTLE_S, self.t_s - SETTLE_S
        if any(low <= when <= high for when in life.stops_at_s):
            found.append("stops")
        if last < len(held) - 1:
            found.append(f"leaves to the {_side(life.x.values[-1])}")
        return found or ["is there"]

    def switched(self, name: str) -> list[str]:
        """What gate, lights, smoke or fire are seen to do, in order; "is there" for burning on."""
        track = getattr(self.scene.script, name)
        levels = np.asarray([track.at(float(t_s)) for t_s in self.times_s]) > 0.5
        rise, fall = _SWITCHES[name]
        changes = np.flatnonzero(levels[1:] != levels[:-1]) + 1
        found = [rise if levels[k] else fall for k in changes]
        if name in ("smoke", "fire") and not found and levels[0]:
            found = ["is there"]
        return found

    def span(self, held: Flags) -> tuple[float, float] | None:
        """First and last frame of the one run in ``held``, seconds since the start, else None."""
        where = np.flatnonzero(held)
        if len(where) < 2 or where[-1] - where[0] + 1 != len(where):
            return None
        return float(where[0]), float(where[-1])


_SWITCHES: Final[dict[str, tuple[str, str]]] = {
    "gate": ("opens", "closes"),
    "lights": ("go on", "go off"),
    "smoke": ("starts", "ends"),
    "fire": ("starts", "ends"),
}


def _side(outside: float) -> str:
    return "left" if outside < 0 else "right"
