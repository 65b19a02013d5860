"""One encoded image to pixels on a camera's grid, in memory that its header bounds beforehand."""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, JpegImagePlugin

from model.errors import InputError
from model.types import PatchGrid
from pipeline.errors import FrameError
from pipeline.sources.shape import AS_TOLD, Shape
from pipeline.sources.webp import WebP

FORMATS = ("JPEG", "PNG")  # by Pillow; WebP by libav
MAX_PIXELS = 16 * 2**20  # 4096x4096: more than cameras send
MAX_BYTES_A_PIXEL = 8.5  # while a picture is decoded; 143 MB at MAX_PIXELS
MAX_JPEG_SCANS = 100  # a progressive one has ten; each goes over the whole picture, even if empty
MAX_QUOTED_BYTES = 16
BAND_PX = 32  # rows that are brought to RGB and scaled at a time

# Half a JPEG's frequencies can be left out while its picture stays twice the grid: at 3840x2160 to
# 448x252 that is 19 ms for 123 ms, and 52.5 dB from the full decode, at most 6 of 255 levels off.
# At once the grid's size it would be 17 ms, but 40.7 dB and up to 37 levels.
DRAFT_RATIO = 2

# How many bits a sample may have that is stored in 16: those of sensors, and of 8-bit pictures.
SAMPLE_BITS = (8, 10, 12, 14, 16)
# Depth and colour type in a PNG's header -> the layout in which Pillow, which takes one byte of the
# two, takes the lower.
_LOW_BYTES = {b"\x10\x02": "RGB;16L", b"\x10\x06": "RGBA;16L"}

