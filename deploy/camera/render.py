"""Render the demo camera's scene: a yard with a gate, a visitor, a parcel, a car and a dog.

    .venv/bin/python deploy/camera/render.py deploy/camera/yard.mp4

One minute, 640x360, 10 pictures a second, ending as it begins, so that it loops without a seam:

     0 s  nobody              19 s  puts a parcel at the door    41 s  a dog runs across
     8 s  the gate opens      26 s  the gate closes              48 s  a resident comes out
    11 s  a visitor comes in  30 s  a car drives by              51 s  takes the parcel in
"""

import argparse
from collections.abc import Iterator
from fractions import Fraction
from math import cos, pi, sin
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH_PX, HEIGHT_PX, FPS, SECONDS = 640, 360, 10, 60
SCALE = 2  # drawn this much larger, then averaged down: smooth edges, movement below a pixel
SHIFT = 4  # cv2's fixed-point bits
NOISE_LEVELS = 1.2
MAX_BYTES = 900_000

Point = tuple[float, float]
Colour = tuple[int, int, int]
Image = NDArray[np.uint8]

DOOR: Point = (112, 196)
GATE: Point = (420, 168)
GATE_WIDTH = 92.0
GLASS: Colour = (120, 146, 162)


class Canvas:
    """A picture drawn on in the scene's own pixels, 640x360, with fractions."""

    def __init__(self, image: Image) -> None:
        """Draw onto `image`, (360 * SCALE, 640 * SCALE, 3) uint8 RGB."""
        self.image = image

    def polygon(self, points: list[Point], colour: Colour) -> None:
        """Fill a polygon."""
        cv2.fillPoly(self.image, [_fixed(points)], colour, cv2.LINE_AA, SHIFT)

    def box(self, left: float, top: float, size: Point, colour: Colour) -> None:
        """Fill an upright rectangle."""
        right, bottom = left + size[0], top + size[1]
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def line(self, start: Point, end: Point, colour: Colour, *, width: float) -> None:
        """Draw a line with round ends."""
        a, b = _fixed([start, end])
        thickness = max(1, round(width * SCALE))
        cv2.line(self.image, a, b, colour, thickness, cv2.LINE_AA, SHIFT)

    def ellipse(self, centre: Point, radii: Point, colour: Colour) -> None:
        """Fill an upright ellipse."""
        (c, r) = _fixed([centre, radii])
        cv2.ellipse(self.image, c, r, 0, 0, 360, colour, -1, cv2.LINE_AA, SHIFT)

    def shade(self, centre: Point, radii: Point, *, strength: float) -> None:
        """Darken an ellipse softly: the shadow under something."""
        mask = np.zeros(self.image.shape[:2], np.uint8)
        (c, r) = _fixed([centre, radii])
        cv2.ellipse(mask, c, r, 0, 0, 360, round(255 * strength), -1, cv2.LINE_AA, SHIFT)
        top = max(0, int((centre[1] - 3 * radii[1]) * SCALE))
        bottom = int((centre[1] + 3 * radii[1]) * SCALE) + 1
        soft = cv2.GaussianBlur(mask[top:bottom], (0, 0), 2.0 * SCALE)[..., None] / 255.0
        self.image[top:bottom] = self.image[top:bottom] * (1.0 - soft)


def _fixed(points: list[Point]) -> NDArray[np.int32]:
    return np.round(np.array(points) * SCALE * 2**SHIFT).astype(np.int32)


