from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.engine.config import VisionMode
from model.engine.stream_encoder import FrameTokens, StreamEncoder
from model.errors import InputError
from model.types import PrunedFrame
from model.videollama3.network import VideoLlama3
from tests.model.streams import Mask, PlainDelta, frame, no_tokens, some_tokens
from tests.model.tiny import oracle, ours

GRIDS = st.tuples(st.integers(1, 4), st.integers(1, 4))
SHARES = st.floats(0.0, 1.0)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> VideoLlama3:
    return ours(oracle(), tmp_path_factory.mktemp("model"))


def encode(encoder: StreamEncoder, *frames: PrunedFrame) -> list[FrameTokens]:
    return encoder.encode(frames, [False] * len(frames))


def close(got: Tensor, expected: Tensor, *, atol: float = 1e-5) -> None:
    torch.testing.assert_close(got, expected, atol=atol, rtol=1e-5)


def cache_of(encoder: StreamEncoder) -> list[Tensor]:
    """Everything it holds of all streams."""
    return [layer.clone() for layer in encoder._cache._layers]


def is_same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# ---------------------------------------------------------------- what comes out


@settings(max_examples=8, deadline=None)
@given(grid=GRIDS, seed=st.integers(0, 99))
def test_delta_with_everything_changed_is_full(
    network: VideoLlama3, grid: tuple[int, int], seed: int
) -> None:
    delta, full = StreamEncoder(network), StreamEncoder(network, mode="full")
    for step in range(3):
        shown = frame("gate", grid, seed=seed + step)
        (one,), (other,) = encode(delta, shown), encode(full, shown)
        assert one.is_whole == other.is_whole == (step == 0)
        close(one.features, other.features)


