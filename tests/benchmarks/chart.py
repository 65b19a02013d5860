"""Line charts as pictures, drawn with Pillow: panels in a grid under one title and one legend."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10

import numpy as np
from numpy.typing import NDArray

from pipeline.pen import Colour, Pen, Point

GREY: Colour = (110, 116, 124)
GRID_LINE: Colour = (228, 231, 235)
PANEL_WIDTH_PX, PANEL_HEIGHT_PX = 560, 340
MARGINS_PX = (66, 54, 24, 52)  # left, top, right, bottom of a panel, where its words stand
HEAD_PX = 92


@dataclass(frozen=True, slots=True)
class Curve:
    """Points joined by a line.

    Attributes:
        label: its name in the legend, where curves of one name stand once; none without.
        colour: RGB.
        points: (x, y), from left to right.
        is_dashed: draw the line in dashes.
        is_ring: mark the points with a ring and draw no line.
    """

    label: str
    colour: Colour
    points: Sequence[Point]
    is_dashed: bool = False
    is_ring: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes; what lies outside the ranges is cut off.

    Attributes:
        title: above the axes.
        x_label: below.
        y_label: at the left, above the axis.
        x_range: of the axis.
        y_range: of the axis.
        curves: what is drawn, the last on top.
    """

    title: str
    x_label: str
    y_label: str
    x_range: Point
    y_range: Point
    curves: Sequence[Curve]


def chart(title: str, note: str, rows: Sequence[Sequence[Panel]]) -> NDArray[np.uint8]:
    """Draw the panels, a legend and the note that says how to read them.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    width = PANEL_WIDTH_PX * max(len(row) for row in rows)
    height = HEAD_PX + PANEL_HEIGHT_PX * len(rows)
    pen = Pen(width, height)
    pen.text((24, 14), title, size_px=20)
    pen.text((24, 42), note, size_px=13, colour=GREY)
    _legend(pen, [curve for row in rows for panel in row for curve in panel.curves])
    for down, row in enumerate(rows):
        for across, panel in enumerate(row):
            _panel(pen, panel, (across * PANEL_WIDTH_PX, HEAD_PX + down * PANEL_HEIGHT_PX))
    return pen.pixels()


def ticks(low: float, high: float, *, most: int = 7) -> list[float]:
    """Return round numbers within a range, at most so many."""
    raw = (high - low) / most
    step = 10.0 ** floor(log10(raw))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if factor * step >= raw * (1 - 1e-9))
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [round(index * step, 9) for index in range(first, last + 1)]


def _legend(pen: Pen, curves: Sequence[Curve]) -> None:
    x, y = 24.0, 76.0
    for curve in {curve.label: curve for curve in curves if curve.label}.values():
        if curve.is_ring:
            pen.dot((x + 13, y), 6.5, curve.colour, hole=True)
        else:
            stroke = pen.dashes if curve.is_dashed else pen.line
            stroke([(x, y), (x + 26, y)], curve.colour, width_px=2.2)
        x += 34 + pen.text((x + 34, y), curve.label, size_px=13, anchor="lm") + 26


def _panel(pen: Pen, panel: Panel, corner: Point) -> None:
    left, top = corner[0] + MARGINS_PX[0], corner[1] + MARGINS_PX[1]
    right = corner[0] + PANEL_WIDTH_PX - MARGINS_PX[2]
    bottom = corner[1] + PANEL_HEIGHT_PX - MARGINS_PX[3]
    (x_low, x_high), (y_low, y_high) = panel.x_range, panel.y_range

    def on_sheet(point: Point) -> Point:
        x = left + (point[0] - x_low) / (x_high - x_low) * (right - left)
        return x, bottom - (point[1] - y_low) / (y_high - y_low) * (bottom - top)

    for value in ticks(*panel.y_range, most=6):
        _x, y = on_sheet((x_low, value))
        pen.line([(left, y), (right, y)], GRID_LINE)
        pen.text((left - 8, y), f"{value:g}", colour=GREY, anchor="rm")
    for value in ticks(*panel.x_range):
        x, _y = on_sheet((value, y_low))
        pen.line([(x, bottom), (x, bottom + 4)], GREY)
        pen.text((x, bottom + 8), f"{value:g}", colour=GREY, anchor="ma")
    pen.line([(left, bottom), (right, bottom)], GREY)
    pen.text((left, top - 46), panel.title, size_px=14)
    pen.text((left, top - 26), panel.y_label, colour=GREY)
    pen.text((right, bottom + 26), panel.x_label, colour=GREY, anchor="ra")
    for curve in panel.curves:
        if curve.is_ring:
            for x, y in curve.points:
                if x_low <= x <= x_high and y_low <= y <= y_high:
                    pen.dot(on_sheet((x, y)), 6.5, curve.colour, hole=True)
            continue
        stroke = pen.dashes if curve.is_dashed else pen.line
        for piece in within(curve.points, panel.x_range, panel.y_range):
            stroke([on_sheet(point) for point in piece], curve.colour, width_px=2.2)


def within(points: Sequence[Point], x_range: Point, y_range: Point) -> list[list[Point]]:
    """Cut a line off where it leaves the ranges: the pieces of it that lie within."""
    corners = np.array(points, dtype=np.float64).reshape(-1, 2)
    low, high = np.array([x_range, y_range]).T
    pieces: list[list[Point]] = [[]]
    for start, end in pairwise(corners):
        step = np.where(end == start, 1e-12, end - start)
        bounds = np.stack([(low - start) / step, (high - start) / step])
        enters, leaves = max(0.0, bounds.min(axis=0).max()), min(1.0, bounds.max(axis=0).min())
        if enters > leaves:
            continue
        if enters > 0.0:
            pieces.append([])
        pieces[-1] = pieces[-1] or [_point(start + enters * step)]
        pieces[-1].append(_point(start + leaves * step))
    return [piece for piece in pieces if piece]


def _point(values: NDArray[np.float64]) -> Point:
    x, y = values.tolist()
    return x, y