def background() -> Image:
    """Draw what never moves: sky, house, wall, lawn, path, drive, tree."""
    rng = np.random.default_rng(7)
    image = np.zeros((HEIGHT_PX * SCALE, WIDTH_PX * SCALE, 3), np.uint8)
    _gradient(image, 0, 112, (150, 178, 205), (214, 222, 222))
    _gradient(image, 112, 360, (118, 138, 92), (86, 112, 66))
    canvas = Canvas(image)
    for x, radius in ((250, 30), (300, 22), (556, 34), (612, 26), (360, 18)):
        canvas.ellipse((x, 104), (radius, radius * 0.8), (104, 126, 98))
    canvas.box(0, 96, (640, 72), (188, 176, 158))  # the yard's wall
    for row in range(6):
        for x in range(-20 + 20 * (row % 2), 640, 40):
            canvas.line((x, 100 + 12 * row), (x, 110 + 12 * row), (174, 162, 145), width=0.8)
        canvas.line((0, 99 + 12 * row), (640, 99 + 12 * row), (174, 162, 145), width=0.8)
    canvas.box(0, 92, (640, 6), (160, 148, 132))
    _house(canvas)
    canvas.polygon([(88, 200), (150, 200), (250, 262), (150, 262)], (176, 170, 160))  # path
    canvas.polygon([(420, 168), (512, 168), (560, 262), (390, 262)], (176, 170, 160))
    canvas.box(0, 252, (640, 70), (150, 148, 146))  # drive
    canvas.box(0, 250, (640, 3), (196, 192, 184))
    canvas.box(0, 321, (640, 3), (196, 192, 184))
    canvas.box(GATE[0], 104, (GATE_WIDTH, 64), (166, 172, 170))  # the street behind the gate
    canvas.box(GATE[0], 148, (GATE_WIDTH, 20), (128, 128, 128))
    canvas.line((590, 210), (590, 120), (98, 76, 56), width=9)  # tree
    for x, y, radius in ((590, 84, 44), (562, 104, 30), (618, 108, 32), (594, 58, 28)):
        canvas.ellipse((x, y), (radius, radius * 0.85), (72, 106, 62))
        canvas.ellipse((x - 6, y - 8), (radius * 0.6, radius * 0.5), (90, 124, 74))
    canvas.shade((590, 212), (46, 8), strength=0.35)
    texture = rng.normal(0.0, 4.0, (HEIGHT_PX, WIDTH_PX, 1)).astype(np.float32)
    texture = cv2.GaussianBlur(texture, (0, 0), 1.2)[..., None] * 2.0
    texture = cv2.resize(texture, None, fx=SCALE, fy=SCALE)[..., None]
    return np.clip(image + texture, 0, 255).astype(np.uint8)


def _gradient(image: Image, top: int, bottom: int, upper: Colour, lower: Colour) -> None:
    share = np.linspace(0.0, 1.0, (bottom - top) * SCALE)[:, None, None]
    image[top * SCALE : bottom * SCALE] = np.array(upper) * (1 - share) + np.array(lower) * share


def _house(canvas: Canvas) -> None:
    canvas.polygon([(0, 20), (196, 44), (196, 200), (0, 214)], (222, 208, 186))
    canvas.polygon([(0, 4), (206, 34), (206, 50), (0, 24)], (132, 84, 66))
    canvas.polygon([(0, 208), (196, 195), (196, 201), (0, 215)], (150, 142, 132))
    canvas.polygon([(88, 104), (136, 107), (136, 199), (88, 203)], (240, 236, 228))
    canvas.polygon([(93, 109), (131, 112), (131, 199), (93, 202)], (88, 60, 48))
    canvas.ellipse((125, 158), (2.2, 2.2), (226, 200, 120))
    for left in (18, 154):
        canvas.box(left, 92, (36 if left < 100 else 28, 48), (240, 236, 228))
        canvas.box(left + 4, 96, (28 if left < 100 else 20, 40), (96, 118, 136))
        canvas.line((left + 14, 96), (left + 14, 136), (240, 236, 228), width=2)


def gate(canvas: Canvas, openness: float) -> None:
    """Draw the sliding gate, 0 closed to 1 open, and the pillars it runs between."""
    left, base = GATE
    visible = GATE_WIDTH * (1.0 - openness)
    if visible > 0.5:
        dark: Colour = (62, 74, 78)
        start = left + GATE_WIDTH - visible
        for y in (110, 162):
            canvas.line((start, y), (left + GATE_WIDTH, y), dark, width=3)
        bar = left + GATE_WIDTH
        while bar >= start:
            canvas.line((bar, 108), (bar, 166), dark, width=2)
            bar -= 7.0
    for x in (left - 12, left + GATE_WIDTH):
        canvas.box(x, 94, (12, base - 92), (206, 196, 180))
        canvas.box(x - 2, 90, (16, 5), (150, 140, 126))


