"""Fixtures: the gate or door at any opening, the lamp lit or dark, smoke and fire."""

from functools import cache
from typing import Final

import numpy as np

from model.scenes.backdrops import Layout
from model.scenes.canvas import Canvas, Plane
from model.scenes.palette import Rgb, lit, mixed

GATE_STEPS: Final = 12  # drawings between closed and open
SMOKE_UNITS: Final = 52.0  # how wide the plume grows
FIRE_UNITS: Final = (40.0, 40.0)  # the flame's width and height

_PUFFS: Final = 20
_PUFF_LIFE_S: Final = 4.0


def gate(layout: Layout, *, opening: float, scale: int) -> Canvas:
    """The gate or door and what shows behind it, ``opening`` 0 closed to 1 open; origin (0, 0)."""
    x0, y0, x1, y1 = layout.gate
    canvas = Canvas.blank(x0 - 6, y0 - 6, x1 + 6, y1 + 2, scale=scale)
    steel, inside = layout.gate_colour, layout.place in ("shop", "corridor")
    canvas.box(x0 - 3.4, y0 - 3.4, x1 + 3.4, y1, lit(steel, 0.55))
    _beyond(canvas, layout)
    if layout.place == "yard":
        _bars(canvas, layout, opening)
    elif layout.place == "street":
        _roller(canvas, layout, opening)
    else:
        _leaf(canvas, layout, opening)
    if not inside:
        for post in (x0 - 3.6, x1 + 0.4):
            canvas.box(post, y0 - 4, post + 3.4, y1, lit(steel, 0.72), shade=0.1)
    return canvas


def _beyond(canvas: Canvas, layout: Layout) -> None:
    x0, y0, x1, y1 = layout.gate
    if layout.place == "yard":
        canvas.box(x0, y0, x1, y1, (196, 212, 222), shade=0.04)
        canvas.box(x0, y0 + (y1 - y0) * 0.42, x1, y1, (142, 158, 122))
        middle = (x0 + x1) / 2
        far = y0 + (y1 - y0) * 0.42
        path = [(middle - 4, far), (middle + 4, far), (x1, y1), (x0, y1)]
        canvas.polygon(path, (196, 188, 172))
    elif layout.place == "street":
        canvas.box(x0, y0, x1, y1, (26, 25, 28), shade=-0.3)
        canvas.box(x0 + 3, y1 - 10, x1 - 3, y1, (48, 46, 46))
    else:
        canvas.box(x0, y0, x1, y1, (250, 240, 212), shade=0.04)
        canvas.box(x0, y1 - 14, x1, y1, (206, 184, 148))


def _bars(canvas: Canvas, layout: Layout, opening: float) -> None:
    """A sliding gate of sheet and bars, pulled to the left behind the wall."""
    x0, y0, x1, y1 = layout.gate
    right = x1 - (x1 - x0) * opening
    if right - x0 < 1.0:
        return
    steel = layout.gate_colour
    canvas.box(x0, y0, right, y1 - 1, lit(steel, 0.78), shade=0.1)
    bars = np.arange(x1 - 2.0, x0, -6.0) - (x1 - right)
    for x in bars[bars > x0]:
        canvas.line((x, y0 + 2), (x, y1 - 3), 2.2, lit(steel, 1.25))
    for y in (y0 + 3, (y0 + y1) / 2, y1 - 4):
        canvas.line((x0, y), (right - 1, y), 2.6, lit(steel, 1.12))


def _roller(canvas: Canvas, layout: Layout, opening: float) -> None:
    """A roller shutter, wound up to the lintel."""
    x0, y0, x1, y1 = layout.gate
    bottom = y1 - (y1 - y0 - 3) * opening
    steel = mixed(layout.gate_colour, (210, 212, 214), 0.35)
    canvas.box(x0, y0, x1, bottom, steel)
    slats = np.arange(bottom - 4.0, y0, -5.0)
    for y in slats:
        canvas.line((x0, y), (x1, y), 1.0, lit(steel, 0.7))
        canvas.line((x0, y + 1.4), (x1, y + 1.4), 0.9, lit(steel, 1.16))
    canvas.box(x0, bottom - 2.6, x1, bottom, lit(steel, 0.6))


