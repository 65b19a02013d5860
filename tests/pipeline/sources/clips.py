"""Clips the tests make: small ones whose pictures say when they are from, and a yard with life."""

from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from model.scenes import Scene
from model.types import PatchGrid
from pipeline.sources.encoder import as_coded, encode_clip

FPS = 10
NUM_MOMENTS = 80
GRID = PatchGrid(4, 6)
BUSY_YARD_SEED = 10_000_024  # daylight, a noisy sensor, somebody under way most of the time


def grid_of(_height_px: int, _width_px: int) -> PatchGrid:
    return GRID


def moment(index: int, *, height_px: int = 96, width_px: int = 128) -> NDArray[np.uint8]:
    """A picture whose brightness is its index, on a ground that is no flat surface."""
    y, x = np.mgrid[0:height_px, 0:width_px]
    ground = 8 * ((x // 16 + y // 16) % 2)
    grey = (40 + 2 * (index % NUM_MOMENTS) + ground).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def index_of(pixels: NDArray[np.uint8]) -> int:
    """The index of the moment that was encoded (up to 80)."""
    return round((float(pixels.mean()) - 44) / 2)


def clip(
    path: Path, *, seconds: float, gop_s: float, size_px: tuple[int, int] = (96, 128), **how: Any
) -> Path:
    height_px, width_px = size_px
    pictures = (
        moment(i, height_px=height_px, width_px=width_px) for i in range(round(seconds * FPS))
    )
    return encode_clip(path, pictures, fps=FPS, gop_s=gop_s, bits_per_s=2_000_000, **how)


def yard(path: Path, *, seconds: float) -> Path:
    """Write a rendered yard that people and cars cross, as old cameras do: MPEG-4."""
    scene = Scene.from_seed(BUSY_YARD_SEED, duration_s=seconds)
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.height, stream.width = scene.frame(0.0, scale=2).shape[:2]
        stream.bit_rate = 1_500_000
        for index in range(round(seconds * FPS)):
            container.mux(stream.encode(as_coded(scene.frame(index / FPS, scale=2))))
        container.mux(stream.encode(None))
    return path