def person(
    canvas: Canvas, feet: Point, *, step: float, shirt: Colour, parcel: bool, facing: float
) -> None:
    """Draw someone walking; nearer to the camera is larger.

    Args:
        canvas: what to draw on.
        feet: where they stand.
        step: phase of the stride in radians; 0 stands.
        shirt: colour of it.
        parcel: whether one is carried.
        facing: -1 to the left, 1 to the right.
    """
    x, y = feet
    tall = 104.0 * depth(y)
    swing = sin(step) * tall * 0.13
    hip, neck = (x, y - tall * 0.46), (x, y - tall * 0.8)
    canvas.shade((x + 3, y), (tall * 0.2, tall * 0.05), strength=0.4)
    trousers: Colour = (48, 54, 72)
    canvas.line(hip, (x - swing, y), _dim(trousers, 0.85), width=tall * 0.1)
    canvas.line(hip, (x + swing, y), trousers, width=tall * 0.1)
    canvas.line((x, neck[1] + 3), (x - swing, y - tall * 0.5), _dim(shirt, 0.8), width=tall * 0.075)
    canvas.line((x, neck[1] + tall * 0.06), hip, shirt, width=tall * 0.19)
    if parcel:
        held = (x + facing * tall * 0.2, y - tall * 0.56)
        canvas.line((x, neck[1] + 3), held, shirt, width=tall * 0.075)
        box(canvas, (held[0], held[1] + tall * 0.1), size=tall * 0.24)
    else:
        canvas.line((x, neck[1] + 3), (x + swing, y - tall * 0.5), shirt, width=tall * 0.075)
    canvas.ellipse((x, y - tall * 0.9), (tall * 0.085, tall * 0.1), (226, 182, 150))
    canvas.ellipse((x - facing, y - tall * 0.94), (tall * 0.09, tall * 0.07), (70, 50, 40))


def depth(y: float) -> float:
    """How large things are whose feet are at `y`: 1 at the drive."""
    return 0.62 + 0.38 * (y - 168) / (285 - 168)


def _dim(colour: Colour, share: float) -> Colour:
    red, green, blue = (round(level * share) for level in colour)
    return red, green, blue


def box(canvas: Canvas, base: Point, *, size: float) -> None:
    """Draw a cardboard parcel standing at `base`."""
    x, y = base
    canvas.box(x - size / 2, y - size * 0.8, (size, size * 0.8), (190, 146, 94))
    canvas.box(x - size * 0.08, y - size * 0.8, (size * 0.16, size * 0.8), (222, 196, 150))


def car(canvas: Canvas, x: float) -> None:
    """Draw a car on the drive, its middle at `x`, heading left."""
    y, size = 309.0, 1.45
    red: Colour = (176, 44, 40)

    def at(*offsets: Point) -> list[Point]:
        return [(x + right * size, y - up * size) for right, up in offsets]

    canvas.shade((x, y + 1), (86 * size, 7 * size), strength=0.5)
    canvas.polygon(
        at((-84, 10), (-84, 26), (-76, 33), (-38, 37), (62, 37), (80, 32), (84, 14), (80, 8),
           (-78, 7)), red,
    )  # fmt: skip
    canvas.polygon(at((-42, 36), (-20, 57), (36, 58), (62, 36)), _dim(red, 0.85))
    canvas.polygon(at((-33, 37), (-16, 53), (4, 53), (4, 37)), GLASS)
    canvas.polygon(at((9, 37), (9, 53), (33, 54), (51, 37)), GLASS)
    canvas.polygon(at((5, 36), (6, 36), (6, 11), (5, 11)), _dim(red, 0.7))
    canvas.polygon(at((-84, 27), (-76, 27), (-76, 21), (-84, 21)), (250, 240, 200))
    canvas.polygon(at((78, 28), (84, 28), (84, 21), (78, 21)), (120, 16, 16))
    for middle in (-52, 52):
        (wheel,) = at((middle, 8))
        canvas.ellipse(wheel, (15 * size, 15 * size), (30, 30, 32))
        canvas.ellipse(wheel, (8 * size, 8 * size), (172, 174, 178))
        for spoke in range(5):
            angle = x / (15 * size) + spoke * 2 * pi / 5
            rim = at((middle + 7 * cos(angle), 8 - 7 * sin(angle)))[0]
            canvas.line(wheel, rim, (110, 112, 116), width=2)


def dog(canvas: Canvas, x: float, *, y: float, stride: float) -> None:
    """Draw a dog that runs to the right."""
    coat: Colour = (122, 84, 52)
    canvas.shade((x, y), (20, 4), strength=0.4)
    for leg, phase in ((-13, 0.0), (-9, pi), (10, pi), (14, 0.0)):
        foot = x + leg + 6 * sin(stride + phase)
        canvas.line((x + leg, y - 12), (foot, y), _dim(coat, 0.8), width=3)
    canvas.ellipse((x, y - 15), (18, 6.5), coat)
    canvas.line((x + 14, y - 18), (x + 21, y - 24), coat, width=7)
    canvas.ellipse((x + 24, y - 25), (7, 5), coat)
    canvas.ellipse((x + 30, y - 24), (4, 2.6), _dim(coat, 0.7))
    canvas.ellipse((x + 20, y - 27), (2.5, 4.5), _dim(coat, 0.6))
    canvas.line((x - 16, y - 18), (x - 25, y - 25 + 3 * sin(2 * stride)), coat, width=3)


