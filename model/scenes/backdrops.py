"""Backdrops: the yard, street, shop and corridor a fixed camera looks at, one per seed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from model.scenes.canvas import HEIGHT_UNITS, WIDTH_UNITS, Canvas, grain
from model.scenes.palette import Rgb, lit, mixed

Place = Literal["yard", "street", "shop", "corridor"]
PLACES: Final[tuple[Place, ...]] = ("yard", "street", "shop", "corridor")

Box = tuple[float, float, float, float]
_W, _H = float(WIDTH_UNITS), float(HEIGHT_UNITS)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are in one scene, in units."""

    place: Place
    ground_y: float  # where the wall meets the ground
    gate: Box
    gate_colour: Rgb
    lamp: tuple[float, float]
    hazard: tuple[float, float]  # where smoke rises and fire burns, its foot
    paint_seed: int

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Layout":
        """One layout of a place chosen by ``rng``."""
        place = PLACES[int(rng.integers(len(PLACES)))]
        ground = float(rng.uniform(86.0, 95.0))
        width, height = float(rng.uniform(32.0, 46.0)), float(rng.uniform(48.0, 60.0))
        if place == "corridor":
            width = float(rng.uniform(28.0, 34.0))
        left = float(rng.uniform(30.0, _W - 30.0 - width))
        centre = left + width / 2
        # the lamp and the hazard stand clear of the gate
        lamp = _clear(rng, centre, apart=width / 2 + 16.0)
        hazard = _clear(rng, centre, apart=width / 2 + 26.0)
        steel = rng.uniform(0.8, 1.15)
        colours: tuple[Rgb, ...] = (
            (104, 116, 124), (92, 104, 92), (122, 98, 76), (110, 112, 128),
        )  # fmt: skip
        return cls(
            place=place,
            ground_y=ground,
            gate=(left, ground - height, left + width, ground + 2.0),
            gate_colour=lit(colours[int(rng.integers(len(colours)))], float(steel)),
            lamp=(lamp, float(rng.uniform(16.0, 26.0))),
            hazard=(hazard, ground + float(rng.uniform(6.0, 11.0))),
            paint_seed=int(rng.integers(2**31)),
        )


def _clear(rng: np.random.Generator, centre: float, *, apart: float) -> float:
    while True:
        x = float(rng.uniform(34.0, _W - 34.0))
        if abs(x - centre) > apart:
            return x


def backdrop(layout: Layout, *, scale: int) -> Canvas:
    """The still picture of a place without its gate and lamp, (168 * scale, 308 * scale, 3)."""
    canvas = Canvas.blank(0.0, 0.0, _W, _H, scale=scale)
    rng = np.random.default_rng(layout.paint_seed)
    _PAINT[layout.place](canvas, layout, rng)
    _textured(canvas, layout, rng)
    return canvas


def _textured(canvas: Canvas, layout: Layout, rng: np.random.Generator) -> None:
    """Break the flat fills up: blotches, grain, and light that falls off to the corners."""
    scale = canvas.scale
    blotches = grain(rng, cell_units=44.0, scale=scale, octaves=3)
    fine = grain(rng, cell_units=2.4, scale=scale, octaves=2)
    rough = np.where(np.arange(canvas.rgb.shape[0]) / scale > layout.ground_y, 0.050, 0.022)
    y = np.linspace(-1.0, 1.0, canvas.rgb.shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-1.0, 1.0, canvas.rgb.shape[1], dtype=np.float32)[None, :]
    corners = 1.04 - 0.13 * (x * x * 0.8 + y * y * 0.6)
    gain = corners * (1.0 + 0.05 * blotches + rough.astype(np.float32)[:, None] * fine)
    canvas.rgb *= gain[:, :, None].astype(np.float32)
    np.clip(canvas.rgb, 0.0, 255.0, out=canvas.rgb)


def _pick(rng: np.random.Generator, *colours: Rgb) -> Rgb:
    return lit(colours[int(rng.integers(len(colours)))], float(rng.uniform(0.88, 1.1)))


