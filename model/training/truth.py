"""What a clip truly shows: each token, each picture, what was done just now, and all so far.

Rendered scenes know it exactly, so training need not wait for answers to tell: see `teaching`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from model.scenes import COLOURS, KINDS, Scene
from model.scenes.facts import IN_VIEW
from model.scenes.script import Life
from model.scenes.witness import HARDLY
from model.types import PrunedFrame

NAMES = {"kind": 10, "colour": 11, "part": 2, "row": 6, "col": 11}
"""What a token is asked to name, and how many names there are."""
UNSURE = -1
MOVERS, FIXTURES = KINDS[:4], ("gate", "lights", "smoke", "fire")
MOST = {"person": 4, "car": 2}
SIDES = ("left", "right")
TENS, UNITS = 7, 10
_STILL_UNITS_S = 2.0
_OUTFITS = tuple(product(KINDS, COLOURS))


def _picture_flags() -> Iterator[str]:
    yield from (f"{number} {kind}" for kind, most in MOST.items() for number in range(most + 1))
    yield from KINDS
    yield from (f"{colour} {kind}" for kind, colour in _OUTFITS)
    yield from FIXTURES


def _deeds(kind: str) -> tuple[str, ...]:
    """What an object of a kind can be seen to do, as `Witness.done` says it."""
    if kind == "parcel":
        return "is put down", "is taken", "is there"
    ways = (f"{verb} {side}" for verb in ("enters from the", "leaves to the") for side in SIDES)
    return *ways, "stops", "is there"


def _past_flags() -> Iterator[str]:
    yield from PICTURE_FLAGS
    yield from (f"{kind} {deed}" for kind in KINDS for deed in _deeds(kind))
    yield from (f"{colour} {kind} {deed}" for kind, colour in _OUTFITS for deed in _deeds(kind))
    yield from (f"{name} {turn}" for name in FIXTURES for turn in ("goes on", "goes off"))
    yield from (f"now {digit}" for digit in _digits())
    yield from (f"{name} {end} {digit}" for name in SPANS for end in _ENDS for digit in _digits())


def _digits() -> Iterator[str]:
    yield from (f"{number}0" for number in range(TENS))
    yield from (f"{number}" for number in range(UNITS))


def _recent_flags() -> Iterator[str]:
    yield from (f"{kind} {manner}" for kind in MOVERS for manner in MANNERS)
    yield from (flag for flag in PAST_FLAGS if any(deed in flag for deed in DEEDS))


_ENDS = ("from", "to")
MANNERS = ("heads left", "heads right", "stands")
DEEDS = ("enters", "leaves", "stops", "is put", "is taken", "goes on", "goes off")
RECENT_S = 2
SPANS = (*KINDS, *(f"{kind} still" for kind in MOVERS), *FIXTURES)
"""Of what the first and the last moment are asked for, where there is one of it."""
PICTURE_FLAGS = tuple(_picture_flags())
"""What can be true of a picture."""
PAST_FLAGS = tuple(_past_flags())
"""What can be true at a moment of all that was seen up to it, the picture itself included."""
RECENT_FLAGS = tuple(_recent_flags())
"""What can be true of the last `RECENT_S` seconds: seen in two pictures, whatever was before."""
_PLACES = {flag: place for place, flag in enumerate(PAST_FLAGS)}
_RECENT_PLACES = {flag: place for place, flag in enumerate(RECENT_FLAGS)}


@dataclass(frozen=True, slots=True)
class Truth:
    """The truth of a clip's frames.

    Attributes:
        names: for each of `NAMES`, (num_kept,) int64, of the kept tokens of all frames.
        pictures: (frames, PICTURE_FLAGS) int8: 1, 0, or UNSURE where it is in between.
        recents: (frames, RECENT_FLAGS) int8, likewise.
        pasts: (frames, PAST_FLAGS) int8, likewise.
    """

    names: dict[str, NDArray[np.int64]]
    pictures: NDArray[np.int8]
    recents: NDArray[np.int8]
    pasts: NDArray[np.int8]


def truth_of(scene: Scene, frames: Sequence[PrunedFrame]) -> Truth:
    """Look up the truth of a context that begins with the first of these frames.

    Args:
        scene: what they show.
        frames: a second or whole seconds apart, times in the scene's own.
    """
    times_s = np.array([frame.pts_s for frame in frames])
    pictures = np.stack([_picture(scene, time_s) for time_s in times_s])
    return Truth(_names(scene, frames), pictures, *_deeds_and_pasts(scene, times_s, pictures))


def _names(scene: Scene, frames: Sequence[PrunedFrame]) -> dict[str, NDArray[np.int64]]:
    columns: dict[str, list[NDArray[np.int64]]] = {name: [] for name in NAMES}
    for frame in frames:
        kept = np.flatnonzero(frame.keep_mask)
        shown = scene.token_labels(frame.pts_s)
        for name in ("kind", "colour", "part"):
            columns[name].append(getattr(shown, name).reshape(-1)[kept].astype(np.int64))
        columns["row"].append(kept // frame.grid.cols)
        columns["col"].append(kept % frame.grid.cols)
    return {name: np.concatenate(values) for name, values in columns.items()}


def _picture(scene: Scene, time_s: float) -> NDArray[np.int8]:
    flags = np.zeros(len(PICTURE_FLAGS), dtype=np.int8)
    seen = [one for one in scene.seen(time_s) if one.visible >= HARDLY]
    for kind in KINDS:
        mine = [one for one in seen if one.kind == kind]
        is_sure = all(one.visible >= IN_VIEW for one in mine)
        flags[_PLACES[kind]] = (1 if mine else 0) if is_sure else UNSURE
        for number in range(MOST.get(kind, -1) + 1):
            is_it = min(len(mine), MOST[kind]) == number
            flags[_PLACES[f"{number} {kind}"]] = is_it if is_sure else UNSURE
        for one in mine:
            is_plain = one.visible >= IN_VIEW
            flags[_PLACES[f"{one.colour} {kind}"]] = 1 if is_plain else UNSURE
    state = scene.state(time_s)
    for name, level in (
        ("gate", state.gate_open), ("lights", float(state.lights_on)),
        ("smoke", state.smoke), ("fire", state.fire),
    ):  # fmt: skip
        flags[_PLACES[name]] = 1 if level > 0.6 else 0 if level < 0.05 else UNSURE
    return flags


def _deeds_and_pasts(
    scene: Scene, times_s: NDArray[np.float64], pictures: NDArray[np.int8]
) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    seconds = np.arange(times_s[0], times_s[-1] + 1e-6, 1.0)
    shown = np.rint(times_s - times_s[0]).astype(np.int64)
    recents = np.zeros((len(seconds), len(RECENT_FLAGS)), dtype=np.int8)
    flags = np.zeros((len(seconds), len(PAST_FLAGS)), dtype=np.int8)
    flags[shown, : len(PICTURE_FLAGS)] = pictures
    held: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in SPANS}
    for life in scene.script.lives:
        seen = life.visible_at(seconds) >= IN_VIEW
        if not seen.any():
            continue
        held[life.kind].append(seen)
        for deed, is_done in _done(life, seen, seconds).items():
            for who in (life.kind, f"{life.colour} {life.kind}"):
                _tell(f"{who} {deed}", is_done, flags=flags, recents=recents)
        if life.kind in MOVERS:
            speeds = np.array([[life.speed(t_s + ago) for t_s in seconds] for ago in (-0.3, 0.3)])
            held[f"{life.kind} still"].append(seen & (np.abs(speeds).max(0) < _STILL_UNITS_S))
            for manner, is_so in zip(MANNERS, _manners(speeds), strict=True):
                recents[:, _RECENT_PLACES[f"{life.kind} {manner}"]] |= seen & is_so
    for name in FIXTURES:
        track = getattr(scene.script, name)
        on = np.interp(seconds, track.times_s, track.values) > IN_VIEW
        held[name].append(on)
        for turn, is_done in _turns(on):
            _tell(f"{name} {turn}", is_done, flags=flags, recents=recents)
    _write(flags, "now", np.arange(len(seconds)))
    for name in SPANS:
        _span(flags, name, held[name])
    return recents[shown], flags[shown]


def _tell(
    flag: str, is_done: NDArray[np.bool_], *, flags: NDArray[np.int8], recents: NDArray[np.int8]
) -> None:
    """Write what is done from some moment on, and among the recent while it is."""
    flags[:, _PLACES[flag]] |= is_done
    if flag in _RECENT_PLACES:
        before = np.zeros_like(is_done)
        before[RECENT_S:] = is_done[:-RECENT_S]
        recents[:, _RECENT_PLACES[flag]] |= is_done & ~before


def _done(
    life: Life, seen: NDArray[np.bool_], seconds: NDArray[np.float64]
) -> dict[str, NDArray[np.bool_]]:
    """Give since when an object is seen to have done what: see `Witness.done`."""
    ever = np.logical_or.accumulate(seen)
    came, went = ever & ~seen[0], ever & ~seen
    if life.kind == "parcel":
        deeds = {"is put down": came, "is taken": went}
    else:
        of, to = ("left" if x < 0 else "right" for x in (life.x.values[0], life.x.values[-1]))
        deeds = {f"enters from the {of}": came, f"leaves to the {to}": went}
        stops = np.zeros_like(seen)
        for when_s in life.stops_at_s:
            stops |= (seconds[0] + 1.0 <= when_s) & (when_s <= seconds - 1.0)
        deeds["stops"] = stops & ever
    return deeds | {"is there": ever & ~np.logical_or.reduce(list(deeds.values()))}


def _turns(on: NDArray[np.bool_]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Give, for every time that something goes on or off, since when it has."""
    steps = np.arange(len(on))
    for turn, is_on in (("goes on", on), ("goes off", ~on)):
        for when in np.flatnonzero(is_on[1:] & ~is_on[:-1]) + 1:
            yield turn, steps >= when


