"""What libav's parser cut up is put together, and what is whole does not wait."""

from __future__ import annotations  # PyAV's Packet is generic in its stub alone

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

import pytest
from av.packet import Packet
from av.stream import Stream

from pipeline.errors import SourceError
from pipeline.sources.whole_pictures import Received, whole

# Access unit delimiter, parameter sets; a picture's first slice, and another.
SETS = b"\0\0\0\1\x09\xf0\0\0\0\1\x67\x42\0\0\0\1\x68\xce"
KEY_FIRST, KEY_REST = SETS + b"\0\0\1\x65\x88AAAA", SETS + b"\0\0\1\x65\x02BBBB"
FIRST, REST = b"\0\0\1\x41\x9aCC", b"\0\0\1\x41\x04DD"
H265_SETS = b"\0\0\0\1\x40\1A\0\0\0\1\x42\1B\0\0\0\1\x44\1C"
H265_KEY_FIRST, H265_KEY_REST = (H265_SETS + b"\0\0\1\x28\1" + end for end in (b"\xafD", b"\x2fE"))
H265_FIRST, H265_REST = b"\0\0\1\2\1\xd0F", b"\0\0\1\2\1\x50G"


def received(data: bytes, pts: int | None, *, is_suspect: bool = False) -> Received:
    packet: Packet[Stream] = Packet(data)
    packet.pts, packet.dts, packet.time_base = pts, pts, Fraction(1, 90_000)
    packet.is_keyframe = data.startswith((SETS, H265_SETS))
    return Received(packet, 0.25, is_suspect)


def pictures(packets: Iterable[Received]) -> list[tuple[bytes, int | None]]:
    return [(bytes(one.packet), one.packet.pts) for one in whole(iter(packets), codec="h264")]


def test_the_parts_of_a_picture_become_one_packet() -> None:
    packets = [
        received(KEY_FIRST, None),  # before libav knows the time of the first one
        received(KEY_REST, 0, is_suspect=True),
        received(KEY_REST, 0),
        received(FIRST + REST, 9_000),
        received(KEY_FIRST, 18_000),
        received(KEY_REST, 18_000),
    ]
    first, second, third = whole(iter(packets), codec="h264")
    assert bytes(first.packet) == KEY_FIRST + KEY_REST + KEY_REST
    assert (first.packet.pts, first.packet.dts, first.packet.is_keyframe) == (0, 0, True)
    assert first.packet.time_base == Fraction(1, 90_000)
    assert (first.waited_s, first.is_suspect) == (0.75, True)
    assert second == packets[3]
    assert (bytes(third.packet), third.is_suspect) == (KEY_FIRST + KEY_REST, False)


def test_in_h265_a_picture_that_begins_in_the_packet_of_the_rest_is_one_of_its_own() -> None:
    packets = [
        received(H265_KEY_FIRST, None),
        received(H265_KEY_REST + H265_KEY_REST + H265_FIRST + H265_REST, 0, is_suspect=True),
        received(H265_FIRST + H265_REST, 18_000),
    ]
    key, second, third = whole(iter(packets), codec="hevc")
    assert bytes(key.packet) == H265_KEY_FIRST + H265_KEY_REST + H265_KEY_REST
    assert (key.packet.pts, key.packet.is_keyframe, key.is_suspect) == (0, True, True)
    assert bytes(second.packet) == H265_FIRST + H265_REST
    assert (second.packet.pts, second.packet.is_keyframe, second.is_suspect) == (None, False, True)
    assert second.packet.time_base == Fraction(1, 90_000)
    assert third == packets[2]


def test_in_h265_that_picture_may_be_a_key_frame_too_and_its_rest_come_next() -> None:
    packets = [
        received(H265_KEY_FIRST, 0),
        received(H265_KEY_REST + H265_KEY_FIRST, 0),
        received(H265_KEY_REST, 9_000),
    ]
    first, second = whole(iter(packets), codec="hevc")
    assert bytes(first.packet) + bytes(second.packet) == b"".join(
        bytes(one.packet) for one in packets
    )
    assert (first.packet.pts, second.packet.pts) == (0, 9_000)
    assert (first.packet.is_keyframe, second.packet.is_keyframe) == (True, True)


def test_other_pictures_that_come_in_parts_are_whole_from_the_second_on() -> None:
    packets = [
        received(data, 9_000 * number)
        for number, parts in enumerate([[KEY_FIRST], [FIRST, REST], [FIRST, REST, REST]])
        for data in parts
    ]
    assert pictures(packets) == [
        (KEY_FIRST, 0),
        (FIRST, 9_000),
        (REST, 9_000),
        (FIRST + REST + REST, 18_000),
    ]


def test_a_picture_that_lost_its_beginning_is_not_put_to_the_one_before() -> None:
    packets = [received(KEY_FIRST, 0), received(KEY_REST, 9_000), received(REST, 18_000)]
    assert pictures(packets) == [(KEY_FIRST, 0), (KEY_REST, 9_000), (REST, 18_000)]


@pytest.mark.parametrize(
    "head", [[], [received(KEY_REST, 0)]], ids=["at a key frame", "in its middle"]
)
def test_where_a_camera_sends_whole_pictures_only_the_first_key_frame_is_waited_with(
    head: Sequence[Received],
) -> None:
    sent = [*head, received(KEY_FIRST, 9_000), received(FIRST, 18_000), received(KEY_FIRST, 27_000)]
    taken = []

    def read() -> Iterator[Received]:
        for one in sent:
            taken.append(one)
            yield one

    ahead = [len(taken) - number for number, _ in enumerate(whole(read(), codec="h264"), 1)]
    assert ahead == [1] * (len(head) + 1) + [0, 0]


def test_the_last_picture_comes_before_the_word_that_the_stream_broke_off() -> None:
    def read() -> Iterator[Received]:
        yield received(KEY_FIRST, 0)
        raise SourceError("stalled", "no video for 5.0 s")

    seen = whole(read(), codec="h264")
    assert bytes(next(seen).packet) == KEY_FIRST
    with pytest.raises(SourceError, match="no video"):
        next(seen)


def test_of_another_codec_all_passes_as_it_comes() -> None:
    packets = [received(KEY_FIRST, 0), received(KEY_REST, 0)]
    assert list(whole(iter(packets), codec="vp8")) == packets
