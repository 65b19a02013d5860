"""A run's losses and what was measured during it, as a picture."""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import numpy as np
from PIL import Image

from model.training.loop import LOSSES_FILE, MEASURES_FILE, read_lines
from pipeline.pen import Colour, Pen, Point

CURVE_FILE = "curve.png"
WIDTH_PX, HEIGHT_PX = 960, 360
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 64, 64, 40, 40
GREY: Colour = (205, 209, 214)
BLUE: Colour = (32, 98, 190)
RED: Colour = (196, 62, 44)
PALE: Colour = (150, 184, 228)
MOST_POINTS = 800


def draw_curve(out: Path, *, title: str) -> Path | None:
    """Draw the curve of the run in a folder beside its files; None where it has no step.

    The loss is on the left scale, from 0 to the largest; the share of held-out answers that are
    right on the right one.
    """
    losses = _points(out / LOSSES_FILE, "loss")
    if not losses:
        return None
    right = _points(out / MEASURES_FILE, "right")
    last = max(step for step, _ in losses)
    top = max(value for _, value in losses) or 1.0
    pen = Pen(WIDTH_PX, HEIGHT_PX)
    pen.text((LEFT_PX, 12), title, size_px=14)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _place(0.0, share)[1]
        pen.line([(LEFT_PX, y), (WIDTH_PX - RIGHT_PX, y)], GREY)
        pen.text((LEFT_PX - 8, y), f"{share * top:.3g}", colour=BLUE, anchor="rm")
        if right:
            pen.text((WIDTH_PX - RIGHT_PX + 8, y), f"{share:.0%}", colour=RED, anchor="lm")
    for share in (0.0, 0.5, 1.0):
        x = _place(share, 0.0)[0]
        pen.text((x, HEIGHT_PX - BOTTOM_PX + 8), f"{share * last:g}", anchor="ma")
    pen.line(_thinned([_place(step / last, value / top) for step, value in losses]), PALE)
    size = max(1, len(losses) // 50)
    kernel = np.ones(size) / size
    smooth = np.convolve([value for _, value in losses], kernel, mode="valid")
    steps = [step for step, _ in losses[size - 1 :]]
    mean = [
        _place(step / last, value / top) for step, value in zip(steps, smooth.tolist(), strict=True)
    ]
    pen.line(_thinned(mean), BLUE, width_px=2)
    told = pen.text((LEFT_PX, HEIGHT_PX - 16), "loss", colour=BLUE)
    if right:
        way = [_place(step / last, value) for step, value in right]
        pen.line(way, RED, width_px=2)
        for point in way:
            pen.dot(point, 4, RED)
        place = (LEFT_PX + told + 16, HEIGHT_PX - 16)
        pen.text(place, "held-out answers that are right", colour=RED)
    Image.fromarray(pen.pixels()).save(out / CURVE_FILE)
    return out / CURVE_FILE


def _points(file: Path, name: str) -> list[tuple[float, float]]:
    rows = [row for row in read_lines(file) if isfinite(row[name])]
    return [(row["step"], row[name]) for row in rows]


def _place(across: float, up: float) -> Point:
    """Give the pixel of a share of the width and of the height."""
    width, height = WIDTH_PX - LEFT_PX - RIGHT_PX, HEIGHT_PX - TOP_PX - BOTTOM_PX
    return LEFT_PX + across * width, HEIGHT_PX - BOTTOM_PX - up * height


def _thinned(points: Sequence[Point]) -> list[Point]:
    """Leave out what no pixel could show; a single point becomes a short line."""
    chosen = list(points[:: -(-len(points) // MOST_POINTS)])
    return chosen if len(chosen) > 1 else [*chosen, (chosen[0][0] + 1, chosen[0][1])]
