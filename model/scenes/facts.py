"""Facts: the timeline of a script, and the spans in which each thing is there."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.scenes.script import Life, Script, Track

IN_VIEW = 0.5  # an object is in view with this share of it in the picture
_STEP_S = 0.05


@dataclass(frozen=True, slots=True)
class Fact:
    """A line of the timeline: what somebody or something does, and when."""

    subject: str  # "person in red", "brown parcel", "gate", "lights", "smoke", "fire"
    kind: str
    colour: str  # "" where none
    action: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Presence:
    """A span in which something is there: an object in view, the gate open, smoke."""

    subject: str
    kind: str
    colour: str
    start_s: float
    end_s: float


def subject(kind: str, colour: str) -> str:
    """How the timeline names an object."""
    return f"person in {colour}" if kind == "person" else f"{colour} {kind}"


def timeline(script: Script) -> tuple[Fact, ...]:
    """All that happens, in time order."""
    found = [fact for life in script.lives for fact in _of_life(life, script.duration_s)]
    for name, track, rise, fall in (
        ("gate", script.gate, "opens", "closes"),
        ("lights", script.lights, "go on", "go off"),
        ("smoke", script.smoke, "starts", "ends"),
        ("fire", script.fire, "starts", "ends"),
    ):
        for start, end, up in _ramps(track):
            if 0.0 <= start < script.duration_s:
                found.append(Fact(name, name, "", rise if up else fall, start, end))
        if name in ("smoke", "fire") and track.at(0.0) > 0.5:
            found.append(Fact(name, name, "", "is there", 0.0, 0.0))
    return tuple(sorted(found, key=lambda fact: (fact.start_s, fact.subject, fact.action)))


def _of_life(life: Life, duration_s: float) -> Iterator[Fact]:
    name = subject(life.kind, life.colour)

    def fact(action: str, start_s: float, end_s: float) -> Fact:
        return Fact(name, life.kind, life.colour, action, start_s, min(end_s, duration_s))

    if life.visible(0.0) >= IN_VIEW:
        yield fact("is there", 0.0, 0.0)
    if life.kind == "parcel":
        if 0.0 < life.from_s < duration_s:
            yield fact("is put down", life.from_s, life.from_s)
        if 0.0 < life.to_s < duration_s:
            yield fact("is taken", life.to_s, life.to_s)
        return
    times, values = life.x.times_s, life.x.values
    width = life.box(0.0)[2] - life.box(0.0)[0]
    edge_s = width / max(_first_speed(life), 1e-6)
    if 0.0 <= life.from_s < duration_s:
        side = "left" if values[0] < 0 else "right"
        yield fact(f"enters from the {side}", times[0], times[0] + edge_s)
    for when in life.stops_at_s:
        if 0.0 <= when < duration_s:
            yield fact("stops", when, when)
    gone_s = times[-1] - edge_s
    if gone_s < duration_s and life.to_s < duration_s + edge_s:
        side = "left" if values[-1] < 0 else "right"
        yield fact(f"leaves to the {side}", max(0.0, gone_s), times[-1])


def _first_speed(life: Life) -> float:
    times, values = life.x.times_s, life.x.values
    runs = zip(times, times[1:], values, values[1:], strict=False)
    return max((abs(x1 - x0) / (t1 - t0) for t0, t1, x0, x1 in runs if t1 > t0), default=1.0)


def _ramps(track: Track) -> Iterator[tuple[float, float, bool]]:
    runs = zip(track.times_s, track.times_s[1:], track.values, track.values[1:], strict=False)
    for start, end, low, high in runs:
        if low != high:
            yield start, end, high > low


def presence(script: Script) -> list[Presence]:
    """The spans in which objects are in view and fixtures are on, within the scene."""
    times = np.arange(0.0, script.duration_s + _STEP_S, _STEP_S)
    found = []
    for life in script.lives:
        held = life.visible_at(times) >= IN_VIEW
        name = subject(life.kind, life.colour)
        found += [Presence(name, life.kind, life.colour, *span) for span in _spans(times, held)]
    for name, track in (
        ("gate", script.gate),
        ("lights", script.lights),
        ("smoke", script.smoke),
        ("fire", script.fire),
    ):
        level = np.interp(times, track.times_s, track.values)
        found += [Presence(name, name, "", *span) for span in _spans(times, level > IN_VIEW)]
    return sorted(found, key=lambda span: (span.start_s, span.subject))


def _spans(
    times: npt.NDArray[np.float64], held: npt.NDArray[np.bool_]
) -> Iterator[tuple[float, float]]:
    padded = np.concatenate(([False], held, [False])).astype(np.int8)
    edges = np.diff(padded)
    for begin, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        yield float(times[begin]), float(times[end - 1])
