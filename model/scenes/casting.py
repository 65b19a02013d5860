"""Casting: draws a script from a seed, so that nobody hides anybody for long."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np

from model.scenes.actors import SIZE_UNITS
from model.scenes.backdrops import Layout
from model.scenes.canvas import WIDTH_UNITS
from model.scenes.palette import WORN
from model.scenes.script import NEVER_S, Life, Script, Track, hidden, obstacles

_SPEEDS: Final[dict[str, tuple[float, float]]] = {  # units/s
    "person": (26.0, 46.0),
    "car": (42.0, 70.0),
    "bicycle": (34.0, 64.0),
    "dog": (34.0, 60.0),
}
_LANES: Final[dict[str, tuple[tuple[float, float], ...]]] = {  # foot y, in units
    "person": ((112.0, 118.0), (134.0, 140.0), (157.0, 163.0)),
    "car": ((126.0, 134.0), (148.0, 156.0)),
    "bicycle": ((122.0, 130.0), (146.0, 156.0)),
    "dog": ((118.0, 126.0), (142.0, 148.0), (160.0, 164.0)),
    "parcel": ((116.0, 124.0), (138.0, 146.0), (158.0, 164.0)),
}
_AT_ONCE: Final = {"person": 4, "car": 2, "bicycle": 1, "dog": 1, "parcel": 1}
_PUT_S: Final = 2.2  # how long somebody stands to put a parcel down
_EPISODE_S: Final = (26.0, 40.0)
_QUIET_S: Final = (10.0, 40.0)
_TRIES: Final = 24
_BUSY_PEOPLE: Final = 5
_BUSY_CARS: Final = 3
_CROWD: Final = 0.9  # from this chance to stay on, people come early and stay long


@dataclass(slots=True)
class _Stage:
    """The lives cast so far; reset() of a scene is a new one."""

    layout: Layout
    rng: np.random.Generator
    hazard: bool
    is_busy: bool = False
    lives: list[Life] = field(default_factory=list)
    next_id: int = 0

    def colour(self, kind: str, since_s: float) -> str | None:
        """A colour that no object of this kind has worn lately: captions tell them apart by it."""
        taken = {life.colour for life in self.lives if life.kind == kind and life.to_s > since_s}
        free = [colour for colour in WORN[kind] if colour not in taken]
        return str(self.rng.choice(free)) if free else None

    def id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    def fits(self, new: Life) -> bool:
        """Whether ``new`` hides nobody, and nobody hides it, for long."""
        begin = max(new.from_s, min(new.x.times_s))
        end = min(new.to_s, max(new.x.times_s) + 40.0)
        others = [life for life in self.lives if life.to_s > begin and life.from_s < end]
        walls = obstacles(self.layout, hazard=self.hazard)
        covered = {life.subject_id: 0 for life in [*others, new]}
        for t_s in np.arange(begin, end, 0.5):
            box, still = new.box(t_s), abs(new.speed(t_s)) < 1.0
            if still and new.kind != "parcel" and any(hidden(wall, box) > 0.45 for wall in walls):
                return False
            for other in others:
                if not other.alive(t_s):
                    continue
                there = other.box(t_s)
                share = max(hidden(there, box), hidden(box, there))
                if share > 0.15 and still and abs(other.speed(t_s)) < 1.0:
                    return False
                if share > 0.30:
                    nearer = new.foot_y > other.foot_y
                    covered[other.subject_id if nearer else new.subject_id] += 1
            alike = sum(o.kind == new.kind and o.visible(t_s) > 0.0 for o in others)
            if new.visible(t_s) > 0.0 and alike >= _AT_ONCE[new.kind]:
                return False
        return max(covered.values()) <= 3


@dataclass(frozen=True, slots=True)
class _Window:
    """The part of the scene an object is cast into, and whether it may be there all along."""

    begin_s: float
    end_s: float
    opens: bool  # nobody has to be seen coming
    closes: bool  # nobody has to be seen going


def cast(layout: Layout, seed: int, *, duration_s: float, is_busy: bool = False) -> Script:
    """The script of one scene: the same for the same layout, seed and duration.

    A busy one has as many people and vehicles in each of its episodes as there is room for.
    """
    rng = np.random.default_rng([seed, 2])
    smoke, fire = rng.random() < 0.36, rng.random() < 0.5
    if rng.random() < 0.52:
        fire = smoke
    elif not smoke:
        fire = rng.random() < 0.52
    else:
        fire = False
    stage = _Stage(layout=layout, rng=rng, hazard=smoke or fire or duration_s > 60.0)
    stage.is_busy = is_busy
    windows = _windows(rng, duration_s)
    for window in windows:
        _people(stage, window)
        _others(stage, window)
    return Script(
        duration_s=duration_s,
        lives=tuple(stage.lives),
        gate=_switching(rng, windows, duration_s, ramp_s=(1.0, 2.0), share=0.5, moves=0.45),
        lights=_switching(rng, windows, duration_s, ramp_s=(0.3, 0.6), share=0.82, moves=0.28),
        smoke=_hazard(rng, windows, wanted=smoke, ramp_s=2.0),
        fire=_hazard(rng, windows, wanted=fire, ramp_s=1.2),
    )


def _windows(rng: np.random.Generator, duration_s: float) -> list[_Window]:
    if duration_s <= 60.0:
        return [_Window(0.0, duration_s, opens=True, closes=True)]
    windows, begin = [], 0.0
    while begin < duration_s - 20.0:
        end = min(duration_s, begin + float(rng.uniform(*_EPISODE_S)))
        windows.append(_Window(begin, end, opens=begin == 0.0, closes=False))
        begin = end + float(rng.uniform(*_QUIET_S))
    return windows


def _people(stage: _Stage, window: _Window) -> None:
    rng = stage.rng
    num = int(rng.choice(5, p=(0.31, 0.25, 0.11, 0.13, 0.20)))
    num = _BUSY_PEOPLE if stage.is_busy else num
    stays = 0.95 if num >= 3 else 0.35
    for _ in range(num):
        _try(stage, lambda: _walker(stage, window, "person", stays=stays))


def _others(stage: _Stage, window: _Window) -> None:
    rng = stage.rng
    outdoors = stage.layout.place in ("yard", "street")
    cars = int(rng.choice(3, p=(0.22, 0.46, 0.32))) if outdoors else 0
    cars = _BUSY_CARS if stage.is_busy and outdoors else cars
    for _ in range(cars):
        _try(stage, lambda: _walker(stage, window, "car", stays=0.5))
    if rng.random() < 0.8:
        odds = (0.5, 0.3, 0.2) if outdoors else (0.0, 0.55, 0.45)
        kind = str(rng.choice(["bicycle", "dog", "parcel"], p=odds))
        if kind == "parcel":
            _try_parcel(stage, window)
        else:
            _try(stage, lambda: _walker(stage, window, kind, stays=0.4))
    if stage.is_busy:
        for other in ("bicycle", "dog"):
            _try(stage, partial(_walker, stage, window, other, stays=0.4))


def _try(stage: _Stage, propose: Callable[[], Life | None]) -> Life | None:
    for _ in range(_TRIES):
        life = propose()
        if life is not None and stage.fits(life):
            stage.lives.append(life)
            return life
    return None


def _depth(foot_y: float) -> float:
    return 0.85 + 0.30 * (foot_y - 110.0) / 54.0


def _walker(stage: _Stage, window: _Window, kind: str, *, stays: float) -> Life | None:
    """One object that comes, crosses, stops, goes, or does only some of it."""
    rng = stage.rng
    colour = stage.colour(kind, window.begin_s - 30.0)
    if colour is None:
        return None
    lanes = _LANES[kind]
    foot = float(rng.uniform(*lanes[int(rng.integers(len(lanes)))]))
    size = _depth(foot)
    half = SIZE_UNITS[kind][0] * size / 2
    speed = float(rng.uniform(*_SPEEDS[kind]))
    side = 1 if rng.random() < 0.5 else -1  # +1 comes from the left
    outside = {1: -half - 1.0, -1: WIDTH_UNITS + half + 1.0}
    span = window.end_s - window.begin_s
    comes, stops, goes = _manner(rng, window, stays)
    place = float(rng.uniform(half + 14.0, WIDTH_UNITS - half - 14.0))
    times: list[float] = []
    values: list[float] = []
    stopped: tuple[float, ...] = ()
    now = window.begin_s + float(rng.uniform(-2.0, 0.72)) * span * 0.9
    if comes:
        now = window.begin_s + float(rng.uniform(0.02, 0.75)) * span
        times.append(now)
        values.append(outside[side])
        if stops:
            now += abs(place - outside[side]) / speed
            stopped = (now,)
    else:
        now = window.begin_s - 1.0
    if stops or not comes:
        times.append(now)
        values.append(place)
    leaves = side if rng.random() < 0.6 else -side
    if not stops:
        leaves = side
    if goes:
        if comes and stops:
            now += float(rng.uniform(4.0, 15.0))
        elif not comes:
            now += 1.0 + float(rng.uniform(2.0, 0.8 * span))
        if stops or not comes:
            times.append(now)
            values.append(place)
        target = outside[-leaves]
        now += abs(target - values[-1]) / speed
        times.append(now)
        values.append(target)
    return Life(
        subject_id=stage.id(),
        kind=kind,
        colour=colour,
        foot_y=foot,
        size=size,
        x=Track(tuple(times), tuple(values)),
        from_s=times[0] if comes else -NEVER_S,
        to_s=times[-1] if goes else NEVER_S,
        faces_left=side < 0,
        stops_at_s=stopped,
    )


def _manner(rng: np.random.Generator, window: _Window, stays: float) -> tuple[bool, bool, bool]:
    """Whether an object comes, stops and goes."""
    if rng.random() > stays:
        return True, bool(rng.random() < 0.35), True
    crowd = stays > _CROWD
    comes = not window.opens or rng.random() < (0.35 if crowd else 0.45)
    goes = not window.closes or rng.random() < (0.25 if crowd else 0.35)
    return comes, True, goes


def _try_parcel(stage: _Stage, window: _Window) -> None:
    """A parcel that lies there, is put down, is taken, or both."""
    rng = stage.rng
    put = not window.opens or rng.random() < 0.6
    taken = not window.closes or rng.random() < (0.3 if put else 0.5)
    for _ in range(_TRIES):
        before = list(stage.lives)
        parcel = _parcel(stage, window, put=put, taken=taken)
        if parcel is not None:
            return
        stage.lives = before


def _parcel(stage: _Stage, window: _Window, *, put: bool, taken: bool) -> Life | None:
    rng = stage.rng
    span = window.end_s - window.begin_s
    colour = stage.colour("parcel", window.begin_s - 30.0)
    if colour is None:
        return None
    lanes = _LANES["parcel"]
    foot = float(rng.uniform(*lanes[int(rng.integers(len(lanes)))]))
    x = float(rng.uniform(40.0, WIDTH_UNITS - 40.0))
    from_s, to_s, putter, taker = -NEVER_S, NEVER_S, -1, -1
    if put:
        from_s = window.begin_s + float(rng.uniform(0.15, 0.55)) * span
        carrier = _try(stage, lambda: _visitor(stage, foot, x, from_s))
        if carrier is None:
            return None
        putter = carrier.subject_id
    if taken:
        low = max(from_s + 9.0, window.begin_s + 0.2 * span)
        to_s = float(rng.uniform(low, max(low + 3.0, window.begin_s + 0.9 * span)))
        carrier = _try(stage, lambda: _visitor(stage, foot, x, to_s))
        if carrier is None:
            return None
        taker = carrier.subject_id
    life = Life(
        subject_id=stage.id(), kind="parcel", colour=colour, foot_y=foot, size=_depth(foot),
        x=Track((0.0,), (x,)), from_s=from_s, to_s=to_s, faces_left=False,
        putter=putter, taker=taker,
    )  # fmt: skip
    others = [other for other in stage.lives if other.subject_id not in (putter, taker)]
    alone = _Stage(layout=stage.layout, rng=rng, hazard=stage.hazard, lives=others)
    if not alone.fits(life):
        return None
    stage.lives.append(life)
    return life


def _visitor(stage: _Stage, foot: float, x: float, event_s: float) -> Life | None:
    """Somebody who walks up to ``x``, is there at ``event_s`` for a moment, and goes."""
    rng = stage.rng
    colour = stage.colour("person", event_s - 60.0)
    if colour is None:
        return None
    behind = float(np.clip(foot - rng.uniform(2.0, 4.0), 112.0, 163.0))
    size = _depth(behind)
    half = SIZE_UNITS["person"][0] * size / 2
    speed = float(rng.uniform(*_SPEEDS["person"]))
    side = 1 if rng.random() < 0.5 else -1
    outside = {1: -half - 1.0, -1: WIDTH_UNITS + half + 1.0}
    stand = x - side * 23.0 * size
    arrives, departs = event_s - _PUT_S / 2, event_s + _PUT_S / 2
    begin = arrives - abs(stand - outside[side]) / speed
    leaves = side if rng.random() < 0.4 else -side
    end = departs + abs(outside[-leaves] - stand) / speed
    return Life(
        subject_id=stage.id(), kind="person", colour=colour, foot_y=behind, size=size,
        x=Track((begin, arrives, departs, end), (outside[side], stand, stand, outside[-leaves])),
        from_s=begin, to_s=end, faces_left=side < 0,
    )  # fmt: skip


def _switching(
    rng: np.random.Generator,
    windows: list[_Window],
    duration_s: float,
    *,
    ramp_s: tuple[float, float],
    share: float,
    moves: float,
) -> Track:
    """A gate or the lights: ``share`` of scenes begin with 1, ``moves`` of windows change it."""
    value = float(rng.random() < share)
    times, values = [0.0], [value]
    for window in windows:
        if rng.random() > moves:
            continue
        now = window.begin_s + float(rng.uniform(0.1, 0.7)) * (window.end_s - window.begin_s)
        for _ in range(1 + int(rng.random() < 0.5)):
            if now > min(window.end_s, duration_s) - 3.0:
                break
            ramp = float(rng.uniform(*ramp_s))
            times += [now, now + ramp]
            values += [value, 1.0 - value]
            value = 1.0 - value
            now += ramp + float(rng.uniform(5.0, 14.0))
    return Track(tuple(times), tuple(values))


def _hazard(
    rng: np.random.Generator, windows: list[_Window], *, wanted: bool, ramp_s: float
) -> Track:
    """Smoke or fire: absent, from some time on, or for a while."""
    times, values = [-10.0], [0.0]
    long = len(windows) > 1
    for window in windows:
        span = window.end_s - window.begin_s
        if not (rng.random() < 0.36 if long else wanted):
            continue
        start = window.begin_s + float(rng.uniform(-0.30, 0.75)) * span
        start = max(start, window.begin_s + 1.0, times[-1] + 4.0) if long else start
        if start < window.begin_s:
            start = window.begin_s - 6.0
        times += [start, start + ramp_s]
        values += [0.0, 1.0]
        stop = max(start, window.begin_s) + float(rng.uniform(7.0, 22.0))
        if long or (stop < window.end_s - 2.0 and rng.random() < 0.6):
            times += [stop, stop + ramp_s]
            values += [1.0, 0.0]
    return Track(tuple(times), tuple(values))
