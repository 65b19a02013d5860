"""Pictures that come in several packets, put together again.

In H.264 and H.265 parameter sets begin a new picture, and libav's parsers cut there. Some senders
repeat them before every slice of a key frame (GStreamer's `rtph264pay config-interval=-1` is one),
so that each slice comes as a packet. A decoder takes that for a picture. In H.264 it fills in what
is missing, and is right to say that it is damaged; in H.265 it leaves it grey, and says nothing,
and the parser keeps the other slices with the picture that follows.
"""

from __future__ import annotations  # PyAV's Packet is generic in its stub alone

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from av.packet import Packet
from av.stream import Stream

from pipeline.errors import SourceError

# The byte after the header of a packet's first slice, by codec as FFmpeg calls it; its top bit is
# set in a picture's first slice (H.264, 7.3.3: first_mb_in_slice is 0; H.265, 7.3.6.1:
# first_slice_segment_in_pic_flag).
_SLICES = {
    "h264": re.compile(rb"\x00\x00\x01[\x01\x05\x21\x25\x41\x45\x61\x65](.)", re.DOTALL),
    "hevc": re.compile(rb"\x00\x00\x01[\x00-\x13\x20-\x2b].(.)", re.DOTALL),
}
# A picture's first slice in H.265, with the first byte of its header: from 0x20 on, of a key frame.
_BEGINNING = re.compile(rb"\x00\x00\x01([\x00-\x13\x20-\x2b]).[\x80-\xff]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Received:
    """A packet of video as it was read.

    Attributes:
        packet: never empty.
        waited_s: how long it was waited for.
        is_suspect: whether parts of it may be missing, as packets were lost around it.
    """

    packet: Packet[Stream]
    waited_s: float
    is_suspect: bool

    def with_rest(self, rest: Received) -> Received:
        """Return the picture of which both are parts."""
        first, second = self.packet, rest.packet
        packet: Packet[Stream] = Packet(bytes(first) + bytes(second))
        packet.time_base = first.time_base
        packet.pts = second.pts if first.pts is None else first.pts
        packet.dts = second.dts if first.dts is None else first.dts
        packet.is_keyframe = first.is_keyframe
        return Received(packet, self.waited_s + rest.waited_s, self.is_suspect or rest.is_suspect)


def whole(received: Iterator[Received], *, codec: str) -> Iterator[Received]:
    """Yield a picture a packet.

    Whether a picture goes on is seen in the next packet alone. It is waited for with the first key
    frame, and with pictures of a kind, key frames or others, that have come in parts before: where
    none has, nothing waits.

    Args:
        received: packets with start codes, in the order they come; others pass as they are.
        codec: of all of them, as FFmpeg calls it.

    Raises:
        SourceError: that of `received`, after the last picture.
    """
    first_slice = _SLICES.get(codec)
    if first_slice is None:
        yield from received
        return
    in_parts: set[bool] = set()  # whether they are key frames
    last: Received | None = None
    is_kept = is_key_seen = False
    failure: SourceError | None = None
    try:
        for one in _parted(received) if codec == "hevc" else received:
            if last is not None and _goes_on(last.packet, one.packet, first_slice):
                in_parts.add(last.packet.is_keyframe)
                if is_kept:
                    last = last.with_rest(one)
                else:
                    yield one
                continue
            if last is not None and is_kept:
                yield last
            last, is_key = one, one.packet.is_keyframe
            is_kept = is_key in in_parts or (is_key and not is_key_seen)
            is_key_seen = is_key_seen or (is_key and not _is_rest(one.packet, first_slice))
            if not is_kept:
                yield one
    except SourceError as error:
        failure = error
    if last is not None and is_kept:
        yield last
    if failure is not None:
        raise failure


def _parted(received: Iterator[Received]) -> Iterator[Received]:
    """Yield the rest of a picture of H.265, and the picture that follows it in its packet."""
    for one in received:
        packet = one.packet
        is_rest = _is_rest(packet, _SLICES["hevc"])
        found = _BEGINNING.search(memoryview(packet)) if is_rest else None
        if found is None:
            yield one
            continue
        data = bytes(packet)
        rest: Packet[Stream] = Packet(data[: found.start()])
        rest.pts, rest.dts, rest.time_base = packet.pts, packet.dts, packet.time_base
        rest.is_keyframe = packet.is_keyframe
        following: Packet[Stream] = Packet(data[found.start() :])  # its time is not known
        following.time_base = packet.time_base
        following.is_keyframe = found[1] >= b"\x20"
        yield replace(one, packet=rest)
        yield Received(following, 0.0, one.is_suspect)


def _is_rest(packet: Packet[Stream], first_slice: re.Pattern[bytes]) -> bool:
    """Say whether a packet lacks the first slice of its picture."""
    found = first_slice.search(memoryview(packet))
    return found is not None and not found[1][0] & 0x80


def _goes_on(
    packet: Packet[Stream], following: Packet[Stream], first_slice: re.Pattern[bytes]
) -> bool:
    """Say whether a packet's picture goes on in the one that follows."""
    first, second = packet.pts, following.pts
    may_be_one = first == second or first is None or second is None
    return may_be_one and _is_rest(following, first_slice)
