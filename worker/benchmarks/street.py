"""A street as a fixed camera sees it, drawn clean for any moment: what the scenes are made of.

Persons, cars and small things enter, cross, stop and leave; somebody puts a parcel down and leaves
it there. Everything is drawn with fractions of a pixel, so that it moves as smoothly as real things
do. One seed, one street.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import pi, sin
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Point = tuple[float, float]
Colour = tuple[int, int, int]
Kind = Literal["person", "car", "dog", "ball", "parcel"]

WIDTH_PX, HEIGHT_PX = 896, 504
PAVEMENT_PX, ROAD_PX, VERGE_PX = 170, 270, 410  # where each begins, from the top
LANES_PX = (318, 385)  # where the wheels of each direction stand
SHIFT = 4  # cv2's fixed-point bits


@dataclass(frozen=True, slots=True)
class Way:
    """Where something is at which time: straight lines between points, nowhere before and after.

    Attributes:
        times_s: when it is at each point.
        xs: from the left, in px.
        ys: of its feet from the top, in px.
    """

    times_s: tuple[float, ...]
    xs: tuple[float, ...]
    ys: tuple[float, ...]

    def at(self, t_s: float) -> Point | None:
        """Return where it is, or None."""
        if not self.times_s[0] <= t_s <= self.times_s[-1]:
            return None
        x, y = np.interp(t_s, self.times_s, self.xs), np.interp(t_s, self.times_s, self.ys)
        return float(x), float(y)

    def moves_at(self, t_s: float) -> bool:
        """Say whether it is under way rather than standing."""
        return self.at(t_s) != self.at(t_s + 0.05)


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that is not always there.

    Attributes:
        kind: what it looks like.
        way: where it goes.
        colours: from the largest part to the smallest.
    """

    kind: Kind
    way: Way
    colours: tuple[Colour, Colour]


class Street:
    """What never moves, and what does.

    Attributes:
        still: (504, 896, 3) uint8 RGB, the street with nobody in it.
        things: what comes and goes, in no order.
    """

    def __init__(self, seed: int) -> None:
        """Make up the street of this seed."""
        rng = np.random.default_rng(seed)
        self.still = _background(rng)
        self.things = _things(rng)

    def at(self, t_s: float) -> Image:
        """Return the picture at `t_s` seconds, (504, 896, 3) uint8 RGB."""
        picture = self.still.copy()
        there = [
            (place, thing) for thing in self.things if (place := thing.way.at(t_s)) is not None
        ]
        for place, thing in sorted(there, key=lambda one: one[0][1]):  # far things first
            stride = 2.0 * pi * t_s * 1.3 if thing.way.moves_at(t_s) else 0.3
            _DRAW[thing.kind](picture, place, thing.colours, stride)
        return picture


# ---------------------------------------------------------------- who comes and goes


def _things(rng: np.random.Generator) -> tuple[Thing, ...]:
    def thing(kind: Kind, times_s: list[float], xs: list[float], ys: list[float]) -> Thing:
        return Thing(kind, Way(tuple(times_s), tuple(xs), tuple(ys)), (_paint(rng), _paint(rng)))

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    far, near, verge = between(190, 230), between(235, 262), between(425, 480)
    stop, down = between(250, 600), between(180, 700)
    out = WIDTH_PX + 90.0
    put_s = between(14, 18)
    parcel = thing("parcel", [put_s, 1e3], [down + 22] * 2, [verge] * 2)
    return (
        # There from the start, so that learning has no quiet moment to begin with.
        thing("person", [-2, 6, 14, 24], [60, stop, stop, -60], [far, near, near, far]),
        thing("car", [-1, 5], [-140, out], [LANES_PX[1]] * 2),
        thing("car", [2, 7, 19, 24], [out, down, down, -140], [LANES_PX[0]] * 4),
        thing("person", [4, 30], [out, -60], [near, near]),
        thing("person", [6, put_s, put_s + 2, 27], [-60, down, down, -60], [verge] * 4),
        parcel,
        thing("dog", [9, 17], [out, -40], [near + 6] * 2),
        thing("ball", [12, 36], [120, 780], [far - 6, far + 8]),
        thing("car", [21, 25], [-140, out], [LANES_PX[1]] * 2),
        thing("person", [22, 31, 1e3], [out, stop + 120, stop + 120], [verge - 8] * 3),
        thing("dog", [24, 30, 33, 39], [-40, stop, stop, out], [verge + 10] * 4),
        thing("car", [28, 36, 1e3], [out, stop, stop], [LANES_PX[0]] * 3),
        thing("person", [27, 41], [-60, 500], [far, far + 10]),
        # Close to the camera, over the verge.
        thing("person", [-3, 9], [300, out], [496, 490]),
        thing("person", [8, 21], [out, -60], [500, 492]),
        thing("person", [20, 36], [-60, out], [488, 498]),
        thing("car", [12, 15], [-140, out], [LANES_PX[1]] * 2),
        thing("car", [32, 37], [-140, out], [LANES_PX[1]] * 2),
    )


