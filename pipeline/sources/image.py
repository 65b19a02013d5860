"""One encoded image to pixels on a camera's grid. The only file that imports Pillow."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from model.errors import InputError
from model.types import PatchGrid
from pipeline.errors import FrameError

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_PIXELS = 64 * 2**20
MAX_QUOTED_BYTES = 16

# Half a JPEG's frequencies can be left out while its picture stays twice the grid: at 3840x2160 to
# 448x252 that is 19 ms for 123 ms, and 52.5 dB from the full decode, at most 6 of 255 levels off.
# At once the grid's size it would be 17 ms, but 40.7 dB and up to 37 levels.
DRAFT_RATIO = 2

# What Pillow's readers let through on bytes that only look like an image: half a million damaged
# files raised the first three and warnings (where those are errors), its own source names the rest.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Warning,
)

# EXIF orientation -> what brings the stored picture upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = {5, 6, 7, 8}  # orientations that exchange height and width


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A picture on its grid.

    Attributes:
        pixels: (grid.height_px, grid.width_px, 3) uint8 RGB, C-contiguous, upright.
        grid: what `grid_of` gave for the upright picture's own size.
    """

    pixels: NDArray[np.uint8]
    grid: PatchGrid


def decode_image(value: bytes, *, grid_of: Callable[[int, int], PatchGrid]) -> DecodedImage:
    """Decode a JPEG, PNG or WebP, upright and scaled to its grid by bicubic interpolation.

    The first picture of an animation is taken; transparency lies over black; 16-bit grey is
    brought to 8 bits; a damaged orientation tag is passed over.

    Args:
        value: the file's bytes.
        grid_of: (height_px, width_px) of the upright picture to its grid.

    Raises:
        FrameError: no such image, one that breaks off or is damaged, one of more than 64 Mi pixels
            (told from its header, before any memory is taken for them), or one without a grid.
    """
    try:
        image: Image.Image = Image.open(BytesIO(value), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise FrameError(f"expected at most {MAX_PIXELS} pixels, got more: {exc}") from exc
    except _DAMAGE as exc:
        raise FrameError(f"expected a JPEG, PNG or WebP image, got {_quoted(value)}") from exc
    if image.width * image.height > MAX_PIXELS:
        raise FrameError(f"expected at most {MAX_PIXELS} pixels, got {image.width}x{image.height}")
    orientation = _orientation(image)
    is_lying = orientation in _LYING
    grid = _grid(image, grid_of, is_lying=is_lying)
    size = (grid.height_px, grid.width_px) if is_lying else (grid.width_px, grid.height_px)
    kind = image.format
    try:
        drafted = image.draft(None, (size[0] * DRAFT_RATIO, size[1] * DRAFT_RATIO))
        box = drafted[1] if drafted else None  # a drafted picture may end within its last pixel
        image = _rgb(image).resize(size, Image.Resampling.BICUBIC, box=box)
    except _DAMAGE as exc:
        raise FrameError(
            f"expected a whole {kind} image, got {_quoted(value)} that cannot be decoded: {exc}"
        ) from exc
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    return DecodedImage(np.array(image, dtype=np.uint8, order="C"), grid)


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DAMAGE:
        return 1
    return orientation if isinstance(orientation, int) else 1


def _grid(
    image: Image.Image, grid_of: Callable[[int, int], PatchGrid], *, is_lying: bool
) -> PatchGrid:
    width_px, height_px = image.size
    try:
        return grid_of(width_px, height_px) if is_lying else grid_of(height_px, width_px)
    except InputError as exc:
        raise FrameError(str(exc)) from exc


def _rgb(image: Image.Image) -> Image.Image:
    """Decode, and return the picture as 8-bit RGB."""
    image.load()
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        opaque = Image.new("RGB", image.size)
        opaque.paste(image, mask=image.getchannel("A"))
        return opaque
    return image.convert("RGB")


def _quoted(value: bytes) -> str:
    return f"{len(value)} bytes starting {value[:MAX_QUOTED_BYTES]!r}"