def _floor(canvas: Canvas, y: float, colour: Rgb) -> None:
    """The ground, lighter towards the camera, with the shade of the wall at its far edge."""
    canvas.box(-2, y, _W + 2, _H + 2, lit(colour, 0.94), shade=-0.12)
    canvas.soft((_W / 2, y), (_W * 0.75, 13.0), (20, 20, 26), alpha=0.34)
    canvas.box(-2, y - 14, _W + 2, y, (20, 20, 26), alpha=0.05)


def _windows(canvas: Canvas, layout: Layout, rng: np.random.Generator, frame: Rgb) -> None:
    """A row of windows on the wall, none across the gate."""
    width, height = float(rng.uniform(20, 28)), float(rng.uniform(22, 30))
    top = float(rng.uniform(18, 26))
    glass = _pick(rng, (112, 138, 158), (88, 104, 118), (132, 146, 150))
    x = float(rng.uniform(6, 18))
    while x + width < _W - 4:
        across_gate = x + width > layout.gate[0] - 5 and x < layout.gate[2] + 5
        if not across_gate or top + height < layout.gate[1] - 4:
            canvas.box(x - 2, top - 2, x + width + 2, top + height + 3, frame)
            canvas.box(x, top, x + width, top + height, glass, shade=0.25)
            foot = top + height
            shine = [
                (x + 3, foot), (x + width * 0.55, top), (x + width * 0.8, top),
                (x + width * 0.35, foot),
            ]  # fmt: skip
            canvas.polygon(shine, (226, 236, 242), alpha=0.16)
            canvas.line((x + width / 2, top), (x + width / 2, top + height), 1.6, frame)
            canvas.line((x, top + height * 0.45), (x + width, top + height * 0.45), 1.6, frame)
            canvas.box(x - 3, top + height + 2, x + width + 3, top + height + 5, lit(frame, 0.86))
        x += width + float(rng.uniform(18, 34))


def _bricks(canvas: Canvas, y: float, colour: Rgb) -> None:
    mortar = mixed(colour, (226, 218, 206), 0.35)
    rows = np.arange(4.0, y, 6.0)
    for number, row in enumerate(rows):
        canvas.line((0, row), (_W, row), 0.7, mortar, alpha=0.45)
        for x in np.arange(-8.0 + 7 * (number % 2), _W, 14.0):
            canvas.line((x, row), (x, min(row + 6, y)), 0.6, mortar, alpha=0.35)


def _tree(canvas: Canvas, rng: np.random.Generator, x: float, foot: float) -> None:
    leaf = _pick(rng, (72, 102, 62), (88, 110, 66), (62, 92, 66))
    canvas.line((x, foot), (x, foot - 34), 4.4, (88, 68, 52))
    for _ in range(16):
        dx, dy = rng.normal(0, 10), rng.normal(0, 8)
        radius = float(rng.uniform(6, 11))
        tone = lit(leaf, float(rng.uniform(0.82, 1.16)) - dy * 0.012)
        canvas.ellipse((x + dx, foot - 44 + dy), (radius, radius * 0.86), tone, shade=0.14)


