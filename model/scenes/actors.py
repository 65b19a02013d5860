"""Actors: how a person, car, bicycle, dog and parcel are drawn, facing right, feet at (0, 0)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from model.scenes.canvas import Canvas
from model.scenes.palette import Rgb, levels, lit, mixed

SIZE_UNITS: Final[dict[str, tuple[float, float]]] = {  # width, height at depth 1.0
    "person": (25.0, 56.0),
    "car": (74.0, 31.0),
    "bicycle": (45.0, 30.0),
    "dog": (33.0, 22.0),
    "parcel": (21.0, 19.0),
}
STRIDE_UNITS: Final[dict[str, float]] = {"person": 26.0, "dog": 20.0, "car": 30.0, "bicycle": 30.0}
PHASES: Final = 8  # drawings of one walking cycle

_MARGIN_UNITS: Final = 4.0
_SKINS: Final[tuple[Rgb, ...]] = (
    (236, 196, 168),
    (214, 164, 128),
    (166, 114, 80),
    (112, 76, 54),
)
_HAIRS: Final[tuple[Rgb, ...]] = ((44, 32, 26), (92, 62, 36), (24, 22, 24), (170, 130, 70))
_TROUSERS: Final[tuple[Rgb, ...]] = ((46, 52, 70), (62, 58, 56), (40, 44, 48), (74, 70, 84))


@dataclass(frozen=True, slots=True)
class Look:
    """What one object wears for its whole life."""

    kind: str
    main: Rgb
    skin: Rgb
    hair: Rgb
    trousers: Rgb

    @classmethod
    def drawn(cls, kind: str, colour: str, rng: np.random.Generator) -> "Look":
        """The look of one object of this kind and colour."""
        return cls(
            kind=kind,
            main=levels(colour, rng),
            skin=_SKINS[int(rng.integers(len(_SKINS)))],
            hair=_HAIRS[int(rng.integers(len(_HAIRS)))],
            trousers=_TROUSERS[int(rng.integers(len(_TROUSERS)))],
        )


@dataclass(frozen=True, slots=True)
class Pose:
    """How an object holds itself: all that tells one drawing of it from another."""

    size: float
    phase: int  # 0 to PHASES - 1 of the walking cycle
    moving: bool
    left: bool  # faces left


class Pen:
    """A canvas on which one unit is ``size`` scene units: the drawings below need not scale."""

    def __init__(self, kind: str, *, size: float, scale: int) -> None:
        width, height = SIZE_UNITS[kind]
        half, rise = (width / 2 + _MARGIN_UNITS) * size, (height + _MARGIN_UNITS) * size
        # whole pixels either side of the origin, so that a mirrored drawing keeps its place
        half = np.ceil(half * scale) / scale
        rise = np.ceil(rise * scale) / scale
        self.canvas = Canvas.blank(-half, -rise, half, _MARGIN_UNITS, scale=scale)
        self._size = size

    def box(
        self, x0: float, y0: float, x1: float, y1: float, colour: Rgb, *, corner: float = 0.0,
        alpha: float = 1.0, shade: float = 0.0,
    ) -> None:  # fmt: skip
        s = self._size
        self.canvas.box(
            x0 * s, y0 * s, x1 * s, y1 * s, colour, corner=corner * s, alpha=alpha, shade=shade
        )

    def ellipse(
        self, x: float, y: float, across: float, down: float, colour: Rgb, *, shade: float = 0.0
    ) -> None:
        s = self._size
        self.canvas.ellipse((x * s, y * s), (across * s, down * s), colour, shade=shade)

    def ring(self, x: float, y: float, radius: float, thickness: float, colour: Rgb) -> None:
        s = self._size
        self.canvas.ring((x * s, y * s), radius * s, thickness * s, colour)

    def line(
        self, points: tuple[float, float, float, float], thickness: float, colour: Rgb,
        *, alpha: float = 1.0,
    ) -> None:  # fmt: skip
        s = self._size
        x0, y0, x1, y1 = points
        self.canvas.line((x0 * s, y0 * s), (x1 * s, y1 * s), thickness * s, colour, alpha=alpha)

    def polygon(
        self, points: list[tuple[float, float]], colour: Rgb, *, alpha: float = 1.0,
        shade: float = 0.0,
    ) -> None:  # fmt: skip
        s = self._size
        self.canvas.polygon([(x * s, y * s) for x, y in points], colour, alpha=alpha, shade=shade)


def _person(pen: Pen, look: Look, swing: float, *, moving: bool) -> None:
    step = np.sin(2 * np.pi * swing) * (8.0 if moving else 0.0)
    lift = abs(np.cos(2 * np.pi * swing)) * (1.0 if moving else 0.0)
    far, near = lit(look.trousers, 0.72), look.trousers
    spread = 0.0 if moving else 3.2
    shoe: Rgb = (30, 28, 28)
    for foot, colour in ((-step - spread, far), (step + spread, near)):
        pen.line((foot * 0.15, -23, foot * 0.65, -12), 6.6, colour)
        pen.line((foot * 0.65, -12, foot, -2.5), 5.4, colour)
        pen.line((foot - 1.0, -1.6, foot + 2.8, -1.6), 3.2, shoe)
    top, sleeve = look.main, lit(look.main, 0.8)
    reach = step * 0.85
    pen.line((-1.0, -42 - lift, -reach - 3, -29 - lift), 5.0, lit(top, 0.66))
    pen.ellipse(-reach - 3, -27 - lift, 2.2, 2.2, lit(look.skin, 0.85))
    pen.box(-8.6, -46 - lift, 8.6, -20, top, corner=5.0, shade=0.13)
    pen.box(-8.6, -44 - lift, -4.6, -22, lit(top, 0.8), corner=2.0, alpha=0.55)
    pen.line((1.0, -41 - lift, reach + 2, -29 - lift), 5.2, sleeve)
    pen.ellipse(reach + 2, -26.6 - lift, 2.3, 2.3, look.skin)
    pen.line((0.6, -47 - lift, 0.6, -45 - lift), 4.6, lit(look.skin, 0.8))
    pen.ellipse(0.8, -50.6 - lift, 5.0, 5.4, look.skin, shade=0.1)
    pen.ellipse(-0.4, -52.8 - lift, 5.3, 3.9, look.hair)
    pen.ellipse(-2.8, -50.4 - lift, 2.8, 4.0, look.hair)


def _car(pen: Pen, look: Look, swing: float, *, moving: bool) -> None:
    body = look.main
    glass: Rgb = (58, 74, 88)
    pen.polygon([(-22, -19), (-14, -31), (11, -31), (22, -19)], lit(body, 0.94), shade=0.1)
    pen.polygon([(-18.6, -19.4), (-12.4, -28.6), (-2, -28.6), (-2, -19.4)], glass, shade=0.3)
    pen.polygon([(0.4, -19.4), (0.4, -28.6), (9.6, -28.6), (18, -19.4)], glass, shade=0.3)
    pen.box(-37, -20.5, 37, -5.5, body, corner=5.0, shade=0.18)
    pen.box(-37, -9.5, 37, -5.0, lit(body, 0.55), corner=2.0)
    pen.line((-33, -17.8, 33, -17.8), 0.9, mixed(body, (255, 255, 255), 0.45))
    pen.line((-0.8, -19, -0.8, -9.5), 0.8, lit(body, 0.6))
    pen.line((3, -15.2, 7, -15.2), 1.1, lit(body, 0.5))
    pen.box(32.5, -17.5, 37, -13, (255, 244, 206), corner=1.5)
    pen.box(-37, -17.5, -34, -13, (196, 40, 36), corner=1.2)
    for hub in (-22.5, 22.5):
        pen.ellipse(hub, -6.9, 8.2, 7.4, (22, 22, 26))
        pen.ellipse(hub, -6.6, 6.8, 6.6, (38, 38, 42))
        pen.ellipse(hub, -6.6, 3.7, 3.7, (172, 174, 178))
        turn = 2 * np.pi * swing if moving else 0.4
        pen.line(
            (hub - 3 * np.cos(turn), -6.6 - 3 * np.sin(turn),
             hub + 3 * np.cos(turn), -6.6 + 3 * np.sin(turn)), 1.2, (92, 94, 98),
        )  # fmt: skip


def _bicycle(pen: Pen, look: Look, swing: float, *, moving: bool) -> None:
    frame, tyre = look.main, (34, 34, 38)
    back, front, crank = (-13.0, -9.4), (13.0, -9.4), (-2.0, -9.0)
    for x, y in (back, front):
        pen.ring(x, y, 8.2, 2.4, tyre)
        for spoke in range(4):
            turn = np.pi * (spoke / 4 + 2 * swing * moving)
            dx, dy = 7 * np.cos(turn), 7 * np.sin(turn)
            pen.line((x - dx, y - dy, x + dx, y + dy), 0.5, (150, 152, 156), alpha=0.8)
    saddle, stem = (-6.0, -22.0), (9.0, -22.5)
    for start, end in (
        (back, crank), (back, saddle), (saddle, crank), (saddle, stem), (crank, stem),
        (stem, front),
    ):  # fmt: skip
        pen.line((*start, *end), 3.9, frame)
    pen.line((*stem, 8.4, -27.2), 2.4, lit(frame, 0.8))
    pen.line((7.4, -28.0, 13.0, -26.6), 2.0, tyre)
    pen.line((-10.4, -25.0, -2.8, -25.0), 3.0, tyre)
    pen.line((*saddle, -6.6, -25), 2.2, lit(frame, 0.8))
    pen.ellipse(*crank, 2.8, 2.8, (90, 92, 96))
    pen.box(-19.5, -22.0, -9.5, -18.6, lit(frame, 0.86), corner=1.2)


def _dog(pen: Pen, look: Look, swing: float, *, moving: bool) -> None:
    coat, far = look.main, lit(look.main, 0.7)
    step = np.sin(2 * np.pi * swing) * (4.2 if moving else 0.0)
    for hip, foot, fur in (
        (-8.6, -step, far), (6.6, step, far), (-10.4, step, coat), (8.2, -step, coat),
    ):  # fmt: skip
        pen.line((hip, -10, hip + foot, -1.5), 3.4, fur)
        pen.line((hip + foot, -1.3, hip + foot + 1.4, -1.3), 2.4, fur)
    pen.line((-12, -14, -15.4, -20.0 - (0.6 * step if moving else 0)), 2.6, coat)
    pen.line((-8.4, -12.2, 6.8, -12.6), 9.4, coat)
    pen.line((-8.0, -9.6, 6.0, -9.8), 3.4, far)
    pen.line((7.0, -13.6, 10.4, -17.2), 6.8, coat)
    pen.ellipse(11.2, -17.6, 4.6, 4.2, coat, shade=0.12)
    pen.line((12.4, -16.6, 15.6, -16.2), 3.4, lit(coat, 0.88))
    pen.ellipse(16.2, -16.8, 1.0, 1.0, (20, 18, 18))
    pen.line((8.6, -20.2, 8.0, -16.4), 3.0, far)
    pen.ellipse(12.4, -18.6, 0.8, 0.8, (16, 14, 14))
    pen.line((6.4, -16.2, 9.6, -12.6), 1.6, (186, 46, 44))


def _parcel(pen: Pen, look: Look, swing: float, *, moving: bool) -> None:  # noqa: ARG001
    card = look.main
    tape = mixed(card, (250, 240, 214), 0.62)
    pen.polygon([(-10.4, -15.6), (-6.6, -19), (10.4, -19), (7.2, -15.6)], lit(card, 1.18))
    pen.polygon([(7.2, -15.6), (10.4, -19), (10.4, -3.6), (7.2, 0)], lit(card, 0.66))
    pen.box(-10.4, -15.6, 7.2, 0, card, corner=0.6, shade=0.12)
    pen.box(-3.6, -15.6, 0.4, 0, tape, alpha=0.9)
    pen.polygon([(-3.6, -15.6), (0.2, -19), (4.0, -19), (0.4, -15.6)], lit(tape, 1.06), alpha=0.9)
    pen.box(-9.2, -6.4, -5.0, -2.0, (244, 244, 240), corner=0.4)
    pen.line((-8.4, -5.0, -6.0, -5.0), 0.6, (60, 60, 60))


_DRAW: Final[dict[str, Callable[..., None]]] = {
    "person": _person,
    "car": _car,
    "bicycle": _bicycle,
    "dog": _dog,
    "parcel": _parcel,
}


def drawing(look: Look, pose: Pose, *, scale: int) -> Canvas:
    """One drawing of an object, its origin at its feet."""
    pen = Pen(look.kind, size=pose.size, scale=scale)
    _DRAW[look.kind](pen, look, pose.phase / PHASES, moving=pose.moving)
    return pen.canvas.mirrored() if pose.left else pen.canvas


def shadow(kind: str, *, size: float, scale: int) -> Canvas:
    """The soft shadow under an object of this kind."""
    width, height = SIZE_UNITS[kind]
    across, down = width * 0.62 * size, (3.4 + height * 0.05) * size
    canvas = Canvas.blank(-across - 2, -down - 1, across + 2, down + 1, scale=scale)
    canvas.soft((0.0, -0.4), (across, down), (14, 14, 20), alpha=0.55)
    return canvas
