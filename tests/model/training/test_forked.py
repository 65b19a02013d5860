import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.training.forked import ForkedAttention
from model.training.packing import Fork, Layout
from model.training.padded import PaddedAttention

HEADS, KV_HEADS, WIDTH = 4, 2, 8


def layout(num_trunk: int, forks: list[tuple[int, int]]) -> Layout:
    """A trunk and forks of (length, rows of the trunk seen)."""
    begin, placed = num_trunk, []
    for length, num_seen in forks:
        placed.append(Fork(begin, begin + length, min(num_seen, num_trunk)))
        begin += length
    return Layout(begin, num_trunk, tuple(placed))


def plain(layouts: list[Layout], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The formula, with a mask as large as each sample."""
    outputs = []
    start = 0
    for one in layouts:
        own = slice(start, start + one.length)
        start += one.length
        keys = k[own].repeat_interleave(HEADS // KV_HEADS, dim=1).transpose(0, 1)
        values = v[own].repeat_interleave(HEADS // KV_HEADS, dim=1).transpose(0, 1)
        scores = q[own].transpose(0, 1) @ keys.transpose(1, 2) * WIDTH**-0.5
        shares = scores.masked_fill(~one.sees(), float("-inf")).softmax(-1)
        outputs.append((shares @ values).transpose(0, 1))
    return torch.cat(outputs)


samples = st.builds(
    layout,
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 12)), max_size=5),
)


@pytest.mark.parametrize("attention", [ForkedAttention, PaddedAttention])
@settings(max_examples=60, deadline=None)
@given(layouts=st.lists(samples, min_size=1, max_size=3), seed=st.integers(0, 99))
def test_it_is_the_formula_and_so_are_its_gradients(
    attention: type[ForkedAttention | PaddedAttention], layouts: list[Layout], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    length = sum(one.length for one in layouts)
    q, k, v = (
        torch.randn(length, heads, WIDTH, generator=generator, requires_grad=True)
        for heads in (HEADS, KV_HEADS, KV_HEADS)
    )
    out = attention(layouts, device=torch.device("cpu"))(0, q, k, v)
    expected = plain(layouts, q, k, v)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-4)
    way = torch.randn(out.shape, generator=generator)
    for got, wanted in zip(
        torch.autograd.grad((out * way).sum(), (q, k, v)),
        torch.autograd.grad((expected * way).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("attention", [ForkedAttention, PaddedAttention])
def test_the_rows_that_are_wanted_are_those_of_all(
    attention: type[ForkedAttention | PaddedAttention],
) -> None:
    layouts, wanted = [layout(4, [(2, 3)]), layout(3, [])], torch.tensor([1, 5, 8])
    q, k, v = (torch.randn(9, heads, WIDTH) for heads in (HEADS, KV_HEADS, KV_HEADS))
    some = attention(layouts, device=torch.device("cpu"), wanted=wanted)(0, q[wanted], k, v)
    torch.testing.assert_close(some, plain(layouts, q, k, v)[wanted], atol=1e-5, rtol=1e-4)


def test_a_fork_sees_its_part_of_the_trunk_and_no_other_fork() -> None:
    seen = layout(4, [(2, 3), (1, 4)]).sees()
    assert seen[4].tolist() == [True, True, True, False, True, False, False]
    assert seen[6].tolist() == [True, True, True, True, False, False, True]
    assert seen.sum() == pytest.approx(4 * 5 / 2 + 2 * 3 + 3 + 4 + 1)