def _manners(speeds: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell from the speeds a little before and after, (2, n), each of `MANNERS`: (3, n)."""
    fast = _STILL_UNITS_S
    is_so = np.stack([speeds < -fast, speeds > fast, np.abs(speeds) < fast])
    manners: NDArray[np.bool_] = np.logical_and.reduce(is_so, axis=1)
    return manners


def _span(flags: NDArray[np.int8], name: str, held: Sequence[NDArray[np.bool_]]) -> None:
    """Write when the one of its kind was there first and last; UNSURE unless there is one run."""
    num_seconds = len(flags)
    start = np.full(num_seconds, UNSURE)
    end = np.full(num_seconds, UNSURE)
    if held:
        steps = np.arange(num_seconds)
        ever = np.stack([np.logical_or.accumulate(one) for one in held])
        is_one = ever.sum(axis=0) == 1
        for one, was in zip(held, ever, strict=True):
            first = int(one.argmax())
            last = np.maximum.accumulate(np.where(one, steps, -1))
            is_run = np.cumsum(one) == last - first + 1
            known = is_one & was & is_run
            start[known], end[known] = first, last[known]
    for which, values in zip(_ENDS, (start, end), strict=True):
        _write(flags, f"{name} {which}", values)


def _write(flags: NDArray[np.int8], name: str, seconds: NDArray[np.int64]) -> None:
    """Write numbers of seconds digit by digit, (frames,); UNSURE where they are."""
    begin = _PLACES[f"{name} 00"]
    digits = np.concatenate(
        [
            np.minimum(seconds[:, None] // 10, TENS - 1) == np.arange(TENS),
            seconds[:, None] % 10 == np.arange(UNITS),
        ],
        axis=1,
    )
    flags[:, begin : begin + TENS + UNITS] = np.where(seconds[:, None] < 0, UNSURE, digits)
