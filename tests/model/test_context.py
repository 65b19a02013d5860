from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.context import Context, RollingContext
from model.errors import InputError
from model.prompt import HEAD, frame_stamp, question_suffix
from model.types import Window
from tests.model.nano_model import nano, nano_tokenizer

NUM_TOKENS = 6
EVERY = torch.arange(NUM_TOKENS)
NONE = EVERY[:0]
WINDOW_S = 10.0


def features(seed: int, *, num_tokens: int = NUM_TOKENS) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_tokens, nano().config.text.hidden_size, generator=generator)


def context(*, start_pts_s: float = 0.0) -> Context:
    return Context(nano(), nano_tokenizer(), start_pts_s=start_pts_s)


def rolling(*, max_context_tokens: int = 16384) -> RollingContext:
    return RollingContext(
        nano(), nano_tokenizer(), window_s=WINDOW_S, max_context_tokens=max_context_tokens
    )


def next_logits(asked: Context) -> Tensor:
    with asked.fork() as fork:
        return fork.extend(nano_tokenizer().encode(question_suffix("Is there fire?")))


def logits_of_whole_prompt(frames: Sequence[tuple[float, Tensor]]) -> Tensor:
    """The last logits of one pass over the prompt written out in full."""
    model, tokenizer = nano(), nano_tokenizer()

    def text(words: str) -> Tensor:
        return model.language.embed(torch.tensor(tokenizer.encode(words)))

    start_s = frames[0][0]
    parts = [text(HEAD)]
    for pts_s, rows in frames:
        parts += [text(frame_stamp(pts_s - start_s, is_first=len(parts) == 1)), rows]
    parts.append(text(question_suffix("Is there fire?")))
    fresh = context()
    return model.language.logits(model.language.forward(torch.cat(parts), fresh._cache))[-1]


def test_growing_frame_by_frame_equals_one_pass_over_the_whole_prompt() -> None:
    frames = [(3.0 + 1.5 * n, features(n, num_tokens=1 + n % 3)) for n in range(8)]
    grown = context(start_pts_s=3.0)
    for pts_s, rows in frames:
        grown.append(rows, pts_s=pts_s)
    with torch.inference_mode():
        torch.testing.assert_close(
            next_logits(grown), logits_of_whole_prompt(frames), atol=1e-4, rtol=0
        )


def test_a_fork_leaves_no_trace() -> None:
    grown = context()
    grown.append(features(0), pts_s=0.0)
    length, window, before = grown.length, grown.window, next_logits(grown)
    with grown.fork() as fork:
        fork.extend([1, 2, 3])
        with fork.branch():
            fork.score([4, 5])
        fork.extend([6])
    assert (grown.length, grown.window) == (length, window)
    torch.testing.assert_close(next_logits(grown), before, atol=0, rtol=0)


def test_a_fork_that_fails_leaves_no_trace() -> None:
    grown = context()
    grown.append(features(0), pts_s=0.0)
    length = grown.length

    def ask() -> None:
        with grown.fork() as fork:
            fork.extend([1, 2, 3])
            raise MemoryError

    with pytest.raises(MemoryError):
        ask()
    assert grown.length == length


def test_a_branch_ends_where_it_began() -> None:
    grown = context()
    grown.append(features(0), pts_s=0.0)
    with grown.fork() as fork:
        fork.extend([7])
        with fork.branch():
            first = fork.score([1, 2])
        with fork.branch():
            again = fork.score([1, 2])
    torch.testing.assert_close(first, again, atol=0, rtol=0)


def test_window_counts_frames_and_visual_tokens() -> None:
    grown = context(start_pts_s=5.0)
    grown.append(features(0), pts_s=5.0)
    grown.append(features(1, num_tokens=2), pts_s=7.5)
    assert grown.window == Window(5.0, 7.5, num_frames=2, num_tokens=NUM_TOKENS + 2)


def test_length_is_foretold() -> None:
    grown = context(start_pts_s=5.0)
    for pts_s in (5.0, 17.25):
        foretold = grown.length_with(NUM_TOKENS, pts_s=pts_s)
        grown.append(features(0), pts_s=pts_s)
        assert grown.length == foretold


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
    assert stream.elder is not None
    with torch.inference_mode():
        torch.testing.assert_close(
            next_logits(stream.elder), logits_of_whole_prompt(frames), atol=1e-4, rtol=0
        )


def test_the_first_frame_is_seen_whole_whatever_was_kept() -> None:
    stream = rolling()
    stream.append(features(0), NONE, pts_s=0.0)
    assert stream.window == Window(0.0, 0.0, num_frames=1, num_tokens=NUM_TOKENS)


def test_a_frame_that_keeps_nothing_is_not_shown() -> None:
    stream = rolling()
    stream.append(features(0), EVERY, pts_s=0.0)
    length = stream.elder.length if stream.elder else None
    stream.append(features(1), NONE, pts_s=1.0)
    assert stream.elder is not None
    assert stream.elder.length == length
    assert stream.window == Window(0.0, 0.0, num_frames=1, num_tokens=NUM_TOKENS)


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
    assert stream.elder is None
    assert stream.num_bytes == 0


def test_a_whole_frame_must_fit() -> None:
    stream = rolling(max_context_tokens=NUM_TOKENS)
    with pytest.raises(InputError, match=r"expected room for a whole frame, .* got 6"):
        stream.append(features(0), EVERY, pts_s=0.0)


def test_what_failed_is_taken_back() -> None:
    stream = rolling()
    for second in range(7):
        stream.append(features(second), EVERY, pts_s=float(second))
    assert stream.elder is not None
    window, before = stream.window, next_logits(stream.elder)

    def show() -> None:
        with stream.all_or_nothing():
            stream.append(features(7), EVERY, pts_s=7.0)
            stream.append(features(8), EVERY, pts_s=8.0)
            raise MemoryError

    with pytest.raises(MemoryError):
        show()
    assert stream.window == window
    torch.testing.assert_close(next_logits(stream.elder), before, atol=0, rtol=0)


@settings(max_examples=25)
@given(gaps_s=st.lists(st.floats(0.1, 3.0), min_size=1, max_size=25))
def test_a_question_sees_between_half_a_window_and_a_whole_one(gaps_s: list[float]) -> None:
    stream = rolling()
    times_s = np.cumsum(gaps_s).tolist()
    for pts_s in times_s:
        stream.append(features(0), EVERY[:1], pts_s=pts_s)
        assert stream.window is not None
        seen_s = pts_s - stream.window.start_pts_s
        since_start_s = pts_s - times_s[0]
        assert stream.window.end_pts_s == pts_s
        assert min(since_start_s, WINDOW_S / 2 - max(gaps_s)) <= seen_s < WINDOW_S


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
        assert stream.elder is not None
        assert stream.elder.length <= max_context_tokens
        if stream.elder.window.start_pts_s > start_pts_s:
            start_pts_s = stream.elder.window.start_pts_s
            assert stream.elder.length >= max_context_tokens / 2 - frame_tokens
