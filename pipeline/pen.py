"""A sheet to draw on with Pillow: lines, dots, boxes and words, with smooth edges."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Point = tuple[float, float]

INK: Colour = (38, 42, 48)
PAPER: Colour = (255, 255, 255)
SCALE = 2  # drawn this much larger, then averaged down: smooth lines
DASH_PX = (6, 4)


class Pen:
    """A white sheet that is drawn on in its own pixels, with fractions.

    Attributes:
        width_px: of the sheet.
        height_px: of the sheet.
    """

    def __init__(self, width_px: int, height_px: int) -> None:
        """Take a new sheet."""
        self.width_px, self.height_px = width_px, height_px
        self._sheet = Image.new("RGB", (width_px * SCALE, height_px * SCALE), PAPER)
        self._draw = ImageDraw.Draw(self._sheet)

    def line(self, points: Sequence[Point], colour: Colour, *, width_px: float = 1.0) -> None:
        """Join points."""
        scaled = [(x * SCALE, y * SCALE) for x, y in points]
        self._draw.line(scaled, fill=colour, width=round(width_px * SCALE), joint="curve")

    def dashes(self, points: Sequence[Point], colour: Colour, *, width_px: float) -> None:
        """Join points with dashes."""
        way = np.array(points, dtype=np.float64)
        lengths = np.concatenate([[0.0], np.hypot(*np.diff(way, axis=0).T).cumsum()])
        for start in np.arange(0.0, lengths[-1], sum(DASH_PX)):
            along = np.array([start, min(start + DASH_PX[0], lengths[-1])])
            xs, ys = (np.interp(along, lengths, way[:, axis]) for axis in (0, 1))
            self.line(list(zip(xs.tolist(), ys.tolist(), strict=True)), colour, width_px=width_px)

    def dot(self, centre: Point, radius_px: float, colour: Colour, *, hole: bool = False) -> None:
        """Draw a disc, or a ring with a white middle."""
        for radius, fill in [(radius_px, colour)] + [(radius_px - 3, PAPER)] * hole:
            x, y = (value * SCALE for value in centre)
            reach = radius * SCALE
            self._draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=fill)

    def box(self, corner: Point, size: Point, colour: Colour) -> None:
        """Fill an upright rectangle."""
        (x, y), (width, height) = corner, size
        right, bottom = (x + width) * SCALE - 1, (y + height) * SCALE - 1
        if right >= x * SCALE and bottom >= y * SCALE:
            self._draw.rectangle((x * SCALE, y * SCALE, right, bottom), fill=colour)

    def text(
        self,
        at: Point,
        words: str,
        *,
        size_px: int = 12,
        colour: Colour = INK,
        anchor: str = "la",
    ) -> float:
        """Write words and return their width in px; `anchor` as Pillow names it."""
        font = _font(size_px * SCALE)
        self._draw.text(
            (at[0] * SCALE, at[1] * SCALE), words, fill=colour, font=font, anchor=anchor
        )
        return float(font.getlength(words)) / SCALE

    def pixels(self) -> NDArray[np.uint8]:
        """Return the sheet, (height_px, width_px, 3) uint8 RGB."""
        size = (self.width_px, self.height_px)
        return np.asarray(self._sheet.resize(size, Image.Resampling.BOX), dtype=np.uint8)


@lru_cache(maxsize=16)
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)