@settings(max_examples=12, deadline=None)
@given(
    grid=GRIDS,
    steps=st.lists(st.tuples(SHARES, SHARES, st.booleans()), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_delta_is_the_plain_partial_encoder(
    network: VideoLlama3,
    grid: tuple[int, int],
    steps: list[tuple[float, float, bool]],
    seed: int,
) -> None:
    encoder, plain = StreamEncoder(network), PlainDelta(network)
    for step, (kept, stale, wanted) in enumerate([(1.0, 0.0, False), *steps]):
        shown = frame(
            "gate",
            grid,
            seed=seed + step,
            keep=some_tokens(grid, kept, seed=seed + step),
            stale=some_tokens(grid, stale, seed=seed + 50 + step) if stale else None,
        )
        is_whole = wanted or step == 0
        (got,) = encoder.encode([shown], [wanted])
        assert got.is_whole == is_whole
        close(got.features, plain.encode(shown, is_whole=is_whole), atol=1e-4)
        expected = np.ones_like(shown.keep_mask) if is_whole else shown.keep_mask
        assert np.array_equal(got.tokens, np.flatnonzero(expected))


@pytest.mark.parametrize("mode", ["full", "delta", "isolated"])
@settings(max_examples=6, deadline=None)
@given(
    cameras=st.lists(st.tuples(GRIDS, SHARES), min_size=2, max_size=4),
    order=st.randoms(use_true_random=False),
    seed=st.integers(0, 99),
)
def test_packed_streams_equal_each_alone(
    network: VideoLlama3,
    mode: VisionMode,
    cameras: list[tuple[tuple[int, int], float]],
    order: "np.random.RandomState",
    seed: int,
) -> None:
    packed = StreamEncoder(network, mode=mode)
    alone = [StreamEncoder(network, mode=mode) for _ in cameras]
    for step in range(3):
        frames = [
            frame(f"{index}", grid, seed=seed + step, keep=some_tokens(grid, share, seed=seed))
            for index, (grid, share) in enumerate(cameras)
        ]
        due = list(range(len(cameras)))
        order.shuffle(due)
        for index, got in zip(due, encode(packed, *(frames[i] for i in due)), strict=True):
            (expected,) = encode(alone[index], frames[index])
            close(got.features, expected.features)
            assert np.array_equal(got.tokens, expected.tokens)


def test_isolated_tokens_see_each_other_alone(network: VideoLlama3) -> None:
    encoder = StreamEncoder(network, mode="isolated")
    keep = no_tokens((3, 4))
    keep[1:, 2] = True
    encode(encoder, frame("gate", (3, 4), seed=0))
    one, other = frame("gate", (3, 4), seed=1, keep=keep), frame("gate", (3, 4), seed=2, keep=keep)
    other.pixels[28:, 56:84] = one.pixels[28:, 56:84]  # the kept tokens, and nothing else
    assert torch.equal(encode(encoder, one)[0].features, encode(encoder, other)[0].features)
    assert encoder.num_bytes == 0


def test_several_frames_of_a_stream_go_in_order(network: VideoLlama3) -> None:
    keep = some_tokens((2, 3), 0.5, seed=1)
    frames = [
        frame(stream_id, (2, 3), seed=seed, keep=keep)
        for seed in range(3)
        for stream_id in ("gate", "yard")
    ]
    together, apart = StreamEncoder(network), StreamEncoder(network)
    expected = [encode(apart, shown)[0] for shown in frames]
    for got, one in zip(encode(together, *frames), expected, strict=True):
        close(got.features, one.features)


def test_stale_tokens_are_cached_and_not_sent(network: VideoLlama3) -> None:
    encoder = StreamEncoder(network)
    stale, keep = some_tokens((3, 3), 0.5, seed=0), no_tokens((3, 3))
    encode(encoder, frame("gate", (3, 3), seed=0))
    before = cache_of(encoder)
    (got,) = encode(encoder, frame("gate", (3, 3), seed=1, keep=keep, stale=stale))
    assert got.features.shape == (0, 64)
    assert not len(got.tokens)
    moved = (before[0] != cache_of(encoder)[0]).any(dim=-1).any(dim=-1).any(dim=0)
    assert np.array_equal(moved.numpy(), stale.ravel().repeat(4))


def test_a_frame_that_shows_nothing_costs_nothing(network: VideoLlama3) -> None:
    encoder = StreamEncoder(network)
    encode(encoder, frame("gate", (2, 2), seed=0))
    before = cache_of(encoder)
    (got,) = encode(encoder, frame("gate", (2, 2), seed=1, keep=no_tokens((2, 2))))
    assert got.features.shape == (0, 64)
    assert is_same(before, cache_of(encoder))


# ---------------------------------------------------------------- company


def test_streams_that_come_go_and_refresh_leave_the_others_alone(network: VideoLlama3) -> None:
    keep = some_tokens((3, 3), 0.4, seed=5)
    steps = [frame("yard", (3, 3), seed=seed, keep=keep) for seed in range(6)]
    alone = StreamEncoder(network)
    expected = [encode(alone, shown)[0].features for shown in steps]

    encoder = StreamEncoder(network)
    gate = [frame("gate", (2, 4), seed=seed) for seed in range(3)]
    encode(encoder, gate[0])
    got = [encode(encoder, steps[0])[0]]
    encode(encoder, frame("shop", (4, 2), seed=9))
    got += [encode(encoder, steps[1], frame("gate", (2, 4), seed=7, is_refresh=True))[0]]
    encoder.remove("gate")
    got += [encode(encoder, steps[2])[0]]
    encode(encoder, frame("shop", (1, 3), seed=3, is_refresh=True))  # another grid
    got += [encode(encoder, steps[3])[0]]
    got += [encode(encoder, gate[1], steps[4])[1]]
    encoder.reset("gate")
    got += [encode(encoder, steps[5], gate[2])[0]]
    for one, other in zip(got, expected, strict=True):
        close(one.features, other, atol=1e-6)


def test_a_new_grid_a_refresh_a_reset_and_a_first_frame_come_whole(network: VideoLlama3) -> None:
    encoder, full = StreamEncoder(network), StreamEncoder(network, mode="full")
    keep = no_tokens((2, 3))
    keep[0, 0] = True

    def whole(shown: PrunedFrame) -> None:
        (got,) = encode(encoder, shown)
        assert got.is_whole
        close(got.features, full.encode([shown], [True])[0].features)

    whole(frame("gate", (2, 3), seed=0, keep=keep))
    assert not encode(encoder, frame("gate", (2, 3), seed=1, keep=keep))[0].is_whole
    whole(frame("gate", (2, 3), seed=2, keep=keep, is_refresh=True))
    encoder.reset("gate")
    whole(frame("gate", (2, 3), seed=3, keep=keep))
    whole(frame("gate", (3, 2), seed=4, keep=keep.T.copy()))
    encoder.remove("gate")
    whole(frame("gate", (3, 2), seed=5, keep=keep.T.copy()))


# ---------------------------------------------------------------- bytes


@settings(max_examples=12, deadline=None)
@given(
    moves=st.lists(
        st.tuples(st.sampled_from(["show", "remove"]), st.sampled_from("abc"), GRIDS), max_size=12
    )
)
def test_bytes_are_exact(
    network: VideoLlama3, moves: list[tuple[str, str, tuple[int, int]]]
) -> None:
    encoder = StreamEncoder(network)
    held: dict[str, int] = {}
    for move, stream_id, (rows, cols) in moves:
        if move == "show":
            encode(encoder, frame(stream_id, (rows, cols), seed=0, is_refresh=True))
            # layers x (K, V) x patches x width x float32
            held[stream_id] = 3 * 2 * (rows * cols * 4) * 96 * 4
        else:
            encoder.remove(stream_id)
            held.pop(stream_id, None)
        assert encoder.num_bytes == sum(held.values())
        assert all(encoder.bytes_of(name) == held.get(name, 0) for name in "abc")


def test_a_day_of_frames_holds_no_more_than_the_first_minute(network: VideoLlama3) -> None:
    encoder = StreamEncoder(network, audit_share=0.1, max_drift=1e-6)
    for step in range(60):
        keep = some_tokens((2, 2), 0.3, seed=step)
        encode(encoder, *(frame(name, (2, 2), seed=step, keep=keep) for name in "ab"))
    assert encoder.num_bytes == 2 * 3 * 2 * 16 * 96 * 4
    assert encoder.num_forced_refreshes > 0
    assert not encoder._saved


# ---------------------------------------------------------------- failures


class Interrupted(Exception):  # noqa: N818, it stands for any
    pass


def show_and_fail(encoder: StreamEncoder, *frames: PrunedFrame) -> None:
    with encoder.all_or_nothing():
        for shown in frames:
            encode(encoder, shown)
        raise Interrupted


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_nothing_changes_when_a_pass_fails(network: VideoLlama3, layer: int) -> None:
    encoder, spared = StreamEncoder(network), StreamEncoder(network)
    first = [frame(name, (2, 3), seed=0) for name in ("gate", "yard")]
    keep = some_tokens((2, 3), 0.5, seed=1)
    batch = [
        frame("gate", (2, 3), seed=1, keep=keep),
        frame("yard", (3, 1), seed=1),  # another grid
        frame("shop", (2, 2), seed=1),  # a new stream
        frame("gate", (2, 3), seed=2, is_refresh=True),
        frame("yard", (3, 1), seed=2),
    ]
    for one in (encoder, spared):
        encode(one, *first)
    before = cache_of(encoder)

    def fail(*_: object) -> None:
        raise Interrupted

    mlp = network.vision.get_submodule(f"layers.{layer}.mlp")
    hook = mlp.register_forward_pre_hook(fail)
    try:
        with pytest.raises(Interrupted):
            encode(encoder, *batch)
    finally:
        hook.remove()
    assert is_same(before, cache_of(encoder))
    assert encoder.bytes_of("shop") == 0
    again = frame("yard", (2, 3), seed=4, keep=keep)
    close(encode(encoder, again)[0].features, encode(spared, again)[0].features)
    for got, expected in zip(encode(encoder, *batch), encode(spared, *batch), strict=True):
        assert got.is_whole == expected.is_whole
        close(got.features, expected.features)


def test_a_block_that_fails_takes_back_all_it_encoded(network: VideoLlama3) -> None:
    encoder = StreamEncoder(network, audit_share=1.0, max_drift=0.0)
    encode(encoder, frame("gate", (2, 3), seed=0))
    before, num_bytes = cache_of(encoder), encoder.num_bytes
    keep = some_tokens((2, 3), 0.5, seed=1)

    with pytest.raises(Interrupted):
        show_and_fail(
            encoder,
            frame("gate", (2, 3), seed=1, keep=keep),
            frame("yard", (1, 2), seed=1),
            frame("gate", (1, 3), seed=2),
        )
    assert is_same(before, cache_of(encoder))
    assert encoder.num_bytes == num_bytes
    assert encoder.num_audits == encoder.num_forced_refreshes == 0
    assert encoder.drift is None


def test_a_failed_block_inside_another_takes_back_its_own_part(network: VideoLlama3) -> None:
    encoder = StreamEncoder(network)
    keep = some_tokens((2, 3), 0.5, seed=1)
    with encoder.all_or_nothing():
        encode(encoder, frame("gate", (2, 3), seed=0))
        before = cache_of(encoder)
        shown = frame("gate", (2, 3), seed=1, keep=keep)
        with pytest.raises(Interrupted):
            show_and_fail(encoder, shown)
    assert is_same(before, cache_of(encoder))


# ---------------------------------------------------------------- drift


def test_an_audit_measures_the_drift(network: VideoLlama3) -> None:
    encoder = StreamEncoder(network, audit_share=1.0, max_drift=2.0)
    full = StreamEncoder(network, mode="full")
    keep = some_tokens((3, 3), 0.3, seed=1)
    encode(encoder, frame("gate", (3, 3), seed=0))
    assert encoder.drift is None
    shown = frame("gate", (3, 3), seed=1, keep=keep)
    (got,) = encode(encoder, shown)
    exact = full.encode([shown], [True])[0].features[torch.from_numpy(got.tokens)]
    assert encoder.drift is not None
    cosine = torch.cosine_similarity(got.features, exact, dim=-1).mean()
    assert encoder.drift.cosine_distance == pytest.approx(1 - float(cosine), abs=1e-6)
    assert encoder.drift.relative_l2 == pytest.approx(
        float((got.features - exact).norm() / exact.norm()), rel=1e-5
    )
    assert encoder.num_audits == 1
    assert encoder.num_forced_refreshes == 0


def test_too_much_drift_replaces_the_cache(network: VideoLlama3) -> None:
    encoder = StreamEncoder(network, audit_share=1.0, max_drift=1e-4)
    refreshed = StreamEncoder(network)
    keep = some_tokens((3, 3), 0.3, seed=1)
    encode(encoder, frame("gate", (3, 3), seed=0))
    shown = frame("gate", (3, 3), seed=1, keep=keep)
    (got,) = encode(encoder, shown)
    (whole,) = refreshed.encode([shown], [True])
    assert encoder.num_forced_refreshes == 1
    assert not got.is_whole, "no token is sent again"
    close(got.features, whole.features[torch.from_numpy(got.tokens)])
    for one, other in zip(cache_of(encoder), cache_of(refreshed), strict=True):
        close(one, other)


def test_streams_are_audited_in_turn(network: VideoLlama3) -> None:
    encoder = StreamEncoder(network, audit_share=0.25, max_drift=2.0)
    names = [f"camera-{index}" for index in range(12)]
    encode(encoder, *(frame(name, (1, 2), seed=0) for name in names))
    keep = no_tokens((1, 2))
    keep[0, 0] = True
    counts = []
    for step in range(8):
        before = encoder.num_audits
        encode(encoder, *(frame(name, (1, 2), seed=step, keep=keep) for name in names))
        counts.append(encoder.num_audits - before)
    assert sum(counts) == 2 * len(names)
    assert max(counts) < len(names), "not all at once"


def test_drift_grows_with_what_changed_unseen_and_with_age(network: VideoLlama3) -> None:
    """The cache ages as the scene changes in tokens that are not sent."""
    grid = (4, 4)
    keep = no_tokens(grid)
    keep[1:3, 1:3] = True

    def drift(unseen: float, age: int) -> float:
        total = 0.0
        for seed in range(3):
            encoder = StreamEncoder(network, audit_share=1.0, max_drift=2.0)
            encode(encoder, frame("gate", grid, seed=seed))
            pixels = frame("gate", grid, seed=seed).pixels.astype(np.float64)
            rng = np.random.default_rng(seed)
            moving = (rng.permutation(16).reshape(grid) < unseen * 16) | keep
            where = moving.repeat(28, axis=0).repeat(28, axis=1)
            for _ in range(age):
                pixels[where] += rng.normal(0, 25, (int(where.sum()), 3))
            shown = frame("gate", grid, seed=seed, keep=keep)
            shown.pixels[...] = np.clip(pixels, 0, 255).astype(np.uint8)
            encode(encoder, shown)
            assert encoder.drift is not None
            total += encoder.drift.cosine_distance
        return total / 3

    assert drift(0.0, 1) < drift(0.5, 1) < drift(1.0, 1) < drift(1.0, 8)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "some"}, "expected one of .* got some"),
        ({"audit_share": 1.5}, r"audit_share within 0\.\.1"),
        ({"max_drift": -1.0}, "max_drift from 0"),
        ({"max_drift": float("nan")}, "max_drift from 0"),
    ],
)
def test_wrong_settings_are_refused(
    network: VideoLlama3, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        StreamEncoder(network, **settings)  # type: ignore[arg-type]


def test_a_frame_that_does_not_fit_is_refused_before_anything_is_done(
    network: VideoLlama3,
) -> None:
    encoder = StreamEncoder(network)
    stale: Mask = no_tokens((2, 3))
    good, bad = frame("gate", (2, 2), seed=0), frame("yard", (2, 2), seed=0, stale=stale)
    with pytest.raises(InputError, match=r"stream yard: .*stale mask of bool \(2, 2\)"):
        encode(encoder, good, bad)
    with pytest.raises(InputError, match="one for each of 1, got 0"):
        encoder.encode([good], [])
    assert encoder.num_bytes == 0


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_the_device_packed_partial_frames_are_near_the_plain_encoder(
    network: VideoLlama3, dtype: torch.dtype, tmp_path_factory: pytest.TempPathFactory
) -> None:
    device = ours(oracle(), tmp_path_factory.mktemp("device")).to("cuda", dtype)
    encoder, plain = StreamEncoder(device), [PlainDelta(network) for _ in range(3)]
    for step in range(3):
        keep = some_tokens((3, 4), 0.3, seed=step)
        frames = [frame(f"{one}", (3, 4), seed=9 * step + one, keep=keep) for one in range(3)]
        for one, got in enumerate(encode(encoder, *frames)):
            expected = plain[one].encode(frames[one], is_whole=step == 0)
            cosine = torch.cosine_similarity(got.features.float().cpu(), expected, dim=-1)
            assert cosine.min() > (0.999 if dtype == torch.float32 else 0.98)