def _yard(canvas: Canvas, layout: Layout, rng: np.random.Generator) -> None:
    y = layout.ground_y
    sky = _pick(rng, (176, 200, 220), (196, 204, 210), (206, 196, 184))
    canvas.box(-2, -2, _W + 2, y, sky, shade=-0.08)
    for x in np.arange(-10.0, _W + 20, 22.0):
        hill = _pick(rng, (128, 146, 128), (140, 152, 138))
        canvas.ellipse((x + rng.uniform(-6, 6), 44), (22, float(rng.uniform(12, 24))), hill)
    for _ in range(int(rng.integers(1, 4))):
        _tree(canvas, rng, float(rng.uniform(10, _W - 10)), y - 8)
    wall = _pick(rng, (186, 176, 162), (168, 150, 136), (174, 178, 178))
    fence_top = layout.gate[1] + 7
    canvas.box(-2, fence_top, _W + 2, y, wall, shade=0.07)
    canvas.box(-2, fence_top - 3, _W + 2, fence_top + 1, lit(wall, 1.1))
    for x in np.arange(float(rng.uniform(0, 30)), _W, float(rng.uniform(34, 50))):
        canvas.box(x, fence_top - 5, x + 6, y, lit(wall, 0.93), shade=0.06)
    if rng.random() < 0.6:  # a shed at one side
        left = rng.random() < 0.5 and layout.gate[0] > 96
        x0 = 2.0 if left else min(layout.gate[2] + 14, _W - 70)
        hut = _pick(rng, (142, 112, 88), (116, 124, 128), (128, 134, 112))
        canvas.box(x0, 26, x0 + 66, y, hut, shade=0.08)
        for x in np.arange(x0 + 6, x0 + 66, 7.0):
            canvas.line((x, 28), (x, y), 0.6, lit(hut, 0.8), alpha=0.7)
        canvas.polygon([(x0 - 5, 28), (x0 + 8, 12), (x0 + 58, 12), (x0 + 71, 28)], lit(hut, 0.66))
    ground = _pick(rng, (158, 152, 142), (150, 146, 140), (142, 140, 130), (134, 142, 116))
    _floor(canvas, y, ground)
    vanish = float(rng.uniform(90, 218))
    for x in np.arange(-500.0, 820.0, 58.0):
        canvas.line(
            (vanish + (x - vanish) * 0.55, y), (x, _H + 2), 0.8, lit(ground, 0.8), alpha=0.5
        )
    for step in (0.16, 0.42, 0.78):
        row = y + (_H - y) * step
        canvas.line((0, row), (_W, row), 0.8, lit(ground, 0.8), alpha=0.45)


def _street(canvas: Canvas, layout: Layout, rng: np.random.Generator) -> None:
    y = layout.ground_y
    wall = _pick(rng, (170, 122, 102), (190, 178, 158), (156, 156, 154), (178, 160, 138))
    canvas.box(-2, -2, _W + 2, y, wall, shade=0.06)
    _bricks(canvas, y, wall)
    canvas.box(-2, -2, _W + 2, float(rng.uniform(5, 10)), lit(wall, 0.74))
    _windows(canvas, layout, rng, _pick(rng, (232, 228, 218), (74, 78, 84), (206, 196, 176)))
    canvas.box(-2, y - 8, _W + 2, y, lit(wall, 0.7))
    pavement = _pick(rng, (168, 164, 158), (154, 154, 152))
    _floor(canvas, y, pavement)
    kerb = y + 25.0
    for x in np.arange(-300.0, 620.0, 26.0):
        canvas.line((154 + (x - 154) * 0.9, y), (x, kerb), 0.6, lit(pavement, 0.8), alpha=0.6)
    road = _pick(rng, (86, 88, 92), (98, 96, 94))
    canvas.box(-2, kerb, _W + 2, _H - 9, road, shade=-0.05)
    canvas.box(-2, kerb - 1.6, _W + 2, kerb + 1.6, lit(pavement, 1.14))
    canvas.box(-2, kerb + 1.6, _W + 2, kerb + 3.4, lit(road, 0.7))
    middle, start = (kerb + _H - 9) / 2 + 2, float(rng.uniform(-30, 0))
    for x in np.arange(start, _W + 30, 46.0):
        dash = [
            (x, middle - 1.2),
            (x + 22, middle - 1.2),
            (x + 21, middle + 1.2),
            (x - 1, middle + 1.2),
        ]
        canvas.polygon(dash, (226, 224, 212), alpha=0.85)
    canvas.box(-2, _H - 9, _W + 2, _H + 2, lit(pavement, 1.02))
    canvas.box(-2, _H - 10, _W + 2, _H - 7.6, lit(pavement, 1.16))


