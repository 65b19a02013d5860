import io
import re
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
from model.videollama3.grid import pin_grid
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


@pytest.mark.parametrize("num_bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("colours", ["grey", "RGB", "RGBA"])
def test_fewer_bits_in_a_png_of_sixteen_are_seen(colours: str, num_bits: int) -> None:
    """ti-slam#1, picamera2#311: 12 bits in a 16-bit PNG were black to the model."""
    ramp = np.linspace(0, 2**num_bits - 1, WIDTH_PX).astype(np.uint16)
    layers = {"grey": 1, "RGB": 3, "RGBA": 4}[colours]
    samples = np.repeat(np.tile(ramp, (HEIGHT_PX, 1))[..., None], layers, axis=-1)
    samples[..., 3:] = 0xFFFF
    decoded = decode(png_of_sixteen_bits(samples)).pixels
    row = decoded[10].astype(int)
    assert np.ptp(decoded, axis=-1).max() == 0
    expected = np.linspace(0, 255, row.shape[0])
    assert np.abs(row[:, 0] - expected).max() <= 2


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


def test_a_part_of_an_animated_webp_lies_where_it_belongs() -> None:
    part = picture().crop((100, 50, 220, 170)).convert("RGBA")
    clear = Image.new("RGBA", (WIDTH_PX, HEIGHT_PX))
    clear.paste(part, (100, 50))
    other = clear.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    value = encode(clear, "WEBP", save_all=True, append_images=[other], lossless=True)
    over_black = Image.new("RGB", clear.size)
    over_black.paste(clear, mask=clear.getchannel("A"))
    expected = decode(encode(over_black, "PNG")).pixels
    np.testing.assert_array_equal(decode(value).pixels, expected)


@pytest.mark.parametrize("options", [{}, {"lossless": True}])
def test_a_webp_that_is_larger_than_its_header_says_is_refused(options: dict[str, bool]) -> None:
    """Its header is what memory is bounded by."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "camera"
    value = bytearray(encode(picture(), "WEBP", exif=exif, **options))
    assert value[12:16] == b"VP8X"
    value[24:30] = (9).to_bytes(3, "little") + (9).to_bytes(3, "little")
    with pytest.raises(FrameError, match="expected a WebP image within 10x10, got 320x240 at 0,0"):
        decode(bytes(value))


WAYS_TO_ENCODE = [
    pytest.param({"quality": 90}, id="baseline"),
    pytest.param({"quality": 90, "progressive": True}, id="progressive"),
    pytest.param({"quality": 90, "restart_marker_rows": 1}, id="restart markers"),
    pytest.param({"quality": 90, "subsampling": 0, "optimize": True}, id="4:4:4"),
]


@pytest.mark.parametrize("padding", [b"", b"\xff", b"\0" * 16])
@pytest.mark.parametrize("options", WAYS_TO_ENCODE)
def test_a_jpeg_without_its_end_marker_is_shown(options: dict[str, int], padding: bytes) -> None:
    """Pillow#2038, Pillow#7879: a JPEG without its last two bytes was dead-lettered."""
    value = encode(picture(), "JPEG", **options)
    assert value.endswith(b"\xff\xd9")
    shown = decode(value[:-2] + padding).pixels
    np.testing.assert_array_equal(shown, decode(value).pixels)


@pytest.mark.parametrize("options", WAYS_TO_ENCODE)
def test_a_jpeg_that_lacks_more_than_its_end_marker_is_refused(options: dict[str, int]) -> None:
    value = encode(picture(), "JPEG", **options)
    for lacking in (10, 40, len(value) // 4, len(value) // 2):
        with pytest.raises(FrameError, match="that cannot be decoded"):
            decode(value[:-lacking])


def test_a_progressive_jpeg_that_ends_between_two_scans_is_refused() -> None:
    value = encode(picture(), "JPEG", progressive=True)
    scans = [match.start() for match in re.finditer(rb"\xff\xda", value)]
    for end in scans[1:]:
        with pytest.raises(FrameError, match="that cannot be decoded"):
            decode(value[:end])


def test_a_jpeg_of_scans_without_end_is_refused() -> None:
    value = encode(picture(), "JPEG", progressive=True)
    last = value[value.rindex(b"\xff\xda") : -2]
    assert decode(value[:-2] + 10 * last + value[-2:]).pixels.any()
    with pytest.raises(FrameError, match="expected at most 100 scans, got 1010"):
        decode(value[:-2] + 1000 * last + value[-2:])


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


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of_sixteen_bits(samples: NDArray[np.uint16]) -> bytes:
    """Return (H, W, 1, 3 or 4) as a PNG; Pillow writes none of 16-bit colours."""
    height_px, width_px, layers = samples.shape
    colour_type = {1: 0, 3: 2, 4: 6}[layers]
    header = struct.pack(">IIBBBBB", width_px, height_px, 16, colour_type, 0, 0, 0)
    rows = samples.astype(">u2").reshape(height_px, -1).view(np.uint8)
    body = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes(), 1)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def png_of_declared_size(width_px: int, height_px: int) -> bytes:
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("side_px", [4097, 10_000, 12_000, 100_000])
def test_more_than_16_megapixels_are_refused_by_the_header_alone(side_px: int) -> None:
    assert side_px**2 > MAX_PIXELS
    with pytest.raises(FrameError, match="expected at most 16777216 pixels"):
        decode(png_of_declared_size(side_px, side_px))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_the_largest_picture_is_a_setting(file_format: str) -> None:
    value = encode(picture(), file_format)
    limit = WIDTH_PX * HEIGHT_PX
    assert decode_image(value, grid_of=grid_of, max_pixels=limit).pixels.any()
    with pytest.raises(FrameError, match=rf"at most {limit - 1} pixels, got 320x240"):
        decode_image(value, grid_of=grid_of, max_pixels=limit - 1)


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