def _leaf(canvas: Canvas, layout: Layout, opening: float) -> None:
    """A hinged leaf that turns away: it narrows towards its hinges on the left."""
    x0, y0, x1, y1 = layout.gate
    right = x0 + (x1 - x0) * max(0.1, np.cos(opening * np.pi / 2))
    wood = layout.gate_colour
    if layout.place == "corridor":
        wood = mixed(wood, (150, 102, 62), 0.6)
    drop = 3.0 * opening
    edge = [(x0, y0), (right, y0 + drop), (right, y1 - drop), (x0, y1)]
    canvas.polygon(edge, lit(wood, 1.0 - 0.3 * opening), shade=0.08)
    width = right - x0
    if width < 10.0:
        return
    pane: Rgb = (150, 176, 186) if layout.place == "shop" else lit(wood, 0.8)
    for top, foot in ((y0 + 6 + drop, (y0 + y1) / 2 - 3), ((y0 + y1) / 2 + 3, y1 - 6 - drop)):
        canvas.box(x0 + width * 0.18, top, x0 + width * 0.82, foot, pane, corner=0.8, shade=0.14)
    canvas.ellipse((x0 + width * 0.91, (y0 + y1) / 2), (1.5, 1.5), (228, 206, 130))


def lamp(layout: Layout, *, on: bool, scale: int) -> Canvas:
    """The lamp, with its glow when lit; origin at the lamp."""
    canvas = Canvas.blank(-30, -26, 30, 40, scale=scale)
    metal: Rgb = (60, 62, 66)
    glass: Rgb = (255, 246, 214) if on else (112, 114, 118)
    if layout.place in ("yard", "street"):
        canvas.line((0, -6), (0, 1), 2.0, metal)
        canvas.line((0, -6), (8, -9), 1.8, metal)
        canvas.polygon([(-6.5, 4), (-2.5, -1.5), (2.5, -1.5), (6.5, 4)], metal)
        canvas.ellipse((0, 5.0), (5.0, 3.0), glass)
    else:
        canvas.line((-7, -26), (-7, -2), 0.9, metal)
        canvas.line((7, -26), (7, -2), 0.9, metal)
        canvas.box(-13, -3, 13, 2, metal, corner=1.2)
        canvas.box(-12, 0.4, 12, 4.4, glass, corner=1.4)
    if on:
        canvas.soft((0, 6), (29, 25), (255, 240, 196), alpha=0.55)
    return canvas


@cache
def _puff(radius_px: int) -> tuple[Plane, Plane]:
    """One puff of smoke: its cover 0 to 1 and its light, (2 r, 2 r) each."""
    rng = np.random.default_rng(radius_px)
    axis = (np.arange(2 * radius_px, dtype=np.float32) + 0.5) / radius_px - 1.0
    square = axis[:, None] ** 2 + axis[None, :] ** 2
    angle = np.arctan2(axis[:, None], axis[None, :])
    ragged = sum(
        float(rng.uniform(0.05, 0.11)) * np.sin(k * angle + rng.uniform(0, 6.3)) for k in (2, 3, 5)
    )
    cover = np.clip(1.0 - square * (1.0 + ragged), 0.0, 1.0) ** 1.25
    light = 1.0 - 0.16 * axis[:, None] - 0.08 * axis[None, :]
    return cover.astype(np.float32), np.broadcast_to(light, cover.shape).astype(np.float32)


def smoke(layout: Layout, *, strength: float, t_s: float, tone: float, scale: int) -> Canvas:
    """The plume at ``t_s``: puffs that rise, grow, drift and thin; origin (0, 0)."""
    x, y = layout.hazard
    reach = SMOKE_UNITS * 0.95
    canvas = Canvas.blank(x - reach, -8.0, x + reach, y + 10, scale=scale, depth=1)
    rng = np.random.default_rng(layout.paint_seed)
    offset, lean, size = (rng.uniform(-1, 1, size=_PUFFS) for _ in range(3))
    drift = float(rng.uniform(-0.3, 0.3))
    for number in range(_PUFFS):
        life = (t_s / _PUFF_LIFE_S + number / _PUFFS) % 1.0
        rise = life**0.85 * min(y + 6.0, 88.0) * (0.35 + 0.65 * strength)
        sway = 5.0 * np.sin(1.9 * t_s / _PUFF_LIFE_S * 2 * np.pi / 2 + number) * life
        centre_x = x + lean[number] * (6.0 + 15.0 * life) + drift * rise + sway
        radius = (9.0 + 18.0 * life + 3.0 * size[number]) * (0.45 + 0.55 * strength)
        alpha = strength * min(1.0, life * 8.0) * (1.0 - life) ** 0.55 * 0.88
        grey = tone * (1.0 + 0.10 * offset[number])
        _blot(canvas, (centre_x, y - 4.0 - rise), radius, grey, alpha)
    return canvas


