"""A stretch of video as an MP4 that browsers play: of packets as they are, or of pictures."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream
from PIL import Image

_CLOCK = 90_000  # ticks a second; all that cameras stamp by RTP
_PICTURE_CRF = "23"
_PIXEL_FORMAT = "yuv420p"


@dataclass(frozen=True, slots=True)
class Piece:
    """A packet of H.264, or a picture.

    Attributes:
        at: when it was captured, aware.
        pts_s: when it is shown, in seconds of any clock.
        is_key: whether it can be shown without those before it, as every picture can.
        data: with start codes (Annex B), or a JPEG file.
        head: the parameter sets that the packet's stream began with, or nothing.
    """

    at: datetime
    pts_s: float
    is_key: bool
    data: bytes = field(repr=False)
    head: bytes = field(default=b"", repr=False)


def mp4_of_packets(pieces: Sequence[Piece]) -> bytes:
    """Return packets of one stream as an MP4 file, not decoded.

    Args:
        pieces: in the order they came; the first is a key frame.

    Raises:
        ValueError: they are no such packets, or there are no parameter sets.
    """
    try:
        return _of_packets(pieces)
    except av.FFmpegError as error:
        raise ValueError(f"expected H.264 from a key frame on, got {error.strerror}") from None


def _of_packets(pieces: Sequence[Piece]) -> bytes:
    file = io.BytesIO()
    begin_s = min(one.pts_s for one in pieces)
    pts = [round((one.pts_s - begin_s) * _CLOCK) for one in pieces]
    first = pieces[0]
    with (
        _opened(io.BytesIO(first.head + first.data)) as sample,
        _created(file) as container,
    ):
        stream: Stream = container.add_stream_from_template(sample.streams.video[0])
        stream.time_base = Fraction(1, _CLOCK)
        for piece, shown, decoded in zip(pieces, pts, _decoded_at(pts), strict=True):
            packet: Packet[Stream] = Packet(piece.data)
            packet.stream, packet.time_base = stream, Fraction(1, _CLOCK)
            packet.pts, packet.dts, packet.is_keyframe = shown, decoded, piece.is_key
            container.mux(packet)
    return file.getvalue()


def mp4_of_pictures(pieces: Sequence[Piece]) -> bytes:
    """Return JPEGs as an MP4 file of H.264, each shown until the next; as large as the first."""
    file = io.BytesIO()
    begin_s = pieces[0].pts_s
    with _created(file) as container:
        stream: VideoStream = container.add_stream("libx264", rate=1)
        stream.pix_fmt = _PIXEL_FORMAT
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.max_b_frames = 0
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"preset": "veryfast", "crf": _PICTURE_CRF}
        last = -1
        for number, piece in enumerate(pieces):
            pixels = np.asarray(Image.open(io.BytesIO(piece.data)).convert("RGB"))
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if number == 0:
                stream.width, stream.height = frame.width // 2 * 2, frame.height // 2 * 2
            frame = frame.reformat(stream.width, stream.height, format=_PIXEL_FORMAT)
            last = max(last + 1, round(1000 * (piece.pts_s - begin_s)))
            frame.pts, frame.time_base = last, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def _opened(file: io.BytesIO) -> InputContainer:
    return av.open(file, "r", format="h264")


def _created(file: io.BytesIO) -> OutputContainer:
    return av.open(file, "w", format="mp4")


def _decoded_at(pts: Sequence[int]) -> list[int]:
    """Return when packets are decoded: each after the last, none after it is shown."""
    in_order: list[int] = []
    for one in sorted(pts):
        in_order.append(one if not in_order else max(one, in_order[-1] + 1))
    delay = max(before - shown for before, shown in zip(in_order, pts, strict=True))
    return [one - delay for one in in_order]