def scene(canvas: Canvas, t_s: float) -> None:
    """Draw everything that moves, `t_s` seconds into the minute, far things first."""
    gate(canvas, ramp(t_s, 8, 11) - ramp(t_s, 26, 29))
    if 19 <= t_s < 51:
        box(canvas, (DOOR[0] + 34, DOOR[1] + 10), size=20)
    if 47.5 <= t_s < 55:  # the door stands open
        canvas.polygon([(93, 109), (131, 112), (131, 199), (93, 202)], (52, 44, 40))
        canvas.polygon([(93, 109), (101, 114), (101, 205), (93, 202)], (88, 60, 48))
    if 48 <= t_s < 54.5:
        out = ramp(t_s, 48, 50.5) - ramp(t_s, 52, 54.5)
        feet = (DOOR[0] + 6 * out, DOOR[1] + 2 + 8 * out)
        moving = 2.2 * pi * t_s * (t_s < 50.5 or t_s > 52)
        person(canvas, feet, step=moving, shirt=(70, 120, 84), parcel=t_s >= 51, facing=1.0)
    if 11 <= t_s < 26:
        visitor(canvas, t_s)
    if 41 <= t_s < 47:
        dog(canvas, -40 + 720 * ramp(t_s, 41, 47), y=238, stride=9 * t_s)
    if 30 <= t_s < 40:
        car(canvas, 790 - 940 * ramp(t_s, 30, 40))


def visitor(canvas: Canvas, t_s: float) -> None:
    """Draw the visitor: in by the gate, to the door with the parcel, and out again."""
    street, inside, door = (GATE[0] + 46, 166.0), (GATE[0] + 20, 236.0), (DOOR[0] + 60, 218.0)
    going = t_s >= 19.5
    share = ramp(t_s, 20, 26) if going else ramp(t_s, 11, 18.5)
    way = [door, inside, street] if going else [street, inside, door]
    (x0, y0), (x1, y1), (x2, y2) = way
    turn = 0.78 if going else 0.22
    if share < turn:
        feet = (x0 + (x1 - x0) * share / turn, y0 + (y1 - y0) * share / turn)
    else:
        rest = (share - turn) / (1 - turn)
        feet = (x1 + (x2 - x1) * rest, y1 + (y2 - y1) * rest)
    stands = 18.5 <= t_s < 20
    person(
        canvas,
        feet,
        step=0.35 if stands else 2.4 * pi * t_s,
        shirt=(52, 88, 150),
        parcel=t_s < 19,
        facing=1.0 if going else -1.0,
    )


def ramp(t_s: float, start_s: float, end_s: float) -> float:
    """Rise from 0 to 1 between two moments."""
    return min(1.0, max(0.0, (t_s - start_s) / (end_s - start_s)))


def pictures() -> Iterator[Image]:
    """Yield the minute, (360, 640, 3) uint8 RGB each."""
    rng = np.random.default_rng(11)
    still = background()
    for index in range(SECONDS * FPS):
        canvas = Canvas(still.copy())
        scene(canvas, index / FPS)
        small = cv2.resize(canvas.image, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_AREA)
        noise = rng.normal(0.0, NOISE_LEVELS, small.shape[:2])[..., None]
        yield np.clip(small + noise, 0, 255).astype(np.uint8)


def encode(path: Path) -> None:
    """Write the minute as H.264 with a key frame a second.

    Raises:
        SystemExit: the file came out larger than it may be.
    """
    with av.open(path, "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        stream.codec_context.gop_size = FPS
        stream.codec_context.max_b_frames = 0
        stream.codec_context.options = {
            "preset": "veryslow",
            "crf": "27",
            "x264-params": "scenecut=0:open-gop=0",
        }
        for picture in pictures():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    if path.stat().st_size > MAX_BYTES:
        raise SystemExit(f"expected at most {MAX_BYTES} bytes, got {path.stat().st_size}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Render the demo camera's minute.")
    parser.add_argument("path", type=Path)
    encode(parser.parse_args().path)
