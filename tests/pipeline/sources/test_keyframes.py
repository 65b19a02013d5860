"""The key-frame policy, on packets without pictures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.keyframes import Decode, KeyframePolicy, begins_anew

FPS = 25


def packets(*intervals_s: float, start_s: float = 0.0) -> list[tuple[float, bool]]:
    """(pts_s, is_key) of a stream with these intervals between key frames."""
    result = []
    for interval_s in intervals_s:
        num = round(interval_s * FPS)
        result += [(start_s + i / FPS, i == 0) for i in range(num)]
        start_s += num / FPS
    return result


def fates(policy: KeyframePolicy, stream: list[tuple[float, bool]]) -> list[Decode]:
    return [policy.packet(t_s, is_key=is_key) for t_s, is_key in stream]


def test_nothing_is_decoded_before_the_first_key_frame() -> None:
    policy = KeyframePolicy(1.0)
    assert policy.packet(0.0, is_key=False) is Decode.NOTHING
    assert policy.packet(0.04, is_key=True) is Decode.IN_ORDER
    assert policy.packet(0.08, is_key=False) is Decode.IN_ORDER


def test_key_frames_alone_are_decoded_once_two_intervals_were_short_enough() -> None:
    done = fates(KeyframePolicy(1.0), packets(1, 1, 1, 1))
    assert set(done[: 2 * FPS]) == {Decode.IN_ORDER}
    assert done[2 * FPS :: FPS] == [Decode.ALONE] * 2
    assert set(done[2 * FPS + 1 : 3 * FPS]) == {Decode.NOTHING}


def test_everything_is_decoded_when_key_frames_are_rare() -> None:
    assert set(fates(KeyframePolicy(1.0), packets(2, 2, 2, 2))) == {Decode.IN_ORDER}


def test_an_all_intra_stream_needs_no_more_than_the_wanted_frames() -> None:
    done = [KeyframePolicy(1.0)]
    assert [done[0].packet(i / FPS, is_key=True) for i in range(5)][2:] == [Decode.ALONE] * 3


def test_an_overdue_key_frame_brings_everything_back_at_once() -> None:
    policy = KeyframePolicy(1.0)
    done = fates(policy, packets(1, 1, 1, 10))
    caught_up = done.index(Decode.CATCH_UP)
    assert caught_up / FPS - 3.0 == pytest.approx(1.25, abs=0.1)
    assert set(done[caught_up + 1 :]) == {Decode.IN_ORDER}


def test_a_camera_that_returns_to_short_intervals_gets_key_frames_only_again() -> None:
    policy = KeyframePolicy(1.0)
    fates(policy, packets(1, 1, 1, 10, 1, 1, 1))
    assert policy.keys_only


def test_jitter_of_a_tenth_of_the_period_is_no_reason_to_decode_everything() -> None:
    policy = KeyframePolicy(1.0)
    done = fates(policy, packets(1.0, 1.0, 1.08, 0.92, 1.08, 1.0))
    assert Decode.CATCH_UP not in done


@pytest.mark.parametrize("jump_s", [-1e5, 1e5, -0.5])
def test_a_jump_in_time_passes(jump_s: float) -> None:
    policy = KeyframePolicy(1.0)
    fates(policy, packets(1, 1, 1))
    fates(policy, packets(1, 1, 1, 1, start_s=3.0 + jump_s))
    assert policy.keys_only


def test_a_jump_back_with_a_stretched_interval_is_still_found_overdue() -> None:
    policy = KeyframePolicy(1.0)
    fates(policy, packets(1, 1, 1))
    headless = [(t_s, False) for t_s, _ in packets(3, start_s=-500.0)]
    assert Decode.CATCH_UP in fates(policy, headless)


def test_a_refusal_doubles_the_proof_that_is_asked_for() -> None:
    policy = KeyframePolicy(1.0)
    fates(policy, packets(1, 1, 1))
    policy.refuse()
    fates(policy, packets(1, 1, 1, start_s=3.0))
    assert not policy.keys_only
    fates(policy, packets(1, 1, start_s=6.0))
    assert policy.keys_only


def test_reset_makes_it_undecided() -> None:
    policy = KeyframePolicy(1.0)
    fates(policy, packets(1, 1, 1))
    policy.reset()
    assert policy.packet(9.0, is_key=False) is Decode.NOTHING
    assert policy.packet(9.1, is_key=True) is Decode.IN_ORDER


@given(st.lists(st.sampled_from([0.04, 0.2, 1.0, 1.08, 2.0, 4.0, 10.0]), max_size=20))
def test_no_stretch_of_a_stream_is_undecoded_for_longer_than_it_takes_to_notice(
    intervals_s: list[float],
) -> None:
    """What is left alone is either between two close key frames or caught up with."""
    policy = KeyframePolicy(1.0)
    last_s = 0.0
    for t_s, is_key in packets(*intervals_s):
        if policy.packet(t_s, is_key=is_key) is not Decode.NOTHING:
            last_s = t_s
        assert t_s - last_s <= 1.25 + 1 / FPS


@pytest.mark.parametrize(
    ("codec", "packet"),
    [
        ("h264", b"\0\0\0\1\x67ab\0\0\1\x65cd"),
        ("h264", b"\0\0\0\3\x67ab\0\0\0\3\x25cd"),
        ("hevc", b"anything"),
    ],
)
def test_a_key_frame_needs_nothing_before_it(codec: str, packet: bytes) -> None:
    assert begins_anew(codec, packet)


@pytest.mark.parametrize(
    "packet",
    [
        b"\0\0\0\1\x67ab\0\0\1\x41cd",  # a recovery point, no IDR
        b"\0\0\0\3\x67ab\0\0\0\3\x41\x65\x65",
        b"\0\0\1\x09\x10\0\0\1\x06\x65",
        b"",
    ],
)
def test_one_of_a_gradual_refresh_may_need_pictures_before_it(packet: bytes) -> None:
    assert not begins_anew("h264", packet)