# ---------------------------------------------------------------- what they look like


def _person(picture: Image, feet: Point, colours: tuple[Colour, Colour], stride: float) -> None:
    x, y = feet
    tall = 40.0 + 0.42 * (y - PAVEMENT_PX)
    shirt, trousers = colours
    swing = sin(stride) * tall * 0.14
    hip, neck = y - tall * 0.47, y - tall * 0.8
    _shadow(picture, (x, y), (tall * 0.2, tall * 0.05))
    _limb(picture, (x, hip), (x - swing, y), _dim(trousers, 0.8), tall * 0.1)
    _limb(picture, (x, hip), (x + swing, y), trousers, tall * 0.1)
    _limb(picture, (x, neck + tall * 0.06), (x, hip), shirt, tall * 0.2)
    _limb(picture, (x, neck + 3), (x + swing, hip), _dim(shirt, 0.75), tall * 0.07)
    _ellipse(picture, (x, y - tall * 0.9), (tall * 0.075, tall * 0.1), (206, 160, 132))


def _car(picture: Image, wheels: Point, colours: tuple[Colour, Colour], _stride: float) -> None:
    x, y = wheels
    size = 0.9 if y < VERGE_PX - 50 else 1.1
    paint, _other = colours

    def body(colour: Colour, *offsets: Point) -> None:
        _polygon(picture, [(x + right * size, y - up * size) for right, up in offsets], colour)

    _shadow(picture, (x, y + 2), (92 * size, 7 * size))
    body(paint, (-84, 8), (-84, 26), (-74, 34), (-38, 38), (62, 38), (80, 32), (84, 10))
    body(_dim(paint, 0.85), (-42, 37), (-20, 58), (36, 58), (62, 37))
    body((96, 116, 128), (-33, 38), (-16, 54), (4, 54), (4, 38))
    body((96, 116, 128), (9, 38), (9, 54), (33, 54), (51, 38))
    for middle in (-52, 52):
        wheel = (x + middle * size, y - 10 * size)
        _ellipse(picture, wheel, (15 * size, 15 * size), (32, 32, 34))
        _ellipse(picture, wheel, (7 * size, 7 * size), (160, 162, 166))


def _dog(picture: Image, feet: Point, colours: tuple[Colour, Colour], stride: float) -> None:
    x, y = feet
    coat, _other = colours
    for leg, phase in ((-9, 0.0), (8, pi)):
        foot = (x + leg + 4 * sin(2 * stride + phase), y)
        _limb(picture, (x + leg, y - 9), foot, _dim(coat, 0.8), 3.0)
    _ellipse(picture, (x, y - 11), (14, 5), coat)
    _ellipse(picture, (x - 15, y - 17), (6, 4.5), coat)


def _ball(picture: Image, place: Point, colours: tuple[Colour, Colour], _stride: float) -> None:
    x, y = place
    _ellipse(picture, (x, y - 9), (9, 9), colours[0])
    _ellipse(picture, (x, y - 9), (4, 9), colours[1])


def _parcel(picture: Image, place: Point, colours: tuple[Colour, Colour], _stride: float) -> None:
    x, y = place
    _box(picture, (x - 15, y - 24), (30, 24), (176, 138, 92))
    _box(picture, (x - 3, y - 24), (6, 24), colours[1])


_DRAW: dict[Kind, Callable[[Image, Point, tuple[Colour, Colour], float], None]] = {
    "person": _person,
    "car": _car,
    "dog": _dog,
    "ball": _ball,
    "parcel": _parcel,
}


# ---------------------------------------------------------------- where they are