def _shop(canvas: Canvas, layout: Layout, rng: np.random.Generator) -> None:
    y = layout.ground_y
    wall = _pick(rng, (214, 206, 190), (198, 206, 208), (204, 196, 204))
    canvas.box(-2, -2, _W + 2, y, wall, shade=0.05)
    canvas.box(-2, -2, _W + 2, 10, lit(wall, 0.86))
    board = _pick(rng, (166, 138, 106), (128, 130, 134), (188, 184, 176))
    goods: tuple[Rgb, ...] = (
        (176, 150, 128), (148, 162, 166), (170, 160, 120), (150, 132, 142), (140, 152, 130),
        (190, 182, 170),
    )  # fmt: skip
    x = float(rng.uniform(2, 10))
    while x < _W - 30:
        width = float(rng.uniform(44, 66))
        if x + width > layout.gate[0] - 6 and x < layout.gate[2] + 6:
            x = layout.gate[2] + 8
            continue
        width = min(width, _W - 4 - x)
        canvas.box(x, 26, x + width, y, lit(board, 0.62))
        for shelf in np.arange(40.0, y + 1, 15.0):
            item = x + 3
            while item < x + width - 6:
                broad, tall = float(rng.uniform(3.4, 6.4)), float(rng.uniform(6.5, 11.5))
                tone = lit(goods[int(rng.integers(len(goods)))], float(rng.uniform(0.8, 1.1)))
                canvas.box(item, shelf - tall, item + broad, shelf, tone, corner=0.8, shade=0.12)
                item += broad + float(rng.uniform(0.6, 2.2))
            canvas.box(x, shelf, x + width, shelf + 2.2, board)
        for post in (x - 1, x + width - 1.4):
            canvas.box(post, 24, post + 2.4, y, lit(board, 0.85))
        x += width + float(rng.uniform(5, 14))
    tile = _pick(rng, (198, 190, 178), (184, 188, 190), (176, 168, 160))
    _floor(canvas, y, tile)
    _tiles(canvas, y, tile, float(rng.uniform(120, 190)))


def _tiles(canvas: Canvas, y: float, tile: Rgb, vanish: float) -> None:
    seam = lit(tile, 0.84)
    for x in np.arange(-600.0, 920.0, 40.0):
        canvas.line((vanish + (x - vanish) * 0.6, y), (x, _H + 2), 0.7, seam, alpha=0.6)
    row, step = y, 7.0
    while row < _H:
        canvas.line((0, row), (_W, row), 0.7, seam, alpha=0.6)
        row, step = row + step, step * 1.32


def _corridor(canvas: Canvas, layout: Layout, rng: np.random.Generator) -> None:
    y = layout.ground_y
    wall = _pick(rng, (206, 208, 200), (188, 200, 204), (210, 202, 186))
    panel = _pick(rng, (132, 150, 152), (150, 142, 126), (138, 148, 130))
    canvas.box(-2, -2, _W + 2, y, wall, shade=0.07)
    canvas.box(-2, -2, _W + 2, 9, lit(wall, 1.08))
    canvas.box(-2, 9, _W + 2, 10.6, lit(wall, 0.78))
    canvas.box(-2, y - 28, _W + 2, y, panel, shade=0.05)
    canvas.box(-2, y - 30, _W + 2, y - 27, lit(panel, 0.8))
    canvas.box(-2, y - 5, _W + 2, y, lit(panel, 0.62))
    x = float(rng.uniform(8, 30))
    while x < _W - 30:  # notices and pictures
        width, height = float(rng.uniform(16, 30)), float(rng.uniform(14, 20))
        if not (x + width > layout.gate[0] - 8 and x < layout.gate[2] + 8):
            top = float(rng.uniform(22, 30))
            canvas.box(x + 1, top + 1, x + width + 1, top + height + 1, (40, 40, 44), alpha=0.25)
            canvas.box(x, top, x + width, top + height, _pick(rng, (84, 74, 64), (228, 226, 220)))
            picture = _pick(rng, (164, 176, 178), (182, 172, 150), (150, 160, 142))
            canvas.box(x + 2, top + 2, x + width - 2, top + height - 2, picture, shade=0.16)
        x += width + float(rng.uniform(26, 60))
    floor = _pick(rng, (164, 158, 148), (146, 152, 154), (158, 146, 128))
    _floor(canvas, y, floor)
    _tiles(canvas, y, floor, 154.0)
    for x in (60.0, 154.0, 248.0):  # the ceiling's lights, mirrored in the polish
        canvas.soft((x, y + 44), (26, 34), lit(floor, 1.3), alpha=0.5)


_PAINT: Final[dict[Place, Callable[[Canvas, Layout, np.random.Generator], None]]] = {
    "yard": _yard,
    "street": _street,
    "shop": _shop,
    "corridor": _corridor,
}
