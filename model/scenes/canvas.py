"""Canvas: anti-aliased shapes from signed distances, drawn into crops and laid over a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from model.scenes.palette import Rgb

Plane = npt.NDArray[np.float32]
Point = tuple[float, float]

WIDTH_UNITS: Final = 308
HEIGHT_UNITS: Final = 168


@dataclass(frozen=True, slots=True)
class _Region:
    """The pixels a shape may touch: their place in the canvas and their centres in units."""

    rows: slice
    columns: slice
    x: Plane  # (1, w)
    y: Plane  # (h, 1)


@dataclass(slots=True)
class Canvas:
    """A rectangle of the scene, premultiplied: ``rgb`` (h, w, 3 or 1) levels, ``alpha`` (h, w)."""

    left: float
    top: float
    scale: int
    rgb: Plane
    alpha: Plane

    @classmethod
    def blank(
        cls, left: float, top: float, right: float, bottom: float, *, scale: int, depth: int = 3
    ) -> Self:
        """A transparent canvas over these units; ``depth`` 1 for greys alone."""
        height = int(np.ceil((bottom - top) * scale))
        width = int(np.ceil((right - left) * scale))
        return cls(
            left=left,
            top=top,
            scale=scale,
            rgb=np.zeros((height, width, depth), dtype=np.float32),
            alpha=np.zeros((height, width), dtype=np.float32),
        )

    def _region(self, x0: float, y0: float, x1: float, y1: float) -> _Region | None:
        height, width = self.alpha.shape
        first_row = max(0, int(np.floor((y0 - self.top) * self.scale)) - 1)
        last_row = min(height, int(np.ceil((y1 - self.top) * self.scale)) + 1)
        first_column = max(0, int(np.floor((x0 - self.left) * self.scale)) - 1)
        last_column = min(width, int(np.ceil((x1 - self.left) * self.scale)) + 1)
        if first_row >= last_row or first_column >= last_column:
            return None
        rows = (np.arange(first_row, last_row) + 0.5) / self.scale + self.top
        columns = (np.arange(first_column, last_column) + 0.5) / self.scale + self.left
        return _Region(
            slice(first_row, last_row),
            slice(first_column, last_column),
            columns.astype(np.float32)[None, :],
            rows.astype(np.float32)[:, None],
        )

    def _paint(
        self, region: _Region, distance: Plane, colour: Rgb, *, alpha: float, shade: float
    ) -> None:
        cover = np.clip(0.5 - distance * self.scale, 0.0, 1.0) * alpha
        paint = np.asarray(colour, dtype=np.float32)[None, None, :]
        if shade:
            run = region.y - region.y[0, 0]
            run = run / max(float(run[-1, 0]), 1e-3)
            paint = paint * (1.0 + shade * (1.0 - 2.0 * run))[:, :, None]
        self.over(region.rows, region.columns, paint, cover.astype(np.float32))

    def over(self, rows: slice, columns: slice, paint: Plane, cover: Plane) -> None:
        """Lay ``paint`` (levels) over these pixels with ``cover`` 0 to 1 (h, w)."""
        rest = 1.0 - cover
        self.rgb[rows, columns] *= rest[:, :, None]
        self.rgb[rows, columns] += paint * cover[:, :, None]
        self.alpha[rows, columns] = self.alpha[rows, columns] * rest + cover

    def box(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        colour: Rgb,
        *,
        corner: float = 0.0,
        alpha: float = 1.0,
        shade: float = 0.0,
    ) -> None:  # fmt: skip
        """A rectangle with round corners; ``shade`` lightens its top and darkens its foot."""
        region = self._region(x0, y0, x1, y1)
        if region is None:
            return
        across = np.abs(region.x - (x0 + x1) / 2) - ((x1 - x0) / 2 - corner)
        down = np.abs(region.y - (y0 + y1) / 2) - ((y1 - y0) / 2 - corner)
        outside = np.hypot(np.maximum(across, 0.0), np.maximum(down, 0.0))
        distance = outside + np.minimum(np.maximum(across, down), 0.0) - corner
        self._paint(region, distance, colour, alpha=alpha, shade=shade)

    def ellipse(
        self,
        centre: Point,
        radii: Point,
        colour: Rgb,
        *,
        alpha: float = 1.0,
        shade: float = 0.0,
    ) -> None:
        """A filled ellipse."""
        (x, y), (across, down) = centre, radii
        region = self._region(x - across, y - down, x + across, y + down)
        if region is None:
            return
        length = np.hypot((region.x - x) / across, (region.y - y) / down)
        self._paint(region, (length - 1.0) * min(across, down), colour, alpha=alpha, shade=shade)

    def ring(self, centre: Point, radius: float, thickness: float, colour: Rgb) -> None:
        """A circle drawn with a line of ``thickness`` units."""
        x, y = centre
        reach = radius + thickness
        region = self._region(x - reach, y - reach, x + reach, y + reach)
        if region is None:
            return
        length = np.hypot(region.x - x, region.y - y)
        distance = np.abs(length - radius) - thickness / 2
        self._paint(region, distance, colour, alpha=1.0, shade=0.0)

    def line(
        self, start: Point, end: Point, thickness: float, colour: Rgb, *, alpha: float = 1.0
    ) -> None:
        """A straight stroke with round ends."""
        (ax, ay), (bx, by) = start, end
        reach = thickness / 2
        region = self._region(
            min(ax, bx) - reach, min(ay, by) - reach, max(ax, bx) + reach, max(ay, by) + reach
        )
        if region is None:
            return
        dx, dy = bx - ax, by - ay
        square = max(dx * dx + dy * dy, 1e-9)
        along = np.clip(((region.x - ax) * dx + (region.y - ay) * dy) / square, 0.0, 1.0)
        length = np.hypot(region.x - ax - along * dx, region.y - ay - along * dy)
        self._paint(region, (length - reach).astype(np.float32), colour, alpha=alpha, shade=0.0)

    def polygon(
        self, points: Sequence[Point], colour: Rgb, *, alpha: float = 1.0, shade: float = 0.0
    ) -> None:
        """A convex polygon, its points given clockwise as seen."""
        across = [x for x, _ in points]
        down = [y for _, y in points]
        region = self._region(min(across), min(down), max(across), max(down))
        if region is None:
            return
        distance = np.full((len(region.y), region.x.shape[1]), -1e9, dtype=np.float32)
        for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True):
            length = max(float(np.hypot(bx - ax, by - ay)), 1e-6)
            side = ((by - ay) * (region.x - ax) - (bx - ax) * (region.y - ay)) / length
            distance = np.maximum(distance, side)
        self._paint(region, distance, colour, alpha=alpha, shade=shade)

    def soft(self, centre: Point, radii: Point, colour: Rgb, *, alpha: float) -> None:
        """A blot without an edge: a shadow on the ground, a glow around a lamp."""
        (x, y), (across, down) = centre, radii
        region = self._region(x - across, y - down, x + across, y + down)
        if region is None:
            return
        square = ((region.x - x) / across) ** 2 + ((region.y - y) / down) ** 2
        cover = np.clip(1.0 - square, 0.0, 1.0) ** 2 * alpha
        paint = np.asarray(colour, dtype=np.float32)[None, None, :]
        self.over(region.rows, region.columns, paint, cover.astype(np.float32))

    def mirrored(self) -> "Canvas":
        """The same drawing facing the other way, turned about x = 0 (its sides must be equal)."""
        return Canvas(
            left=self.left,
            top=self.top,
            scale=self.scale,
            rgb=np.ascontiguousarray(self.rgb[:, ::-1]),
            alpha=np.ascontiguousarray(self.alpha[:, ::-1]),
        )


def laid(picture: Plane, drawing: Canvas, x: float, y: float, *, gain: float = 1.0) -> None:
    """Lay ``drawing`` over ``picture`` (h, w, 3) with its origin at (x, y) units, to the pixel.

    ``gain`` multiplies its light: what glows is drawn brighter than the dimming that follows.
    """
    placed = _placed(picture.shape[0], picture.shape[1], drawing, x, y)
    if placed is None:
        return
    target, source = placed
    part = picture[target]
    part *= (1.0 - drawing.alpha[source])[:, :, None]
    part += drawing.rgb[source] if gain == 1.0 else drawing.rgb[source] * np.float32(gain)


def stamped(mask: Plane, drawing: Canvas, x: float, y: float, *, value: float) -> None:
    """Bring ``mask`` (h, w) to ``value`` where ``drawing`` covers it."""
    placed = _placed(mask.shape[0], mask.shape[1], drawing, x, y)
    if placed is None:
        return
    target, source = placed
    part = mask[target]
    part += (value - part) * drawing.alpha[source]


def _placed(
    height: int, width: int, drawing: Canvas, x: float, y: float
) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    rows, columns = drawing.alpha.shape
    top = round((y + drawing.top) * drawing.scale)
    left = round((x + drawing.left) * drawing.scale)
    first_row, last_row = max(0, top), min(height, top + rows)
    first_column, last_column = max(0, left), min(width, left + columns)
    if first_row >= last_row or first_column >= last_column:
        return None
    return (
        (slice(first_row, last_row), slice(first_column, last_column)),
        (slice(first_row - top, last_row - top), slice(first_column - left, last_column - left)),
    )


def grain(rng: np.random.Generator, *, cell_units: float, scale: int, octaves: int = 1) -> Plane:
    """Smooth noise over the whole picture, (168 * scale, 308 * scale), about -1 to 1.

    The lattice is in units, so the same seed gives the same texture at every scale.
    """
    total = np.zeros((HEIGHT_UNITS * scale, WIDTH_UNITS * scale), dtype=np.float32)
    weight = 1.0
    for _ in range(octaves):
        rows, columns = int(HEIGHT_UNITS / cell_units) + 3, int(WIDTH_UNITS / cell_units) + 3
        lattice = rng.uniform(-1.0, 1.0, size=(rows, columns)).astype(np.float32)
        y = (np.arange(total.shape[0], dtype=np.float32) + 0.5) / (scale * cell_units)
        x = (np.arange(total.shape[1], dtype=np.float32) + 0.5) / (scale * cell_units)
        j, i = y.astype(np.int64), x.astype(np.int64)
        v, u = (y - j)[:, None], (x - i)[None, :]
        across = lattice[:, i] * (1.0 - u) + lattice[:, i + 1] * u
        total += weight * (across[j] * (1.0 - v) + across[j + 1] * v)
        weight, cell_units = weight * 0.5, cell_units / 2
    return total