def _blot(
    canvas: Canvas, centre: tuple[float, float], radius: float, grey: float, alpha: float
) -> None:
    radius_px = max(2, round(radius * canvas.scale / 2) * 2)
    cover, light = _puff(radius_px)
    height, width = canvas.alpha.shape
    top = round((centre[1] - canvas.top) * canvas.scale) - radius_px
    left = round((centre[0] - canvas.left) * canvas.scale) - radius_px
    r0, r1 = max(0, top), min(height, top + 2 * radius_px)
    c0, c1 = max(0, left), min(width, left + 2 * radius_px)
    if r0 >= r1 or c0 >= c1:
        return
    part = (slice(r0 - top, r1 - top), slice(c0 - left, c1 - left))
    paint = (light[part] * np.float32(grey))[:, :, None]
    canvas.over(slice(r0, r1), slice(c0, c1), paint, cover[part] * np.float32(alpha))


def fire(layout: Layout, *, strength: float, t_s: float, scale: int) -> Canvas:
    """The flame at ``t_s`` with its glow; origin (0, 0)."""
    x, y = layout.hazard
    width, height = FIRE_UNITS
    canvas = Canvas.blank(x - 38, y - 62, x + 38, y + 30, scale=scale)
    canvas.soft((x, y - 14), (37, 43), (255, 150, 50), alpha=0.42 * strength)
    rows = (np.arange(canvas.alpha.shape[0], dtype=np.float32) + 0.5) / scale + canvas.top
    columns = (np.arange(canvas.alpha.shape[1], dtype=np.float32) + 0.5) / scale + canvas.left
    up = ((y - rows) / (height * (0.45 + 0.55 * strength)))[:, None]
    across = ((columns - x) / (width / 2))[None, :]
    swirl = 0.16 * np.sin(7.0 * up - 9.0 * t_s) + 0.10 * np.sin(
        15.0 * up - 17.0 * t_s + 4.0 * across
    )
    tongue = (
        0.78 + 0.14 * np.sin(5.0 * across + 7.3 * t_s) + 0.12 * np.sin(11.0 * across - 12.1 * t_s)
    )
    bulge = np.sqrt(np.clip(up + 0.10, 0.0, None)) * np.clip(1.15 - up / tongue, 0.0, None) * 1.55
    heat = (bulge - np.abs(across + swirl * np.clip(up, 0.0, 1.0)) * 1.05) * (up > -0.08)
    for floor, colour in (
        (0.00, (226, 62, 20)),
        (0.16, (250, 124, 22)),
        (0.40, (255, 190, 50)),
        (0.66, (255, 240, 170)),
    ):
        cover = np.clip((heat - floor) * 7.0, 0.0, 1.0) * min(1.0, strength * 1.6)
        paint = np.asarray(colour, dtype=np.float32)[None, None, :]
        canvas.over(slice(None), slice(None), paint, cover.astype(np.float32))
    return canvas


def smoke_cover(layout: Layout, *, strength: float, t_s: float) -> Canvas:
    """Where the plume is dense enough to label, at one pixel per unit."""
    canvas = smoke(layout, strength=strength, t_s=t_s, tone=128.0, scale=1)
    canvas.alpha = np.clip((canvas.alpha - 0.12) * 4.0, 0.0, 1.0)
    return canvas


def fire_cover(layout: Layout, *, strength: float, t_s: float) -> Canvas:
    """Where the flame is, without its glow, at one pixel per unit."""
    canvas = fire(layout, strength=strength, t_s=t_s, scale=1)
    canvas.alpha = np.clip((canvas.alpha - 0.5) * 4.0, 0.0, 1.0)
    return canvas
