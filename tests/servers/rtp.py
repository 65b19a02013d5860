"""Pictures into RTP packets, for the scripted camera: encoding, RFC 3550, RFC 6184, RFC 7798.

AV1 is in `tests.servers.rtp_av1`.
"""

import base64
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, count, groupby
from typing import Literal

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from pipeline.sources.encoder import as_coded

Codec = Literal["h264", "h265", "av1"]
VIDEO_CLOCK_HZ = 90_000
FIRST_STAMP = 0x5EED0000  # clocks start anywhere; one that starts at 0 is taken for none by libav
MAX_PAYLOAD_BYTES = 1_200
PLAIN_H265 = "log-level=none:repeat-headers=1:scenecut=0"
_ENCODERS = {"h264": "libx264", "h265": "libx265"}
_PARAMETER_SETS = {"h264": (7, 8), "h265": (32, 33, 34)}
_IDR = {"h264": (5,), "h265": (16, 17, 18, 19, 20, 21)}


@dataclass(frozen=True, slots=True)
class Unit:
    """One access unit: a coded picture.

    Attributes:
        nals: its NAL units without start codes, parameter sets among them; of sound and AV1, what
            its packets carry.
        t_s: when it is shown, from the clip's beginning.
        is_key: whether it holds an IDR (H.264) or IRAP picture (H.265).
    """

    nals: tuple[bytes, ...]
    t_s: float
    is_key: bool


@dataclass(frozen=True, slots=True)
class Packet:
    """An RTP packet.

    Attributes:
        seq: 16 bits.
        stamp: 32 bits, counted on from FIRST_STAMP.
        is_last: the marker: the last packet of its unit.
        payload: what follows the header.
        unit: number of its unit, from 0.
        is_key: whether that unit is a key frame.
    """

    seq: int
    stamp: int
    is_last: bool
    payload: bytes
    unit: int
    is_key: bool

    def encoded(self, *, payload_type: int, ssrc: int) -> bytes:
        second = payload_type | (0x80 if self.is_last else 0)
        seq, stamp = self.seq & 0xFFFF, self.stamp & 0xFFFFFFFF
        return struct.pack("!BBHII", 0x80, second, seq, stamp, ssrc) + self.payload


# ---------------------------------------------------------------- coding


def coded(
    pictures: Iterable[NDArray[np.uint8]],
    *,
    fps: float,
    gop_s: float,
    codec: Codec = "h264",
    **options: str,
) -> list[Unit]:
    """Code pictures as a camera does: without B-frames, parameter sets before each key frame.

    Args:
        pictures: (H, W, 3) RGB, even sides, one size.
        fps: pictures a second.
        gop_s: seconds between key frames.
        codec: how.
        options: of the encoder, such as `bf="2"`, `x264_params="slices=4"`.
    """
    context: VideoCodecContext | None = None
    packets = []
    for picture in pictures:
        if context is None:
            context = _encoder(picture, fps=fps, gop_s=gop_s, codec=codec, options=options)
        packets += context.encode(as_coded(picture))
    assert context is not None
    packets += context.encode(None)
    units = []
    for packet in packets:
        nals = tuple(nal for nal in re.split(rb"\x00*\x00\x00\x01", bytes(packet)) if nal)
        is_key = any(nal_type(nal, codec) in _IDR[codec] for nal in nals)
        assert packet.pts is not None
        units.append(Unit(nals, packet.pts / fps, is_key))
    return units


def _encoder(
    picture: NDArray[np.uint8], *, fps: float, gop_s: float, codec: Codec, options: dict[str, str]
) -> VideoCodecContext:
    context = av.CodecContext.create(_ENCODERS[codec], "w")
    assert isinstance(context, VideoCodecContext)
    context.height, context.width = picture.shape[:2]
    context.pix_fmt = "yuv420p"
    context.framerate = Fraction(fps).limit_denominator(1_000)
    context.gop_size = max(1, round(fps * gop_s))
    # A key frame a `gop_s`, and none between.
    plain = {"sc_threshold": "0"}
    if codec == "h265":
        plain = {"x265-params": PLAIN_H265}
    named = {name.replace("_", "-"): value for name, value in options.items()}
    context.options = (
        {"bf": "0", "preset": "veryfast", "forced-idr": "1", "threads": "1"} | plain | named
    )
    return context


def nal_type(nal: bytes, codec: Codec) -> int:
    return nal[0] & 0x1F if codec == "h264" else nal[0] >> 1 & 0x3F


def then(first: Sequence[Unit], *rest: Sequence[Unit], pause_s: float = 0.04) -> list[Unit]:
    """Return clips one after another, as when a camera changes its size in mid-stream."""
    units = list(first)
    for clip in rest:
        start_s = max(unit.t_s for unit in units) + pause_s
        units += [replace(unit, t_s=unit.t_s + start_s) for unit in clip]
    return units


def without_parameter_sets(units: Iterable[Unit], codec: Codec = "h264") -> list[Unit]:
    """Return the units with their slices alone: the parameter sets are in the SDP, or lost."""
    sets = _PARAMETER_SETS[codec]
    return [
        replace(unit, nals=tuple(nal for nal in unit.nals if nal_type(nal, codec) not in sets))
        for unit in units
    ]


def sets_before_each_slice(units: Iterable[Unit], codec: Codec = "h264") -> list[Unit]:
    """Return the units as GStreamer's `rtph264pay config-interval=-1` sends them."""
    repeated = []
    for unit in units:
        sets = tuple(nal for nal in unit.nals if nal_type(nal, codec) in _PARAMETER_SETS[codec])
        slices = (
            (*sets, nal) if nal_type(nal, codec) in _IDR[codec] else (nal,)
            for nal in unit.nals
            if nal not in sets
        )
        repeated.append(replace(unit, nals=tuple(chain.from_iterable(slices))))
    return repeated