def _background(rng: np.random.Generator) -> Image:
    """Draw sky, houses, pavement, road and verge, with texture at all sizes."""
    picture = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    rise = np.linspace(0.0, 1.0, PAVEMENT_PX)[:, None, None]
    picture[:PAVEMENT_PX] = (
        np.array((126, 158, 196)) * (1 - rise) + np.array((214, 220, 222)) * rise
    )
    picture[PAVEMENT_PX:ROAD_PX] = (152, 146, 138)
    picture[ROAD_PX:VERGE_PX] = (94, 94, 98)
    picture[VERGE_PX:] = (88, 110, 66)
    left = -20.0
    while left < WIDTH_PX:
        left += _house(picture, left, rng)
    for x in range(0, WIDTH_PX, 64):
        _polygon(
            picture, [(x, 172), (x + 1.5, 172), (x - 38.5, 268), (x - 40, 268)], (122, 118, 112)
        )
    _box(picture, (0, ROAD_PX - 4), (WIDTH_PX, 5), (190, 186, 178))
    _box(picture, (0, VERGE_PX - 3), (WIDTH_PX, 6), (182, 178, 172))
    for x in range(20, WIDTH_PX, 120):
        _box(picture, (x, 341), (64, 4), (206, 204, 196))
    textured = picture.astype(np.float32)
    roughness = np.where(np.arange(HEIGHT_PX) < VERGE_PX, 1.0, 2.5)[:, None]  # stone, then grass
    for cell_px, levels in ((160, 7.0), (40, 4.0), (10, 3.0), (3, 3.0)):
        size = (HEIGHT_PX // cell_px + 2, WIDTH_PX // cell_px + 2)
        coarse = rng.normal(0.0, levels, size).astype(np.float32)
        field = cv2.resize(coarse, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_CUBIC)
        textured += (field * roughness)[..., None]
    return np.clip(textured, 4, 250).astype(np.uint8)


def _house(picture: Image, left: float, rng: np.random.Generator) -> float:
    """Draw a house and return its width."""
    width, top = float(rng.integers(120, 230)), float(rng.integers(14, 70))
    wall = _paint(rng, darkest=120, brightest=205)
    _box(picture, (left, top), (width, PAVEMENT_PX - top), wall)
    _box(picture, (left, top - 6), (width, 8), _dim(wall, 0.6))
    for y in np.arange(top + 8, PAVEMENT_PX, 7):
        _box(picture, (left, y), (width, 1), _dim(wall, 0.92))
    for x in np.arange(left + 14, left + width - 30, 44):
        for y in np.arange(top + 16, PAVEMENT_PX - 30, 46):
            _box(picture, (x - 2, y - 2), (28, 34), (226, 222, 214))
            _box(picture, (x, y), (24, 30), (58, 70, 84))
            _box(picture, (x + 11, y), (2, 30), (226, 222, 214))
    return width


# ---------------------------------------------------------------- paint and strokes


def _paint(rng: np.random.Generator, *, darkest: int = 25, brightest: int = 220) -> Colour:
    """Mix a colour: any brightness, seldom gaudy."""
    grey = rng.uniform(darkest, brightest)
    red, green, blue = (int(level) for level in np.clip(rng.normal(grey, 22.0, 3), 10, 240))
    return red, green, blue


def _polygon(picture: Image, points: list[Point], colour: Colour) -> None:
    cv2.fillPoly(picture, [_fixed(points)], colour, cv2.LINE_AA, SHIFT)


def _box(picture: Image, corner: Point, size: Point, colour: Colour) -> None:
    (x, y), (width, height) = corner, size
    # cv2 fills the last pixel too.
    right, bottom = x + width - 1, y + height - 1
    _polygon(picture, [(x, y), (right, y), (right, bottom), (x, bottom)], colour)


def _ellipse(picture: Image, centre: Point, radii: Point, colour: Colour) -> None:
    at, size = _fixed([centre, radii])
    cv2.ellipse(picture, at.tolist(), size.tolist(), 0, 0, 360, colour, -1, cv2.LINE_AA, SHIFT)


def _limb(picture: Image, start: Point, end: Point, colour: Colour, width: float) -> None:
    """Draw a bar with a width in fractions of a pixel, which cv2's lines have not."""
    (x0, y0), (x1, y1) = start, end
    length = max(1e-6, float(np.hypot(x1 - x0, y1 - y0)))
    across = ((y1 - y0) / length * width / 2, -(x1 - x0) / length * width / 2)
    corners = [
        (x0 + across[0], y0 + across[1]),
        (x1 + across[0], y1 + across[1]),
        (x1 - across[0], y1 - across[1]),
        (x0 - across[0], y0 - across[1]),
    ]
    _polygon(picture, corners, colour)


def _shadow(picture: Image, centre: Point, radii: Point) -> None:
    """Darken an ellipse under something by a third."""
    top, bottom = max(0, int(centre[1] - radii[1]) - 2), int(centre[1] + radii[1]) + 3
    left, right = max(0, int(centre[0] - radii[0]) - 2), int(centre[0] + radii[0]) + 3
    part = picture[top:bottom, left : max(left, right)]
    if not part.size:
        return
    mask = np.zeros(part.shape[:2], np.uint8)
    at, size = _fixed([(centre[0] - left, centre[1] - top), radii])
    cv2.ellipse(mask, at.tolist(), size.tolist(), 0, 0, 360, 85, -1, cv2.LINE_AA, SHIFT)
    part[:] = part * (1.0 - mask[..., None] / 255.0)


def _fixed(points: list[Point]) -> NDArray[np.int32]:
    fixed: NDArray[np.int32] = np.round(np.array(points) * 2**SHIFT).astype(np.int32)
    return fixed


def _dim(colour: Colour, share: float) -> Colour:
    red, green, blue = (round(level * share) for level in colour)
    return red, green, blue
