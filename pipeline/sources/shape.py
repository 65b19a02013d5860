"""How a video's picture is to be seen: its aspect, and which way up."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Self, cast

import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of a camera's pictures that the video does not say.

    Attributes:
        aspect: width over height of the picture as it comes; None: as the video tells it.
        rotate_deg: clockwise, after what the video tells: 0, 90, 180 or 270.
    """

    aspect: Fraction | None = None
    rotate_deg: int = 0

    def size_px(
        self, height_px: int, width_px: int, *, sample_aspect: Fraction | None = None
    ) -> tuple[int, int]:
        """Return (height, width) at which a picture's samples would be square, before it is turned.

        Args:
            height_px: as it comes.
            width_px: as it comes.
            sample_aspect: width over height of one sample; None or 0 when not told.
        """
        wide_px = width_px * (sample_aspect or 1)
        if self.aspect is not None:
            wide_px = height_px * self.aspect
        return height_px, max(1, round(wide_px))

    def turn(self, frame: VideoFrame) -> "Turn":
        """Return what brings a frame upright."""
        told = Turn.of(frame)
        for _ in range(self.rotate_deg // 90):
            told = Turn(-told.down_x, -told.down_y, told.right_x, told.right_y)
        return told


AS_TOLD = Shape()


@dataclass(frozen=True, slots=True)
class Turn:
    """A quarter turn, a flip, or both: the pixel at (x, y) goes to (right, down).

    Attributes:
        right_x: of x in right = right_x * x + right_y * y; 1, 0 or -1 like the others.
        right_y: of y in it.
        down_x: of x in down = down_x * x + down_y * y.
        down_y: of y in it.
    """

    right_x: int = 1
    right_y: int = 0
    down_x: int = 0
    down_y: int = 1

    @classmethod
    def of(cls, frame: VideoFrame) -> Self:
        """Read a frame's display matrix, to the nearest quarter turn."""
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return cls()
        a, b, _, c, d = np.frombuffer(bytes(cast("SideData", matrix)), "<i4")[:5].astype(np.int64)
        if abs(a * d) >= abs(b * c):
            return cls(int(np.sign(a)) or 1, 0, 0, int(np.sign(d)) or 1)
        return cls(0, int(np.sign(c)), int(np.sign(b)), 0)

    @property
    def is_lying(self) -> bool:
        """Whether height and width are exchanged."""
        return self.right_x == 0

    def applied(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return (H, W, 3) pixels turned, as a view."""
        if self.is_lying:
            return pixels.swapaxes(0, 1)[:: self.down_x, :: self.right_y]
        return pixels[:: self.down_y, :: self.right_x]
