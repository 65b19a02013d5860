"""Scenes of which the truth is known: a fixed camera's pictures, rendered, degraded and encoded.

A scene is rendered clean as a function of time, so that the clean picture of any moment can be had
again. Sensor noise and a codec then do to it what they do in a camera, and the worker's own reader
takes it apart. The clean pictures at the sampled moments, scaled as the reader scales, are the
truth.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from model.types import PatchGrid
from pipeline.recorded import sampled
from pipeline.sources.encoder import VideoCodec, as_coded, encode_clip
from pipeline.sources.scaler import Scaler
from pipeline.types import Frame
from worker.benchmarks.report import Progress
from worker.benchmarks.street import HEIGHT_PX, WIDTH_PX, Image, Street

Light = Literal["noise0", "noise2", "noise5", "low"]

FPS, CLIP_S = 8, 40
GRID = PatchGrid(rows=9, cols=16)  # 448x252
# What camera makers advise for this many pixels (4CIF); H.265 at three fifths of it.
BITS_PER_S: dict[VideoCodec, int] = {"libx264": 1_024_000, "libx265": 640_000}
PRESETS: dict[VideoCodec, str] = {"libx264": "veryfast", "libx265": "ultrafast"}
NAMES: dict[VideoCodec, str] = {"libx264": "h264", "libx265": "h265"}
GOPS_S = (1, 2, 10)
NOISE_LEVELS: dict[Light, float] = {"noise0": 0.0, "noise2": 2.0, "noise5": 5.0, "low": 6.0}
SCENE_SEEDS: dict[Light, int] = {"noise0": 11, "noise2": 12, "noise5": 13, "low": 14}
LOW_LIGHT_GAIN = 0.5
NUM_NOISE_FIELDS, NOISE_SHIFT_PX = 16, 64  # one of the fields, shifted at random
LOW_LIGHT_GREY = 55.0  # the grey level at which low light has its nominal noise
VERSION = 2  # of all that makes the pictures: clips cached by another are not used


@dataclass(frozen=True, slots=True)
class Cell:
    """One way a scene reaches the worker.

    Attributes:
        codec: the encoder.
        gop_s: seconds between key frames.
        light: sensor noise, or low light; each has a scene of its own.
        moves: whether anything moves.
    """

    codec: VideoCodec
    gop_s: int
    light: Light
    moves: bool = True

    @property
    def name(self) -> str:
        """Such as `h265_gop10s_noise2` or `h264_gop1s_low_static`."""
        return f"{NAMES[self.codec]}_gop{self.gop_s}s_{self.light}" + "_static" * (not self.moves)


CELLS = tuple(
    Cell(codec, gop_s, light, moves)
    for codec, gop_s, light, moves in product(BITS_PER_S, GOPS_S, NOISE_LEVELS, (True, False))
)


# ---------------------------------------------------------------- from a cell to frames


def frames_of(cell: Cell, progress: Progress = lambda _words: None) -> list[Frame]:
    """Return the cell's frames as the worker samples them: 448x252, one a second."""
    return list(sampled(clip(cell, progress), grid_of=lambda _height_px, _width_px: GRID))


def truth_of(cell: Cell, frames: list[Frame]) -> list[Image]:
    """Return the clean picture of each frame, scaled as the frame was: (252, 448, 3) uint8."""
    return [
        _clean_scaled(cell.light, round(frame.pts_s * FPS), moves=cell.moves) for frame in frames
    ]


def clip(cell: Cell, progress: Progress) -> Path:
    """Return the cell's encoded clip, making it if it is not there yet."""
    folder = Path(tempfile.gettempdir()) / "vigil-bench"
    bits_per_s = BITS_PER_S[cell.codec]
    size = f"{WIDTH_PX}x{HEIGHT_PX}x{FPS}x{CLIP_S}s-{bits_per_s // 1000}k"
    path = folder / f"prune-{VERSION}-{size}-{cell.name}.mp4"
    if not path.exists():
        progress(f"making {path.name} (once)")
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as unfinished:
            made = encode_clip(
                Path(unfinished) / path.name,
                camera_pictures(cell.light, moves=cell.moves),
                fps=FPS,
                gop_s=cell.gop_s,
                bits_per_s=bits_per_s,
                codec=cell.codec,
                preset=PRESETS[cell.codec],
            )
            made.rename(path)
    return path


def camera_pictures(light: Light, *, moves: bool) -> Iterator[Image]:
    """Yield what the camera's encoder gets: the clean pictures with sensor noise on them."""
    noise = SensorNoise(light)
    for index in range(CLIP_S * FPS):
        yield noise.on(clean(light, index, moves=moves))


@lru_cache(maxsize=8 * CLIP_S)
def _clean_scaled(light: Light, index: int, *, moves: bool) -> Image:
    scaler = Scaler(lambda _height_px, _width_px: GRID)
    pixels, _grid = scaler.scaled(as_coded(clean(light, index, moves=moves)), aspect=None)
    return pixels


def clean(light: Light, index: int, *, moves: bool) -> Image:
    """Return picture `index` without noise, (504, 896, 3) uint8 RGB."""
    street = _street(SCENE_SEEDS[light])
    picture = street.at(index / FPS) if moves else street.still
    if light != "low":
        return picture
    dark = np.round(np.arange(256) * LOW_LIGHT_GAIN).astype(np.uint8)
    return np.asarray(cv2.LUT(picture, dark), dtype=np.uint8)


@cache
def _street(seed: int) -> Street:
    return Street(seed)


class SensorNoise:
    """Noise of a sensor, new in every picture, grey: a camera filters coloured noise much harder.

    In low light its standard deviation grows with the square root of the signal, as that of shot
    noise does, on top of a floor; elsewhere it is the same everywhere.
    """

    def __init__(self, light: Light) -> None:
        """Prepare the noise of `light`."""
        self._rng = np.random.default_rng(SCENE_SEEDS[light])
        self._levels = NOISE_LEVELS[light]
        size = (HEIGHT_PX + NOISE_SHIFT_PX, WIDTH_PX + NOISE_SHIFT_PX)
        self._fields = [
            cv2.merge([self._rng.standard_normal(size, dtype=np.float32) * self._levels] * 3)
            for _ in range(NUM_NOISE_FIELDS)
        ]
        grey = np.arange(256, dtype=np.float32)
        self._gain = np.sqrt(0.25 + 0.75 * grey / LOW_LIGHT_GREY) if light == "low" else None

    def on(self, picture: Image) -> Image:
        """Return `picture` with the next noise on it."""
        if not self._levels:
            return picture
        top, left = self._rng.integers(0, NOISE_SHIFT_PX, 2)
        field = self._fields[self._rng.integers(len(self._fields))]
        noise = field[top : top + HEIGHT_PX, left : left + WIDTH_PX]
        if self._gain is not None:
            noise = noise * cv2.LUT(picture, self._gain)
        return np.asarray(cv2.add(picture, noise, dtype=cv2.CV_8U), dtype=np.uint8)
