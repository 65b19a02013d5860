"""Rectangles of a camera's picture that are masked, or that do not count."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle in fractions of the picture, so that it survives a change of resolution.

    Attributes:
        left, top, right, bottom: its edges; 0 is the picture's left or top edge, 1 its other one.
    """

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            ConfigError: an edge outside 0..1, or nothing between two edges.
        """
        edges = (self.left, self.top, self.right, self.bottom)
        if not (0 <= self.left < self.right <= 1 and 0 <= self.top < self.bottom <= 1):
            raise ConfigError(
                "region: expected left, top, right, bottom with 0 <= left < right <= 1 and "
                f"0 <= top < bottom <= 1, got {', '.join(f'{edge:g}' for edge in edges)}"
            )


def blacked_out(pixels: NDArray[np.uint8], regions: Sequence[Region]) -> NDArray[np.uint8]:
    """Return the picture with the regions black; pixels touched in part are black too.

    Args:
        pixels: (H, W, 3); not changed.
        regions: none gives the very array back.

    Returns:
        (H, W, 3) uint8, C-contiguous.
    """
    if not regions:
        return pixels
    masked = pixels.copy()
    height, width = pixels.shape[:2]
    for region in regions:
        rows = slice(floor(region.top * height), ceil(region.bottom * height))
        masked[rows, floor(region.left * width) : ceil(region.right * width)] = 0
    return masked
