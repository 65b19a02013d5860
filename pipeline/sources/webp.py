"""WebP with libav, whose decoder needs 4 to 7 bytes a pixel where libwebp's needs 16 to 20."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import av
import av.error
import numpy as np
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import Interpolation
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import FrameError

_EXIF_PREFIX = b"Exif\0\0"
_ALPHA_FLAG = 0x10
_ANMF_HEADER_BYTES = 16
_VP8_START = b"\x9d\x01\x2a"
_VP8L_SIGNATURE = 0x2F
_VP8L_ALPHA = 1 << 28
_SIZE_MASK = 0x3FFF  # 14 bits

# libav's layout of a decoded WebP -> the one that is taken from it; rgb24 of the others.
_LAYOUTS = {"argb": "argb", "yuva420p": "rgba"}
_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class WebP:
    """A WebP's first picture, told from its header.

    Attributes:
        size: (width, height) in pixels of the canvas.
        exif: its EXIF block, or b"".
        place: (left, top) in pixels of the first picture on the canvas; (0, 0) of a still.
        picture: (width, height) in pixels of the first picture.
        has_alpha: whether its transparency counts.
        still: that picture as a file of its own.
    """

    size: tuple[int, int]
    exif: bytes
    place: tuple[int, int]
    picture: tuple[int, int]
    has_alpha: bool
    still: bytes

    @classmethod
    def read(cls, value: bytes) -> Self:
        """Read the header; nothing is decoded.

        Raises:
            FrameError: it breaks off, its sizes contradict each other, or it holds no picture.
        """
        chunks = dict[bytes, memoryview]()
        for kind, body in _chunks(memoryview(value), 12):
            chunks.setdefault(kind, body)  # so that the first picture of an animation stays
        canvas, place, parts = chunks.get(b"VP8X"), (0, 0), chunks
        if b"ANMF" in chunks:
            frame = chunks[b"ANMF"]
            if len(frame) < _ANMF_HEADER_BYTES:
                raise FrameError("expected a whole WebP image, got an animation without a picture")
            place = (2 * _int24(frame, 0), 2 * _int24(frame, 3))
            parts = dict(_chunks(frame, _ANMF_HEADER_BYTES))
        alpha, lossy, lossless = (parts.get(kind) for kind in (b"ALPH", b"VP8 ", b"VP8L"))
        if lossy is not None and len(lossy) >= 10 and lossy[3:6] == _VP8_START:
            width, height = (side & _SIZE_MASK for side in struct.unpack_from("<HH", lossy, 6))
            has_alpha = alpha is not None
            still = _file((b"VP8 ", lossy))
            if alpha is not None and width and height:
                extended = _extended(width, height)
                still = _file((b"VP8X", extended), (b"ALPH", alpha), (b"VP8 ", lossy))
        elif lossless is not None and len(lossless) >= 5 and lossless[0] == _VP8L_SIGNATURE:
            bits = int.from_bytes(lossless[1:5], "little")
            width, height = (bits & _SIZE_MASK) + 1, (bits >> 14 & _SIZE_MASK) + 1
            has_alpha = bool(bits & _VP8L_ALPHA)
            still = _file((b"VP8L", lossless))
        else:
            raise FrameError("expected a whole WebP image, got one without a picture")
        size = width, height
        if canvas is not None and len(canvas) >= 10:
            size = _int24(canvas, 4) + 1, _int24(canvas, 7) + 1
        if place[0] + width > size[0] or place[1] + height > size[1]:
            raise FrameError(
                f"expected a WebP image within {size[0]}x{size[1]}, got {width}x{height} "
                f"at {place[0]},{place[1]}"
            )
        exif = bytes(chunks.get(b"EXIF", b"")).removeprefix(_EXIF_PREFIX)
        return cls(size, exif, place, (width, height), has_alpha, still)

    def bands(self, height_px: int) -> Iterator[Image.Image]:
        """Decode, and return the canvas from top to bottom, each band as RGB over black.

        All is decoded before the first band is asked for: no buffer of the caller's stands beside
        the decoder's.

        Args:
            height_px: of a band; the last one may be lower.

        Raises:
            FrameError: the picture is damaged.
        """
        return self._bands(height_px, *self._decoded())

    def _bands(self, height_px: int, pixels: Pixels, alpha: Pixels) -> Iterator[Image.Image]:
        left, first = self.place
        for top in range(0, self.size[1], height_px):
            band = Image.new("RGB", (self.size[0], min(height_px, self.size[1] - top)))
            rows = slice(max(0, top - first), max(0, top - first + band.height))
            if len(pixels[rows]):
                picture = Image.fromarray(np.ascontiguousarray(pixels[rows]))
                mask = Image.fromarray(np.ascontiguousarray(alpha[rows]))
                at = left, max(0, first - top)
                band.paste(picture, at, mask if self.has_alpha else None)
            yield band

    def _decoded(self) -> tuple[Pixels, Pixels]:
        """Return (H, W, 3) RGB and (H, W) alpha (nothing of meaning where there is none), views."""
        decoder = VideoCodecContext.create("webp", "r")
        decoder.thread_count = 1
        try:
            frames = decoder.decode(Packet(self.still)) or decoder.decode(None)
        except av.FFmpegError as exc:
            raise FrameError(f"expected a whole WebP image, got a damaged one: {exc}") from exc
        width, height = self.picture
        if not frames or (frames[0].width, frames[0].height) != self.picture:
            raise FrameError("expected a whole WebP image, got a damaged one")
        frame = frames[0]
        layout = _LAYOUTS.get(frame.format.name, "rgb24")
        if frame.format.name != layout:
            frame = frame.reformat(format=layout, interpolation=_EXACT, threads=1)
        rows = np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(
            -1, frame.planes[0].line_size
        )
        layers = len(layout.rstrip("24"))
        pixels = rows[:height, : width * layers].reshape(height, width, layers)
        if layout == "argb":
            return pixels[..., 1:], pixels[..., 0]
        return pixels[..., :3], pixels[..., -1]


def _chunks(value: memoryview, start: int) -> Iterator[tuple[bytes, memoryview]]:
    while len(value) >= start + 8:
        kind = bytes(value[start : start + 4])
        length = int.from_bytes(value[start + 4 : start + 8], "little")
        start += 8
        missing = start + length - len(value)
        if missing > 0:
            raise FrameError(f"expected a whole WebP image, got one that lacks {missing} bytes")
        yield kind, value[start : start + length]
        start += length + length % 2


def _int24(body: memoryview, place: int) -> int:
    return int.from_bytes(body[place : place + 3], "little")


def _file(*chunks: tuple[bytes, bytes | memoryview]) -> bytes:
    parts = list[bytes | memoryview]()
    for kind, body in chunks:
        parts += kind, len(body).to_bytes(4, "little"), body, b"\0" * (len(body) % 2)
    length = 4 + sum(len(part) for part in parts)
    return b"".join([b"RIFF", length.to_bytes(4, "little"), b"WEBP", *parts])


def _extended(width: int, height: int) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes([_ALPHA_FLAG, 0, 0, 0]) + sides
