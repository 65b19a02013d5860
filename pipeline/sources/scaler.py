"""Decoded frames to pixels on their grid, the right way up."""

from collections.abc import Callable
from fractions import Fraction
from math import prod
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from model.errors import InputError
from model.types import PatchGrid
from pipeline.errors import SourceError
from pipeline.sources.shape import AS_TOLD, Shape, Turn

GridOf = Callable[[int, int], PatchGrid]
"""(height_px, width_px) of a picture -> the token grid it is scaled to."""

# Without the last two, swscale's short cuts come out two levels too dark; with them it is right to
# the rounding.
BICUBIC_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
# Packed RGB has the same values, but swscale makes it without SIMD, which takes twice as long.
PLANAR_RGB, PLANES = "gbrp", (1, 2, 0)


class Scaler:
    """Scales decoded frames to their grid with one swscale context, which is costly to set up."""

    def __init__(self, grid_of: GridOf, shape: Shape = AS_TOLD) -> None:
        """Ask `grid_of` for the grid of each size of picture, seen in `shape`."""
        self._grid_of = grid_of
        self._shape = shape
        self._reformatter = VideoReformatter()
        self._size_px: tuple[int, int] | None = None
        self._grid = PatchGrid(1, 1)
        self._seen: tuple[int, int, int] | None = None
        self._turn = Turn()

    def scaled(
        self, frame: VideoFrame, *, aspect: Fraction | None
    ) -> tuple[NDArray[np.uint8], PatchGrid]:
        """Return `frame` on the grid for the size it is shown at, and that grid.

        A picture that the video, or `shape`, says to lie is turned upright.

        Args:
            frame: in any pixel format and size.
            aspect: width over height of one sample, of anamorphic video; None or 0 when not told.

        Returns:
            (grid.height_px, grid.width_px, 3) uint8 RGB, C-contiguous, and the grid.

        Raises:
            SourceError: `corrupt` when there is no grid for such a size.
        """
        # A frame whose side data are read is held by them, 3 MB at 1080p, until the garbage
        # collector comes, in minutes: they are read where the size or the rotation is new, and of
        # a small copy.
        seen = (frame.height, frame.width, frame.rotation)
        if seen != self._seen:
            small = self._reformatted(frame, height_px=16, width_px=16)
            self._seen, self._turn = seen, self._shape.turn(small)
        size_px = self._shape.size_px(frame.height, frame.width, sample_aspect=aspect)
        if self._turn.is_lying:
            size_px = size_px[::-1]
        if size_px != self._size_px:
            self._size_px, self._grid = size_px, self._gridded(*size_px)
        height_px, width_px = self._grid.height_px, self._grid.width_px
        if self._turn.is_lying:
            height_px, width_px = width_px, height_px
        scaled = self._reformatted(frame, height_px=height_px, width_px=width_px)
        pixels = _room(self._grid)
        for channel, plane in zip(PLANES, scaled.planes, strict=True):
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(height_px, plane.line_size)
            pixels[..., channel] = self._turn.applied(rows[:, :width_px])
        return pixels, self._grid

    def _reformatted(self, frame: VideoFrame, *, height_px: int, width_px: int) -> VideoFrame:
        return self._reformatter.reformat(
            frame,
            width=width_px,
            height=height_px,
            format=PLANAR_RGB,
            interpolation=BICUBIC_EXACT,
            threads=1,
        )

    def _gridded(self, height_px: int, width_px: int) -> PatchGrid:
        try:
            return self._grid_of(height_px, width_px)
        except InputError as exc:
            raise SourceError("corrupt", str(exc)) from exc


def _room(grid: PatchGrid) -> NDArray[np.uint8]:
    """Return (grid.height_px, grid.width_px, 3) of memory that goes back as soon as it is let go.

    A picture's place in the heap of its camera's thread, which decodes on meanwhile, does not: what
    lasts settles in it, and the heap grows, by 0.7 MB a camera at 1080p.
    """
    shape = (grid.height_px, grid.width_px, 3)
    room = mmap(-1, prod(shape), flags=MAP_PRIVATE | MAP_ANONYMOUS)
    return np.frombuffer(room, np.uint8).reshape(shape)
