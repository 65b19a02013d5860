"""AV1 into RTP payloads, for the scripted camera, in the Alliance for Open Media's format.

https://aomediacodec.github.io/av1-rtp-spec/
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from pipeline.sources.encoder import as_coded
from tests.servers.rtp import MAX_PAYLOAD_BYTES, Unit

_TEMPORAL_DELIMITER = 2
_HAS_SIZE = 0x02
# The aggregation header: the element goes on from the packet before, or in the next; there is one
# element; a coded video sequence begins.
_GOES_ON_FROM, _GOES_ON_IN, _ONE, _BEGINS = 0x80, 0x40, 0x10, 0x08


def coded_av1(pictures: Iterable[NDArray[np.uint8]], *, fps: int, gop_s: float) -> list[Unit]:
    """Code (H, W, 3) RGB pictures; each unit has the payloads of its packets."""
    context: VideoCodecContext | None = None
    packets = []
    for picture in pictures:
        if context is None:
            context = _encoder(*picture.shape[:2], fps=fps, gop_s=gop_s)
        packets += context.encode(as_coded(picture))
    assert context is not None
    packets += context.encode(None)
    return [
        Unit(
            tuple(_payloads(bytes(packet), is_key=packet.is_keyframe)),
            float((packet.pts or 0) * (packet.time_base or Fraction(1, fps))),
            packet.is_keyframe,
        )
        for packet in packets
    ]


def _encoder(height_px: int, width_px: int, *, fps: int, gop_s: float) -> VideoCodecContext:
    context = av.CodecContext.create("libsvtav1", "w")
    assert isinstance(context, VideoCodecContext)
    context.height, context.width = height_px, width_px
    context.pix_fmt = "yuv420p"
    context.framerate = Fraction(fps)
    context.time_base = Fraction(1, fps)
    context.gop_size = round(fps * gop_s)
    # Each picture is shown when it is sent, as of a camera.
    context.options = {"preset": "12", "crf": "20", "svtav1-params": "pred-struct=1:lp=1"}
    return context


def _payloads(unit: bytes, *, is_key: bool) -> Iterator[bytes]:
    is_first = True
    for obu in _obus(unit):
        size = MAX_PAYLOAD_BYTES - 1
        for start in range(0, len(obu), size):
            head = _ONE | (_GOES_ON_FROM if start else 0) | (_BEGINS if is_first and is_key else 0)
            head |= _GOES_ON_IN if start + size < len(obu) else 0
            is_first = False
            yield bytes([head]) + obu[start : start + size]


def _obus(unit: bytes) -> Iterator[bytes]:
    """Yield the units within, without their sizes and without what only says that time goes on."""
    at = 0
    while at < len(unit):
        head = unit[at]
        assert head & _HAS_SIZE, "the encoder tells sizes"
        size, at, shift = 0, at + 1, 0
        while True:
            byte, at = unit[at], at + 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        if head >> 3 & 0xF != _TEMPORAL_DELIMITER:
            yield bytes([head & ~_HAS_SIZE]) + unit[at : at + size]
        at += size
