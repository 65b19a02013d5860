"""What the model saw, for people: as JPEG, at half its size, side by side."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITY = 80


def jpeg_of(pixels: NDArray[np.uint8]) -> bytes:
    """Return (height, width, 3) uint8 RGB as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def halved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture at half its width and height; each pixel is the mean of four."""
    return np.asarray(Image.fromarray(pixels).reduce(2))


def strip_of(row: Sequence[NDArray[np.uint8]]) -> bytes:
    """Return pictures side by side as a JPEG file; lower ones stand on black."""
    height_px = max(one.shape[0] for one in row)
    padded = [np.pad(one, ((0, height_px - one.shape[0]), (0, 0), (0, 0))) for one in row]
    return jpeg_of(np.concatenate(padded, axis=1))
