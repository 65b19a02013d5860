"""Encoded pictures opened within bounds, and what is told of one without a network."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from model.curation.reasons import Refused

MAX_PIXELS = 64 * 2**20  # more is refused before anything is decoded; `vigil train` takes no more
_ENDINGS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}  # what that reads
_SAMPLE_BITS = (8, 10, 12, 14, 16)  # that samples stored in 16 may have
_SMALL_PX = 32
_BITS_SIDE = 8

Image.MAX_IMAGE_PIXELS = None  # judged here, with a reason, instead of a warning


def opened(image: bytes, *, near_px: int | None = None) -> Image.Image:
    """Decode a picture.

    Args:
        image: as a file holds it.
        near_px: the side that it is scaled to afterwards: a JPEG is decoded no larger than needed.

    Returns:
        RGB, of its own size or, with `near_px`, down to that at the shorter side.

    Raises:
        Refused: it is no picture, is cut short, or has too many pixels.
    """
    width, height = size_of(image)
    if width * height > MAX_PIXELS:
        raise Refused("too_large", f"{width}x{height} px")
    try:
        picture = Image.open(io.BytesIO(image))
        if near_px is not None:
            picture.draft("RGB", (near_px, near_px))
        return _rgb(picture)
    except Refused:
        raise
    except Exception as error:
        raise Refused("not_an_image", f"{type(error).__name__}: {error}") from error


def size_of(image: bytes) -> tuple[int, int]:
    """Read width and height in px from a picture's head.

    Raises:
        Refused: it is no picture.
    """
    try:
        return Image.open(io.BytesIO(image)).size
    except Exception as error:
        raise Refused("not_an_image", f"{type(error).__name__}: {error}") from error


def for_training(image: bytes) -> tuple[bytes, str]:
    """Give a picture's file as `vigil train` reads it, and its ending.

    What is no JPEG, PNG or WebP becomes a PNG, upright, of its first picture.

    Raises:
        Refused: its levels have no known range.
    """
    picture = Image.open(io.BytesIO(image))
    if picture.format in _ENDINGS:
        return image, _ENDINGS[picture.format]
    levels = np.asarray(_rgb(ImageOps.exif_transpose(picture)))  # without profile and transparency
    content = io.BytesIO()
    Image.fromarray(levels).save(content, format="PNG")
    return content.getvalue(), "png"


def _rgb(picture: Image.Image) -> Image.Image:
    """Convert to RGB; 16 bits of grey by the fewest bits that hold them, as `vigil train` does.

    Raises:
        Refused: deeper levels, whose range nothing says.
    """
    if picture.mode[0] not in "IF":
        return picture.convert("RGB")
    levels = np.asarray(picture)
    if picture.mode == "F" or levels.min() < 0 or levels.max() >= 1 << _SAMPLE_BITS[-1]:
        raise Refused("not_an_image", f"mode {picture.mode}: levels of no known range")
    bits = next(bits for bits in _SAMPLE_BITS if levels.max() < 1 << bits)
    scaled = np.rint(levels * np.float32(255 / ((1 << bits) - 1))).astype(np.uint8)
    return Image.fromarray(scaled).convert("RGB")


def fingerprint(picture: Image.Image) -> int:
    """Give 64 bits that copies of a picture share: signs of its lowest frequencies.

    The perceptual hash of the `imagehash` package and of COYO's `image_phash`, in other words: the
    8x8 lowest coefficients of a cosine transform of the picture in grey, 32x32, against their
    median.
    """
    grey = picture.convert("L").resize((_SMALL_PX, _SMALL_PX), Image.Resampling.BOX)
    levels = np.asarray(grey, dtype=np.float64)
    lowest = (_COSINES @ levels @ _COSINES.T).reshape(-1)
    bits = lowest > np.median(lowest[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def spread_levels(picture: Image.Image) -> float:
    """Say how far grey levels lie apart: the standard deviation of the picture at 32x32."""
    grey = picture.convert("L").resize((_SMALL_PX, _SMALL_PX), Image.Resampling.BOX)
    return float(np.asarray(grey, dtype=np.float64).std())


def _cosines() -> NDArray[np.float64]:
    places = (np.arange(_SMALL_PX) + 0.5) * np.pi / _SMALL_PX
    return np.cos(np.arange(_BITS_SIDE)[:, None] * places)


_COSINES = _cosines()
