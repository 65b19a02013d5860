"""Whether a stream's key frames alone are enough to sample it."""

import re
from enum import Enum

_IDR = 5  # H.264, 7.3.1: nal_unit_type of a slice that needs no other picture
_IDR_SLICE = re.compile(rb"\x00\x00\x01[\x05\x25\x45\x65]")


class Decode(Enum):
    """What is to be done with a packet."""

    NOTHING = "nothing"  # leave it in the backlog
    ALONE = "alone"  # a key frame that needs no other packet
    IN_ORDER = "in order"  # as part of the whole stream
    CATCH_UP = "catch up"  # decode the backlog first, then this one in order


class KeyframePolicy:
    """Decides from the packets themselves whether anything but key frames needs decoding.

    Everything is decoded until `NUM_CONFIRMING` intervals in a row between key frames were no
    longer than the sample period; from then on key frames alone, at a fifth of the cost. When a
    key frame is overdue the packets since the last one, which the caller has kept, are decoded
    after all, so that a camera that stretches its intervals leaves no gap. Before the first key
    frame nothing can be decoded.

    Times are stream times in seconds; a jump of either sign costs no more than a change of mind.
    """

    NUM_CONFIRMING = 2
    TOLERANCE_RATIO = 0.1
    OVERDUE_RATIO = 0.25

    def __init__(self, period_s: float) -> None:
        """Start undecided, for frames wanted every `period_s` seconds."""
        self._period_s = period_s
        self._num_confirming = self.NUM_CONFIRMING
        self.reset()

    @property
    def keys_only(self) -> bool:
        """Whether packets that are no key frames are left alone."""
        return self._keys_only

    def reset(self) -> None:
        """Forget the stream: the next packet is the first of another."""
        self._key_s: float | None = None
        self._num_short = 0
        self._keys_only = False

    def packet(self, t_s: float, *, is_key: bool) -> Decode:
        """Say what to do with the packet of stream time `t_s`, in the order they come."""
        if is_key:
            return self._key(t_s)
        if self._key_s is None:
            return Decode.NOTHING
        if not self._keys_only:
            return Decode.IN_ORDER
        since_s = t_s - self._key_s
        if since_s < -self._period_s:  # time jumped back: count from here
            self._key_s = t_s
        elif since_s > self._period_s * (1 + self.OVERDUE_RATIO):
            self._decode_all()
            return Decode.CATCH_UP
        return Decode.NOTHING

    def refuse(self) -> None:
        """Learn that a key frame alone gave no picture (gradual refresh, slices apart, damage).

        Everything is decoded again, and it takes twice as many intervals to be trusted next time.
        """
        self._decode_all()
        self._num_confirming *= 2

    def _key(self, t_s: float) -> Decode:
        interval_s = None if self._key_s is None else t_s - self._key_s
        self._key_s = t_s
        if interval_s is not None and interval_s > self._period_s * (1 + self.TOLERANCE_RATIO):
            self._decode_all()
        elif interval_s is not None and interval_s > 0:
            self._num_short += 1
            self._keys_only |= self._num_short >= self._num_confirming
        return Decode.ALONE if self._keys_only else Decode.IN_ORDER

    def _decode_all(self) -> None:
        self._keys_only = False
        self._num_short = 0


def begins_anew(codec: str, packet: bytes) -> bool:
    """Say whether a key frame surely needs nothing before it: one of a gradual refresh does.

    Args:
        codec: as FFmpeg calls it; in H.264 alone such frames are marked as key frames.
        packet: with start codes, as a camera sends it, or with lengths, as in an MP4 file.
    """
    if codec != "h264" or _IDR_SLICE.search(packet):
        return True
    place = len(packet) if packet.startswith((b"\0\0\1", b"\0\0\0\1")) else 0
    while place + 4 < len(packet):
        if packet[place + 4] & 0x1F == _IDR:
            return True
        place += 4 + int.from_bytes(packet[place : place + 4], "big")
    return False
