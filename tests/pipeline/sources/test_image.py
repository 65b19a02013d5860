import io
import struct
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image

from model.types import PatchGrid
from model.videollama3.patches import pin_grid
from pipeline.errors import FrameError
from pipeline.sources.image import MAX_PIXELS, DecodedImage, decode_image

HEIGHT_PX, WIDTH_PX = 240, 320
grid_of = partial(pin_grid, max_tokens=144)


def picture(height_px: int = HEIGHT_PX, width_px: int = WIDTH_PX) -> Image.Image:
    """Red grows to the right, green grows downwards, blue marks the top left corner."""
    y, x = np.mgrid[0:height_px, 0:width_px]
    blue = np.where((y < height_px // 4) & (x < width_px // 4), 255, 0)
    rgb = np.stack([255 * x / (width_px - 1), 255 * y / (height_px - 1), blue], axis=-1)
    return Image.fromarray(rgb.astype(np.uint8))


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def decode(value: bytes) -> DecodedImage:
    return decode_image(value, grid_of=grid_of)


def mean_difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_image_is_scaled_to_the_grid_of_its_own_size(file_format: str) -> None:
    asked = []

    def spied_grid_of(height_px: int, width_px: int) -> PatchGrid:
        asked.append((height_px, width_px))
        return grid_of(height_px, width_px)

    decoded = decode_image(encode(picture(), file_format), grid_of=spied_grid_of)

    assert asked == [(HEIGHT_PX, WIDTH_PX)]
    grid = decoded.grid
    assert decoded.pixels.shape == (grid.height_px, grid.width_px, 3)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.flags.c_contiguous
    expected = picture().resize((grid.width_px, grid.height_px), Image.Resampling.BICUBIC)
    assert mean_difference(decoded.pixels, np.asarray(expected)) < 2.0


def test_png_is_scaled_bicubically_to_the_bit() -> None:
    decoded = decode(encode(picture(), "PNG"))
    size = (decoded.grid.width_px, decoded.grid.height_px)
    expected = picture().resize(size, Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(decoded.pixels, np.asarray(expected))


def test_large_jpeg_is_decoded_at_reduced_size_without_visible_loss() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (135, 240, 3), dtype=np.uint8)
    large = Image.fromarray(noise).resize((1921, 1081), Image.Resampling.BICUBIC)
    value = encode(large, "JPEG", quality=90)
    decoded = decode(value)
    size = (decoded.grid.width_px, decoded.grid.height_px)
    whole = Image.open(io.BytesIO(value)).resize(size, Image.Resampling.BICUBIC)
    assert mean_difference(decoded.pixels, np.asarray(whole)) < 2.0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_respected(file_format: str, orientation: int) -> None:
    stored = {
        1: picture(),
        2: picture().transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: picture().transpose(Image.Transpose.ROTATE_180),
        4: picture().transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: picture().transpose(Image.Transpose.TRANSPOSE),
        6: picture().transpose(Image.Transpose.ROTATE_90),
        7: picture().transpose(Image.Transpose.TRANSVERSE),
        8: picture().transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    decoded = decode(encode(stored, file_format, exif=exif))
    upright = decode(encode(picture(), "PNG"))
    assert decoded.grid == upright.grid
    assert mean_difference(decoded.pixels, upright.pixels) < 2.0


@pytest.mark.parametrize("orientation", [0, 9, 4096])
def test_an_orientation_that_does_not_exist_is_passed_over(orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    decoded = decode(encode(picture(), "PNG", exif=exif))
    np.testing.assert_array_equal(decoded.pixels, decode(encode(picture(), "PNG")).pixels)


@pytest.mark.parametrize(
    ("mode", "file_format"),
    [("L", "JPEG"), ("L", "PNG"), ("1", "PNG"), ("LA", "PNG"), ("L", "WEBP")],
)
def test_grey_becomes_rgb(mode: str, file_format: str) -> None:
    pixels = decode(encode(picture().convert(mode), file_format)).pixels
    assert pixels.shape[-1] == 3
    assert np.ptp(pixels.astype(np.int16), axis=-1).max() <= 3  # WebP's chroma is not exact


def test_sixteen_bit_grey_is_brought_to_eight() -> None:
    ramp = np.linspace(0, 65535, WIDTH_PX).astype(np.uint16)
    image = Image.fromarray(np.tile(ramp, (HEIGHT_PX, 1)))
    assert image.mode == "I;16"
    row = decode(encode(image, "PNG")).pixels[10, :, 0].astype(int)
    assert row[0] <= 1
    assert row[-1] >= 254
    assert abs(row[len(row) // 2] - 128) <= 1


def test_cmyk_becomes_rgb() -> None:
    decoded = decode(encode(picture().convert("CMYK"), "JPEG", quality=95))
    upright = decode(encode(picture(), "PNG"))
    assert mean_difference(decoded.pixels, upright.pixels) < 3.0


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_transparency_lies_over_black(file_format: str) -> None:
    image = picture().convert("RGBA")
    image.putalpha(0)
    assert decode(encode(image, file_format, lossless=True)).pixels.max() == 0


def test_transparent_palette_colour_lies_over_black() -> None:
    image = Image.new("P", (WIDTH_PX, HEIGHT_PX), 1)
    image.putpalette([0, 0, 0, 255, 255, 255])
    assert decode(encode(image, "PNG")).pixels.min() == 255
    assert decode(encode(image, "PNG", transparency=1)).pixels.max() == 0


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_first_picture_of_an_animation_is_taken(file_format: str) -> None:
    black = Image.new("RGB", (WIDTH_PX, HEIGHT_PX))
    value = encode(picture(), file_format, save_all=True, append_images=[black], lossless=True)
    expected = decode(encode(picture(), "PNG")).pixels
    assert mean_difference(decode(value).pixels, expected) < 2.0


@pytest.mark.parametrize(
    "value",
    [b"", b"hello world", b"\xff\xd8\xff", b"RIFF\x00\x00\x00\x00WEBP", b"\x89PNG\r\n\x1a\n"],
)
def test_what_is_no_image_is_refused_with_its_first_bytes(value: bytes) -> None:
    with pytest.raises(FrameError) as refused:
        decode(value)
    assert str(refused.value) == (
        f"expected a JPEG, PNG or WebP image, got {len(value)} bytes starting {value!r}"
    )


def test_at_most_sixteen_bytes_are_quoted() -> None:
    with pytest.raises(FrameError, match=r"got 1000 bytes starting b'x{16}'$"):
        decode(b"x" * 1000)


@pytest.mark.parametrize("file_format", ["GIF", "BMP", "TIFF", "PPM"])
def test_other_formats_are_refused(file_format: str) -> None:
    with pytest.raises(FrameError, match="expected a JPEG, PNG or WebP image"):
        decode(encode(picture(), file_format))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_an_image_that_breaks_off_is_refused(file_format: str) -> None:
    value = encode(picture(), file_format)
    with pytest.raises(FrameError, match="expected a"):
        decode(value[: len(value) // 2])


def png_of_declared_size(width_px: int, height_px: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("side_px", [8193, 10_000, 12_000, 100_000])
def test_more_than_64_megapixels_are_refused_by_the_header_alone(side_px: int) -> None:
    assert side_px**2 > MAX_PIXELS
    with pytest.raises(FrameError, match="expected at most 67108864 pixels"):
        decode(png_of_declared_size(side_px, side_px))


def test_a_picture_without_a_grid_is_refused() -> None:
    value = encode(Image.new("RGB", (1000, 2)), "PNG")
    with pytest.raises(FrameError, match="expected an aspect ratio up to 200, got 1000x2"):
        decode(value)


def damaged(value: bytes) -> st.SearchStrategy[bytes]:
    """Return `value` with some bytes overwritten, and sometimes cut off."""

    def damage(edits: list[tuple[int, int]], end: int) -> bytes:
        content = bytearray(value)
        for place, byte in edits:
            content[place] = byte
        return bytes(content[:end])

    edit = st.tuples(st.integers(0, len(value) - 1), st.integers(0, 255))
    return st.builds(damage, st.lists(edit, max_size=8), st.integers(0, len(value)))


def seeds() -> list[bytes]:
    small = picture(40, 60)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "camera"
    rotated = small.rotate(90)
    return [
        encode(small, "JPEG", exif=exif),
        encode(small, "JPEG", progressive=True),
        encode(small.convert("CMYK"), "JPEG"),
        encode(small, "PNG", exif=exif),
        encode(small.convert("P"), "PNG"),
        encode(small.convert("RGBA"), "PNG", save_all=True, append_images=[rotated]),
        encode(small, "WEBP", exif=exif),
        encode(small, "WEBP", lossless=True),
        encode(small.convert("RGBA"), "WEBP", save_all=True, append_images=[rotated]),
    ]


@given(st.one_of(st.binary(max_size=200), *(damaged(seed) for seed in seeds())))
def test_any_bytes_decode_or_are_refused(value: bytes) -> None:
    try:
        decoded = decode(value)
    except FrameError:
        return
    assert decoded.pixels.shape == (decoded.grid.height_px, decoded.grid.width_px, 3)


CUT: list[Callable[[], bytes]] = [
    partial(encode, picture(40, 60), f) for f in ("JPEG", "PNG", "WEBP")
]


@given(st.sampled_from([make() for make in CUT]), st.data())
def test_a_cut_image_is_refused_or_lacks_no_pixel(whole: bytes, data: st.DataObject) -> None:
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        decoded = decode(cut)
    except FrameError:
        return
    np.testing.assert_array_equal(decoded.pixels, decode(whole).pixels)