_JPEG_END = b"\xff\xd9"
_JPEG_SCAN = re.compile(rb"\xff\xda..([\x01-\x04])", re.S)
_ANYTHING = b"\x5a\xc3\x96\x3c" * 64  # in a picture's place, and without a marker

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
_CLOCKWISE = {
    90: Image.Transpose.ROTATE_270,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A picture on its grid.

    Attributes:
        pixels: (grid.height_px, grid.width_px, 3) uint8 RGB, C-contiguous, upright.
        grid: what `grid_of` gave for the upright picture's own size.
    """

    pixels: NDArray[np.uint8]
    grid: PatchGrid


def decode_image(
    value: bytes,
    *,
    grid_of: Callable[[int, int], PatchGrid],
    max_pixels: int = MAX_PIXELS,
    shape: Shape = AS_TOLD,
) -> DecodedImage:
    """Decode a JPEG, PNG or WebP, upright and scaled to its grid by bicubic interpolation.

    The first picture of an animation is taken; transparency lies over black; a damaged orientation
    tag is passed over. Samples of 16 bits are brought to 8 by the fewest of SAMPLE_BITS that hold
    the largest of them, since cameras store 10 or 12 bits so without saying it (16-bit grey with
    transparency: by 16). A JPEG needs no end marker where nothing else is missing.

    Memory stays under MAX_BYTES_A_PIXEL for each of `max_pixels`, whatever the format.

    Args:
        value: the file's bytes.
        grid_of: (height_px, width_px) of the upright picture to its grid.
        max_pixels: largest picture; told from the header, before any memory is taken for it.
        shape: what the file does not say of its picture.

    Raises:
        FrameError: no such image, one that breaks off or is damaged, one that is too large, or one
            without a grid.
    """
    image = _opened(value, max_pixels)
    kind = "WebP" if isinstance(image, WebP) else image.format
    if image.size[0] * image.size[1] > max_pixels:
        raise FrameError(
            f"expected at most {max_pixels} pixels, got {image.size[0]}x{image.size[1]}"
        )
    orientation = _orientation(image)
    is_lying = (orientation in _LYING) != (shape.rotate_deg % 180 == 90)
    width_px, height_px = image.size
    grid = _grid(shape.size_px(height_px, width_px), grid_of, is_lying=is_lying)
    size = (grid.height_px, grid.width_px) if is_lying else (grid.width_px, grid.height_px)
    try:
        if isinstance(image, WebP):
            upright = _scaled(image.bands(BAND_PX), size, of=image.size)
        elif isinstance(image, JpegImagePlugin.JpegImageFile):
            upright = _jpeg(image, value, size, max_bytes=MAX_BYTES_A_PIXEL * max_pixels)
        else:
            upright = _png(image, value, size)
    except _DAMAGE as exc:
        raise FrameError(
            f"expected a whole {kind} image, got {_quoted(value)} that cannot be decoded: {exc}"
        ) from exc
    if orientation in _UPRIGHT:
        upright = upright.transpose(_UPRIGHT[orientation])
    if shape.rotate_deg in _CLOCKWISE:
        upright = upright.transpose(_CLOCKWISE[shape.rotate_deg])
    return DecodedImage(np.array(upright, dtype=np.uint8, order="C"), grid)


def _opened(value: bytes, max_pixels: int) -> ImageFile.ImageFile | WebP:
    if value[:4] == b"RIFF" and value[8:12] == b"WEBP" and len(value) > 20:
        return WebP.read(value)
    try:
        return Image.open(BytesIO(value), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise FrameError(f"expected at most {max_pixels} pixels, got more: {exc}") from exc
    except _DAMAGE as exc:
        raise FrameError(f"expected a JPEG, PNG or WebP image, got {_quoted(value)}") from exc


def _orientation(image: Image.Image | WebP) -> int:
    try:
        if isinstance(image, WebP):
            exif = Image.Exif()
            exif.load(image.exif)
        else:
            exif = image.getexif()
        orientation = exif.get(ExifTags.Base.Orientation, 1)
    except _DAMAGE:
        return 1
    return orientation if isinstance(orientation, int) else 1


def _grid(
    size_px: tuple[int, int], grid_of: Callable[[int, int], PatchGrid], *, is_lying: bool
) -> PatchGrid:
    height_px, width_px = size_px
    try:
        return grid_of(width_px, height_px) if is_lying else grid_of(height_px, width_px)
    except InputError as exc:
        raise FrameError(str(exc)) from exc


def _jpeg(
    image: JpegImagePlugin.JpegImageFile, value: bytes, size: tuple[int, int], *, max_bytes: float
) -> Image.Image:
    scans = list(_JPEG_SCAN.finditer(value))
    if len(scans) > MAX_JPEG_SCANS:
        raise FrameError(f"expected at most {MAX_JPEG_SCANS} scans, got {len(scans)}")
    # Of a picture in several scans libjpeg keeps all coefficients, two bytes each, to the last one.
    samples = [across * down for _, across, down, _ in image.layer]
    kept_bytes = 2 * image.width * image.height * sum(samples) / max(samples)
    box = _drafted(image, size)
    scaled_bytes = 4 * size[0] * (image.height + size[1])  # across, and then down
    needed_bytes = kept_bytes + 4 * image.width * image.height + scaled_bytes
    if len(scans) > 1 and needed_bytes > max_bytes:
        raise FrameError(
            f"expected a JPEG that takes at most {max_bytes:.0f} bytes to decode, "
            f"got one that takes {needed_bytes:.0f}"
        )
    if scans and value.rfind(_JPEG_END) < scans[-1].start():
        return _without_end(value, size)
    return _scaled(_bands(image), size, of=image.size, box=box)


def _drafted(image: Image.Image, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    drafted = image.draft(None, (size[0] * DRAFT_RATIO, size[1] * DRAFT_RATIO))
    return drafted[1] if drafted else None  # a drafted picture may end within its last pixel


def _without_end(value: bytes, size: tuple[int, int]) -> Image.Image:
    """Decode a JPEG that lacks its end marker and nothing else.

    libjpeg paints what is missing from whatever follows, which does not show in a whole picture.

    Raises:
        OSError: part of the picture is missing.
    """
    pictures = []
    for follows in (b"", _ANYTHING):
        image = Image.open(BytesIO(value.rstrip(b"\xff") + follows + _JPEG_END), formats=("JPEG",))
        box = _drafted(image, size)
        pictures.append(_scaled(_bands(image), size, of=image.size, box=box))
        image.close()
    if not _has_all_scans(value) or pictures[0].tobytes() != pictures[1].tobytes():
        raise OSError("image file is truncated")
    return pictures[0]


def _has_all_scans(value: bytes) -> bool:
    """Return whether a JPEG's scans, as far as begun, bring every coefficient to its last bit."""
    bits_missing = dict[int, NDArray[np.uint8]]()
    for scan in _JPEG_SCAN.finditer(value):
        end = scan.end() + 2 * scan[1][0]
        if len(value) < end + 3:
            return False
        first, last, bits = value[end : end + 3]
        for component in value[scan.end() : end : 2]:
            missing = bits_missing.setdefault(component, np.full(64, 13, np.uint8))
            missing[first : last + 1] = bits & 0x0F
    return bool(bits_missing) and not any(missing.any() for missing in bits_missing.values())


def _png(image: ImageFile.ImageFile, value: bytes, size: tuple[int, int]) -> Image.Image:
    image.load()
    shift = 0
    if image.mode.startswith("I"):
        shift = _shift(int(np.max(image.getextrema())))
    elif (layout := _LOW_BYTES.get(value[24:26])) is not None:
        _join_low_bytes(image, value, layout)
    return _scaled(_bands(image, shift=shift), size, of=image.size)


def _join_low_bytes(image: Image.Image, value: bytes, layout: str) -> None:
    """Make the 8 bits that matter of a colour picture of the upper 8 of 16, in place."""
    largest = int(np.max(image.getextrema()[:3]))
    shift = _shift(largest << 8 | 0xFF)
    if shift == 8:
        return
    low = Image.open(BytesIO(value), formats=("PNG",))
    low.tile = [tile._replace(args=layout) for tile in low.tile]
    for top, (upper, lower) in enumerate(zip(_bands_of(image), _bands_of(low), strict=True)):
        high = np.asarray(upper).astype(np.uint16)
        joined = ((high << 8 | np.asarray(lower)) >> shift).astype(np.uint8)
        joined[..., 3:] = high[..., 3:]  # transparency is not measured by a sensor
        image.paste(Image.fromarray(joined), (0, top * BAND_PX))


def _shift(largest: int) -> int:
    """Return by how many bits samples up to `largest` are shifted to fit into 8."""
    return next(bits for bits in SAMPLE_BITS if largest < 1 << bits) - 8


def _bands(image: Image.Image, *, shift: int = 0) -> Iterator[Image.Image]:
    """Decode, and yield the picture from top to bottom in bands of 8-bit RGB."""
    for band in _bands_of(image):
        yield _rgb(band, shift)


def _bands_of(image: Image.Image) -> Iterator[Image.Image]:
    for top in range(0, image.height, BAND_PX):
        yield image.crop((0, top, image.width, min(top + BAND_PX, image.height)))


def _rgb(band: Image.Image, shift: int) -> Image.Image:
    if band.mode.startswith("I"):  # which Pillow's own conversion would clip at 255
        band = Image.fromarray((np.asarray(band) >> shift).astype(np.uint8))
    if band.has_transparency_data:
        band = band.convert("RGBA")
        opaque = Image.new("RGB", band.size)
        opaque.paste(band, mask=band.getchannel("A"))
        return opaque
    return band.convert("RGB")


def _scaled(
    bands: Iterator[Image.Image],
    size: tuple[int, int],
    *,
    of: tuple[int, int],
    box: tuple[float, float, float, float] | None = None,
) -> Image.Image:
    """Scale across, band by band, and then down: the steps of Pillow's own resize, to the bit.

    Args:
        bands: of the picture, from top to bottom.
        size: (width, height) wanted.
        of: (width, height) of the picture.
        box: the part of it that is wanted; None for all.
    """
    left, top, right, bottom = box or (0, 0, *of)
    narrow = Image.new("RGB", (size[0], of[1]))
    row = 0
    for band in bands:
        part = (left, 0, right, band.height)
        narrow.paste(band.resize((size[0], band.height), Image.Resampling.BICUBIC, part), (0, row))
        row += band.height
    return narrow.resize(size, Image.Resampling.BICUBIC, (0, top, size[0], bottom))


def _quoted(value: bytes) -> str:
    return f"{len(value)} bytes starting {value[:MAX_QUOTED_BYTES]!r}"
