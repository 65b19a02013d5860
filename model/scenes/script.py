"""Script: who is where and when in one scene, and what the gate, the lights and the fire do."""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from model.scenes.actors import SIZE_UNITS
from model.scenes.backdrops import Box, Layout
from model.scenes.canvas import WIDTH_UNITS


@dataclass(frozen=True, slots=True)
class Track:
    """A quantity over time: linear between its keys, constant outside them."""

    times_s: tuple[float, ...]
    values: tuple[float, ...]

    def at(self, t_s: float) -> float:
        """The value at ``t_s``."""
        after = bisect_right(self.times_s, t_s)  # far cheaper than np.interp for one moment
        if after in (0, len(self.times_s)):
            return self.values[-1 if after else 0]
        begin, end = self.times_s[after - 1], self.times_s[after]
        low, high = self.values[after - 1], self.values[after]
        return low + (high - low) * (t_s - begin) / (end - begin)

    def slope(self, t_s: float) -> float:
        """The value's change per second just after ``t_s``."""
        return (self.at(t_s + 0.01) - self.at(t_s - 0.01)) / 0.02


@dataclass(frozen=True, slots=True)
class Life:
    """One object from its coming to its going."""

    subject_id: int
    kind: str
    colour: str
    foot_y: float
    size: float  # perspective: 0.85 far to 1.15 near
    x: Track  # its middle, units
    from_s: float  # in the scene from here (a parcel is put down)
    to_s: float  # and to here (a parcel is taken)
    faces_left: bool  # while it stands still
    stops_at_s: tuple[float, ...] = ()  # where a stay worth telling begins
    putter: int = -1  # the subject that puts it down, -1 nobody
    taker: int = -1

    def box(self, t_s: float) -> Box:
        """Where it is at ``t_s``, units, not clipped."""
        width, height = SIZE_UNITS[self.kind]
        x = self.x.at(t_s)
        half = width * self.size / 2
        return x - half, self.foot_y - height * self.size, x + half, self.foot_y

    def alive(self, t_s: float) -> bool:
        """Whether it is part of the scene at ``t_s``, in the picture or beside it."""
        return self.from_s <= t_s < self.to_s

    def visible(self, t_s: float) -> float:
        """The share of it inside the picture, 0 to 1."""
        if not self.alive(t_s):
            return 0.0
        x0, _, x1, _ = self.box(t_s)
        inside = min(x1, float(WIDTH_UNITS)) - max(x0, 0.0)
        return max(0.0, inside / (x1 - x0))

    def visible_at(self, times_s: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """``visible`` at many moments, (frames,)."""
        half = SIZE_UNITS[self.kind][0] * self.size / 2
        x = np.interp(times_s, self.x.times_s, self.x.values)
        inside = np.minimum(x + half, WIDTH_UNITS) - np.maximum(x - half, 0.0)
        alive = (times_s >= self.from_s) & (times_s < self.to_s)
        share: npt.NDArray[np.float64] = np.clip(inside / (2 * half), 0.0, 1.0) * alive
        return share

    def speed(self, t_s: float) -> float:
        """Units per second to the right at ``t_s``."""
        return self.x.slope(t_s)


@dataclass(frozen=True, slots=True)
class Script:
    """Everything that happens in one scene."""

    duration_s: float
    lives: tuple[Life, ...]
    gate: Track  # 0 closed to 1 open
    lights: Track  # 0 off to 1 on
    smoke: Track  # 0 to 1
    fire: Track


NEVER_S: Final = 1e9


def hidden(behind: Box, front: Box) -> float:
    """The share of ``behind`` that ``front`` covers."""
    across = min(behind[2], front[2]) - max(behind[0], front[0])
    down = min(behind[3], front[3]) - max(behind[1], front[1])
    if across <= 0 or down <= 0:
        return 0.0
    return across * down / ((behind[2] - behind[0]) * (behind[3] - behind[1]))


def hidden_share(life: Life, others: tuple[Life, ...] | list[Life], t_s: float) -> float:
    """The share of ``life`` that nearer objects cover at ``t_s``, by their boxes."""
    box = life.box(t_s)
    return sum(
        hidden(box, other.box(t_s))
        for other in others
        if other.subject_id != life.subject_id
        and other.alive(t_s)
        and (other.foot_y, other.subject_id) > (life.foot_y, life.subject_id)
    )


def obstacles(layout: Layout, *, hazard: bool) -> list[Box]:
    """What nobody may stand in front of: where smoke and fire are, and most of the gate."""
    x0, y0, x1, y1 = layout.gate
    boxes = [(x0 + 6, y0, x1 - 6, y1)]
    if hazard:
        x, y = layout.hazard
        boxes.append((x - 15, y - 40, x + 15, y))
    return boxes