# ---------------------------------------------------------------- packets


def sprop(units: Sequence[Unit], codec: Codec) -> str:
    """Return the SDP's `fmtp` parameters with the parameter sets of the first unit that has any."""
    sets: dict[int, str] = {}
    for unit in units:
        for nal in unit.nals:
            kind = nal_type(nal, codec)
            if kind in _PARAMETER_SETS[codec]:
                sets.setdefault(kind, base64.b64encode(nal).decode())
    if not sets:
        return ""
    if codec == "h264":
        return f"; sprop-parameter-sets={sets[7]},{sets[8]}"
    return f"; sprop-vps={sets[32]}; sprop-sps={sets[33]}; sprop-pps={sets[34]}"


def payloads(unit: Unit, codec: Codec) -> list[bytes]:
    """Split a unit: parameter sets aggregated, small NAL units alone, large ones in fragments."""
    if codec == "av1":
        return list(unit.nals)
    parts: list[bytes] = []
    for are_sets, run in groupby(
        unit.nals, lambda nal: nal_type(nal, codec) in _PARAMETER_SETS[codec]
    ):
        nals = list(run)
        if are_sets and len(nals) > 1:
            nals = [_aggregate(nals, codec)]
        for nal in nals:
            parts += _fragments(nal, codec) if len(nal) > MAX_PAYLOAD_BYTES else [nal]
    return parts


def _aggregate(nals: Sequence[bytes], codec: Codec) -> bytes:
    head = bytes([24 | 0x60]) if codec == "h264" else bytes([48 << 1, nals[0][1]])
    return head + b"".join(struct.pack("!H", len(nal)) + nal for nal in nals)


def _fragments(nal: bytes, codec: Codec) -> list[bytes]:
    if codec == "h264":
        head, body = bytes([nal[0] & 0xE0 | 28]), nal[1:]
    else:
        head, body = bytes([nal[0] & 0x81 | 49 << 1, nal[1]]), nal[2:]
    size = MAX_PAYLOAD_BYTES - 3  # so that there are two at the least
    starts = range(0, len(body), size)
    return [
        head
        + bytes(
            [
                nal_type(nal, codec)
                | (0x80 if start == 0 else 0)
                | (0x40 if start + size >= len(body) else 0)
            ]
        )
        + body[start : start + size]
        for start in starts
    ]


def packets(
    units: Iterable[Unit],
    payloads_of: Callable[[Unit], Sequence[bytes]],
    stamp_of: Callable[[int, float], int],
    *,
    first_seq: int = 65_500,
) -> Iterator[Packet]:
    """Number the packets of units, which wrap early, and stamp them."""
    seqs = count(first_seq)
    for number, unit in enumerate(units):
        parts = payloads_of(unit)
        stamp = FIRST_STAMP + stamp_of(number, unit.t_s)
        for index, part in enumerate(parts):
            is_last = index == len(parts) - 1
            yield Packet(next(seqs) & 0xFFFF, stamp, is_last, part, number, unit.is_key)


# ---------------------------------------------------------------- what happens to packets under way

Network = Callable[[Iterator[Packet]], Iterator[Packet]]
"""Takes the packets as they were sent, gives those that arrive."""


def lossless(sent: Iterator[Packet]) -> Iterator[Packet]:
    return sent


def lose(ratio: float, *, seed: int = 0, spare_units: int = 0) -> Network:
    """Lose packets at random, but none of the first `spare_units` units."""

    def network(sent: Iterator[Packet]) -> Iterator[Packet]:
        chance = np.random.default_rng(seed)
        return (one for one in sent if one.unit < spare_units or chance.random() >= ratio)

    return network


def lose_where(is_lost: Callable[[Packet], bool]) -> Network:
    """Lose the packets that the caller names."""
    return lambda sent: (one for one in sent if not is_lost(one))


def swap(*, every: int) -> Network:
    """Let each `every`th packet arrive after the one that follows it."""

    def network(sent: Iterator[Packet]) -> Iterator[Packet]:
        for index, one in enumerate(sent):
            if index % every == every - 1 and (follower := next(sent, None)) is not None:
                yield follower
            yield one

    return network


def change_bytes(is_hit: Callable[[Packet], bool], *, seed: int = 0) -> Network:
    """Overwrite the second half of the payload of the packets that the caller names."""
    chance = np.random.default_rng(seed)

    def hit(one: Packet) -> Packet:
        half = len(one.payload) // 2
        return replace(one, payload=one.payload[:half] + chance.bytes(len(one.payload) - half))

    return lambda sent: (hit(one) if is_hit(one) else one for one in sent)


# ---------------------------------------------------------------- stamps


def honest_stamp(_number: int, t_s: float) -> int:
    return round(t_s * VIDEO_CLOCK_HZ)


def stamp_in(ticks_per_s: float) -> Callable[[int, float], int]:
    """Count another unit than was told: 1000 for milliseconds, 0 for a clock that stands."""
    return lambda _number, t_s: round(t_s * ticks_per_s)


def stamp_jumps(jump_s: Callable[[int, float], float]) -> Callable[[int, float], int]:
    """Add to each picture's honest stamp what the caller says, in seconds."""
    return lambda number, t_s: round((t_s + jump_s(number, t_s)) * VIDEO_CLOCK_HZ)
