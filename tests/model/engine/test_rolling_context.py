"""Contexts and the pair that rolls, on the bundled model."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.engine.append import FrameFeatures, append
from model.engine.kv_cache import PagePool
from model.engine.rolling_context import Context, RollingContext
from model.errors import InputError
from model.family import Family
from model.types import Window
from model.videollama3.prompt import question_suffix
from tests.model.growing import logits_after, logits_of_prompt, new_pool, used_bytes
from tests.model.nano_model import nano, nano_family, nano_tokenizer

NUM_TOKENS = 6
EVERY = torch.arange(NUM_TOKENS)
NONE = EVERY[:0]
WINDOW_S = 10.0
TEXT = "Is there fire?"


def features(seed: int, *, num_tokens: int = NUM_TOKENS) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_tokens, nano().config.text.hidden_size, generator=generator)


class Grown:
    """A context and its pool, shown and read one frame at a time."""

    def __init__(self, *, start_pts_s: float = 0.0) -> None:
        self.pool = new_pool(nano())
        as_they_come = replace(nano_family().prompt, has_whole_stamps=False)
        family = replace(nano_family(), prompt=as_they_come)
        self.context = Context(self.pool, family, start_pts_s=start_pts_s)

    def append(self, rows: Tensor, *, pts_s: float) -> None:
        self.context.show(0, num_tokens=len(rows), is_whole=False, pts_s=pts_s)
        append(nano(), self.pool, [self.context], [FrameFeatures(None, rows)])


class Rolled(RollingContext):
    """A rolling context that reads each frame as it is shown."""

    def __init__(self, *, max_context_tokens: int = 16384) -> None:
        self.pool: PagePool = new_pool(nano())
        super().__init__(
            self.pool, nano_family(), window_s=WINDOW_S, max_context_tokens=max_context_tokens
        )

    def append(self, rows: Tensor, kept: Tensor, *, pts_s: float) -> bool:
        with self.all_or_nothing():
            is_whole = self.show(0, num_kept=len(kept), num_tokens=len(rows), pts_s=pts_s)
            append(nano(), self.pool, self.contexts, [FrameFeatures(rows, rows[kept])])
        return is_whole


def rolling(*, max_context_tokens: int = 16384) -> Rolled:
    return Rolled(max_context_tokens=max_context_tokens)


def next_logits(pool: PagePool, context: Context | None) -> Tensor:
    assert context is not None
    return logits_after(nano(), pool, context, nano_tokenizer().encode(question_suffix(TEXT)))


def logits_of_whole_prompt(frames: Sequence[tuple[float, Tensor]]) -> Tensor:
    return logits_of_prompt(nano(), nano_tokenizer(), frames, TEXT)


def test_a_context_is_written_in_its_familys_words() -> None:
    def stamp(time_s: float, *, is_first: bool) -> str:
        return f"{time_s:.0f}" if is_first else f" {time_s:.0f}"

    prompt = replace(nano_family().prompt, head="user:", frame_stamp=stamp)
    family = replace(nano_family(), prompt=prompt)
    context = Context(new_pool(nano()), family, start_pts_s=5.0)
    for pts_s in (5.0, 7.0):
        context.show(0, num_tokens=2, is_whole=False, pts_s=pts_s)
    words = [nano_tokenizer().decode(piece.stamp_ids) for piece in context.unread]
    assert words == ["user:0", " 2"]


@settings(max_examples=20, deadline=None)
@given(
    num_tokens=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    start_pts_s=st.floats(0.0, 1e6),
)
def test_growing_frame_by_frame_equals_one_pass_over_the_whole_prompt(
    num_tokens: list[int], start_pts_s: float
) -> None:
    frames = [
        (start_pts_s + 1.5 * n, features(n, num_tokens=count)) for n, count in enumerate(num_tokens)
    ]
    grown = Grown(start_pts_s=start_pts_s)
    for pts_s, rows in frames:
        grown.append(rows, pts_s=pts_s)
    torch.testing.assert_close(
        next_logits(grown.pool, grown.context), logits_of_whole_prompt(frames), atol=1e-3, rtol=0
    )


def test_a_fork_leaves_no_trace() -> None:
    grown = Grown()
    grown.append(features(0), pts_s=0.0)
    length, window, used = grown.context.length, grown.context.window, used_bytes(grown.pool)
    before = next_logits(grown.pool, grown.context)
    logits_after(nano(), grown.pool, grown.context, [1, 2, 3])
    assert (grown.context.length, grown.context.window) == (length, window)
    assert used_bytes(grown.pool) == used
    torch.testing.assert_close(next_logits(grown.pool, grown.context), before, atol=0, rtol=0)


def test_window_counts_frames_and_visual_tokens() -> None:
    grown = Grown(start_pts_s=5.0)
    grown.append(features(0), pts_s=5.0)
    grown.append(features(1, num_tokens=2), pts_s=7.5)
    assert grown.context.window == Window(5.0, 7.5, num_frames=2, num_tokens=NUM_TOKENS + 2)


def test_length_is_foretold() -> None:
    grown = Grown(start_pts_s=5.0)
    for pts_s in (5.0, 17.25):
        foretold = grown.context.length_with(NUM_TOKENS, pts_s=pts_s)
        grown.append(features(0), pts_s=pts_s)
        assert grown.context.length == foretold


def test_younger_takes_over_at_a_whole_window() -> None:
    stream = rolling()
    kept = EVERY[:2]
    for second in range(10):
        stream.append(features(second), kept, pts_s=float(second))
    assert stream.window == Window(0.0, 9.0, num_frames=10, num_tokens=NUM_TOKENS + 9 * 2)
    stream.append(features(10), kept, pts_s=10.0)
    assert stream.window == Window(5.0, 10.0, num_frames=6, num_tokens=NUM_TOKENS + 5 * 2)


def test_younger_began_with_a_whole_frame_and_saw_what_was_kept_since() -> None:
    stream = rolling()
    kept = EVERY[1:4]
    for second in range(11):
        stream.append(features(second), kept, pts_s=float(second))
    frames = [(5.0, features(5))]
    frames += [(float(second), features(second)[kept]) for second in range(6, 11)]
    torch.testing.assert_close(
        next_logits(stream.pool, stream.active), logits_of_whole_prompt(frames), atol=1e-4, rtol=0
    )


def test_the_first_frame_is_seen_whole_whatever_was_kept() -> None:
    stream = rolling()
    stream.append(features(0), NONE, pts_s=0.0)
    assert stream.window == Window(0.0, 0.0, num_frames=1, num_tokens=NUM_TOKENS)


def test_a_frame_that_keeps_nothing_brings_the_time_alone() -> None:
    stream = rolling()
    stream.append(features(0), EVERY, pts_s=0.0)
    length = stream.active.length if stream.active else None
    stream.append(features(1), NONE, pts_s=1.0)
    assert stream.active is not None
    assert stream.active.length == length
    assert stream.window == Window(0.0, 1.0, num_frames=1, num_tokens=NUM_TOKENS)


@pytest.mark.parametrize(
    "pts_s",
    [
        pytest.param(3.5, id="jump back in time"),
        pytest.param(14.5, id="gap longer than the window"),
    ],
)
def test_a_cut_in_time_starts_anew_with_a_whole_frame(pts_s: float) -> None:
    stream = rolling()
    for second in range(5):
        stream.append(features(second), EVERY[:1], pts_s=float(second))
    stream.append(features(9), EVERY[:1], pts_s=pts_s)
    assert stream.window == Window(pts_s, pts_s, num_frames=1, num_tokens=NUM_TOKENS)


def test_reset_forgets_everything() -> None:
    stream = rolling()
    stream.append(features(0), EVERY, pts_s=0.0)
    stream.reset()
    assert stream.window is None
    assert stream.active is None
    assert stream.num_bytes == used_bytes(stream.pool) == 0


def test_a_whole_frame_must_fit() -> None:
    stream = rolling(max_context_tokens=NUM_TOKENS)
    with pytest.raises(InputError, match=r"expected room for a whole frame, .* got 6"):
        stream.append(features(0), EVERY, pts_s=0.0)


@pytest.mark.parametrize("num_kept", [6, 0])
@pytest.mark.parametrize("pts_s", [7.0, 12.0, 2.0, 40.0])
def test_what_failed_is_taken_back(pts_s: float, num_kept: int) -> None:
    stream = rolling()
    for second in range(7):
        stream.append(features(second), EVERY, pts_s=float(second))
    contexts, window, used = stream.contexts, stream.window, used_bytes(stream.pool)
    before = next_logits(stream.pool, stream.active)

    def show() -> None:
        with stream.all_or_nothing():
            for frame in range(2):
                stream.show(frame, num_kept=num_kept, num_tokens=6, pts_s=pts_s + frame)
            shown = FrameFeatures(features(7), features(7)[:num_kept])
            append(nano(), stream.pool, stream.contexts, [shown] * 2)
            raise MemoryError

    with pytest.raises(MemoryError):
        show()
    assert (stream.contexts, stream.window, used_bytes(stream.pool)) == (contexts, window, used)
    torch.testing.assert_close(next_logits(stream.pool, stream.active), before, atol=0, rtol=0)


def test_a_frame_that_opens_a_context_is_wanted_whole() -> None:
    stream = rolling()
    wanted = [stream.append(features(n), EVERY[:2], pts_s=float(n)) for n in range(21)]
    assert [second for second, is_whole in enumerate(wanted) if is_whole] == [0, 5, 10, 15, 20]


def test_the_younger_given_up_comes_back_after_a_rest() -> None:
    stream = rolling()
    assert not stream.drop_standby()
    for second in range(7):
        stream.append(features(second), EVERY[:2], pts_s=float(second))
    assert stream.drop_standby()
    assert not stream.drop_standby()
    assert used_bytes(stream.pool) == stream.num_bytes
    wanted = [stream.append(features(n), EVERY[:2], pts_s=float(n)) for n in (7, 8, 9)]
    assert wanted == [False, False, True]


@settings(max_examples=25)
@given(
    frames=st.lists(st.tuples(st.floats(0.1, 3.0), st.booleans()), min_size=1, max_size=25),
)
def test_a_question_sees_between_half_a_window_and_a_whole_one(
    frames: list[tuple[float, bool]],
) -> None:
    stream = rolling()
    gaps_s = [gap_s for gap_s, _ in frames]
    times_s = np.cumsum(gaps_s).tolist()
    for pts_s, (_, is_still) in zip(times_s, frames, strict=True):
        stream.append(features(0), NONE if is_still else EVERY[:1], pts_s=pts_s)
        assert stream.window is not None
        seen_s = pts_s - stream.window.start_pts_s
        since_start_s = pts_s - times_s[0]
        assert stream.window.end_pts_s == pts_s
        assert min(since_start_s, WINDOW_S / 2 - max(gaps_s)) <= seen_s < WINDOW_S


@settings(max_examples=25)
@given(jitters_s=st.lists(st.floats(-0.4, 0.4), min_size=60, max_size=90))
def test_each_half_window_of_a_still_stream_begins_with_one_whole_frame(
    jitters_s: list[float],
) -> None:
    stream = rolling()
    times_s = [second + jitter_s for second, jitter_s in enumerate(jitters_s, 1)]
    whole_s = [t_s for t_s in times_s if stream.append(features(0), NONE, pts_s=t_s)]
    assert whole_s[0] == times_s[0]
    for earlier_s, later_s in pairwise(whole_s):
        assert WINDOW_S / 2 <= later_s - earlier_s < WINDOW_S / 2 + 1.8
    assert times_s[-1] - whole_s[-1] < WINDOW_S / 2


def whole_stamps(*, shows_now: bool = False) -> Family:
    prompt = replace(nano_family().prompt, has_whole_stamps=True, shows_now=shows_now)
    return replace(nano_family(), prompt=prompt)


@settings(max_examples=50)
@given(
    gaps_s=st.lists(st.floats(0.05, 3.0), min_size=1, max_size=12),
    sample_period_s=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_stamps_count_whole_periods_and_grow(gaps_s: list[float], sample_period_s: float) -> None:
    context = Context(
        new_pool(nano()), whole_stamps(), start_pts_s=7.3, sample_period_s=sample_period_s
    )
    for pts_s in 7.3 + np.cumsum([0.0, *gaps_s]):
        context.show(0, num_tokens=1, is_whole=False, pts_s=float(pts_s))
    words = [nano_tokenizer().decode(piece.stamp_ids) for piece in context.unread]
    stamps = [float(word.split("Time ")[1].removesuffix("s:")) for word in words]
    assert stamps[0] == 0.0
    assert all(stamp % sample_period_s == 0 for stamp in stamps)
    assert all(later > earlier for earlier, later in pairwise(stamps))


def test_stamps_of_a_sampled_stream_are_the_references() -> None:
    context = Context(new_pool(nano()), whole_stamps(), start_pts_s=100.1)
    for pts_s in (100.1, 101.0, 102.05, 103.97, 104.2):
        context.show(0, num_tokens=1, is_whole=False, pts_s=pts_s)
    words = "".join(nano_tokenizer().decode(piece.stamp_ids) for piece in context.unread)
    assert words == "user\nTime 0.0s:,Time 1.0s:,Time 2.0s:,Time 4.0s:,Time 5.0s:"


def test_now_is_the_newest_frame_that_is_not_there() -> None:
    context = Context(new_pool(nano()), whole_stamps(shows_now=True), start_pts_s=0.0)
    said = []
    for pts_s, is_still in ((0.0, False), (1.1, True), (1.9, True), (3.0, False), (3.4, True)):
        if is_still:
            context.pass_time(pts_s)
        else:
            context.show(0, num_tokens=1, is_whole=False, pts_s=pts_s)
        said.append(nano_tokenizer().decode(context.now_ids))
    assert said == ["", ",Time 1.0s:", ",Time 2.0s:", "", ",Time 4.0s:"]


@settings(max_examples=25)
@given(
    num_kept=st.lists(st.integers(1, NUM_TOKENS), min_size=8, max_size=30),
    max_context_tokens=st.integers(60, 120),
)
def test_a_busy_window_is_cut_short_and_keeps_half_its_tokens(
    num_kept: list[int], max_context_tokens: int
) -> None:
    stream = rolling(max_context_tokens=max_context_tokens)
    frame_tokens = NUM_TOKENS + len(",Time 1.0s:")
    start_pts_s = 0.0
    for index, count in enumerate(num_kept):
        stream.append(features(0), EVERY[:count], pts_s=index / 10)
        assert stream.active is not None
        assert stream.active.length <= max_context_tokens
        if stream.active.window.start_pts_s > start_pts_s:
            start_pts_s = stream.active.window.start_pts_s
            assert stream.active.length >= max_context_tokens / 2 - frame_tokens
