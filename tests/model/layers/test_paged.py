import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.layers import backends, paged
from model.layers.attention import SDPA, Segments, attention_with_lse, merge
from model.layers.backends import choose_backend
from model.layers.paged import (
    HEADS,
    PLAIN,
    SHORT_PAGES,
    choose_paged,
    largest_difference,
    plain_attend,
    plain_step,
)
from model.layers.pages import PAGE_TOKENS, OwnWords, PagedKernels, PagedSegments, Slabs
from tests.model.in_a_process import interpreted

CPU, CUDA = torch.device("cpu"), torch.device("cuda")

# Triton looks at the variable when a kernel is declared, so it takes a process of its own. The
# interpreter multiplies the bits of bfloat16 as if they were whole numbers.
INTERPRET = """
import torch
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder

dot = InterpreterBuilder.create_dot

def exact_dot(self, one, other, *rest):
    one, other = (
        self.create_fp_ext(x, tl.float32) if x.dtype.scalar == tl.bfloat16 else x
        for x in (one, other)
    )
    return dot(self, one, other, *rest)

InterpreterBuilder.create_dot = exact_dot

from model.layers import triton_paged
from model.layers.pages import PagedKernels, PagedSegments, Slabs
from model.layers.paged import largest_difference

kernels = PagedKernels("interpreted", triton_paged.attend, triton_paged.step)
cpu = torch.device("cpu")
print(largest_difference(kernels, device=cpu, dtype=torch.float32, with_fp8=True))
print(largest_difference(
    kernels, device=cpu, dtype=torch.bfloat16, with_fp8=False, shapes=[(28, 4, 128, 64)]
))
none = PagedSegments.of((), (), (), page_tokens=8, device=torch.device("cpu"))
slab = torch.zeros(8, 1, 16)
out, lse = triton_paged.attend(torch.zeros(0, 2, 16), Slabs(slab, slab), segments=none)
assert (out.shape, lse.shape) == ((0, 2, 16), (0, 2))
"""


def test_tritons_kernels_equal_the_plain_way() -> None:
    in_float32, in_bfloat16 = map(float, interpreted(INTERPRET).split())
    assert in_float32 < 1e-5
    assert in_bfloat16 < 2e-2


def laid_out(
    runs: list[tuple[int, int]], *, page_tokens: int, seed: int
) -> tuple[PagedSegments, Tensor, list[Tensor]]:
    """Runs of (queries, keys) over pages in any order; the slab, and where each run's keys lie."""
    generator = torch.Generator().manual_seed(seed)
    counts = [-(-num_keys // page_tokens) for _, num_keys in runs]
    order = torch.split(torch.randperm(sum(counts), generator=generator), counts)
    segments = PagedSegments.of(
        [num_queries for num_queries, _ in runs],
        [num_keys for _, num_keys in runs],
        [pages.tolist() for pages in order],
        page_tokens=page_tokens,
        device=CPU,
    )
    slab = torch.randn(2, sum(counts) * page_tokens, 2, 8, generator=generator)
    slots = [
        (pages[:, None] * page_tokens + torch.arange(page_tokens)).flatten()[:num_keys]
        for pages, (_, num_keys) in zip(order, runs, strict=True)
    ]
    return segments, slab, slots


RUNS = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9)), min_size=1, max_size=4)


@given(RUNS, st.integers(1, 5), st.integers(0, 99))
def test_pages_hold_what_lies_end_to_end(
    runs: list[tuple[int, int]], page_tokens: int, seed: int
) -> None:
    segments, slab, slots = laid_out(runs, page_tokens=page_tokens, seed=seed)
    q = torch.randn(sum(n for n, _ in runs), 4, 8, generator=torch.Generator().manual_seed(seed))
    packed = Segments.of([n for n, _ in runs], [n for _, n in runs], device=CPU)
    keys, values = slab[:, torch.cat(slots)]
    expected = attention_with_lse(q, keys, values, segments=packed, backend=SDPA)
    got = plain_attend(q, Slabs(slab[0], slab[1]), segments=segments)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert segments.longest_first.tolist() == sorted(
        range(len(runs)), key=lambda run: -runs[run][1]
    )


def test_a_step_sees_the_pages_and_its_own_words_and_stores_the_newest() -> None:
    segments, slab, slots = laid_out([(1, 5), (1, 3)], page_tokens=2, seed=1)
    generator = torch.Generator().manual_seed(2)
    q = torch.randn(2, 4, 8, generator=generator)
    k, v = torch.randn(2, 2, 2, 8, generator=generator)
    tails = torch.randn(2, 2, 2, 4, 8, generator=generator)
    own = OwnWords(tails[0], tails[1], torch.tensor([0, 3]))
    before = own.keys.clone(), own.values.clone()
    out = plain_step(q, (k, v), Slabs(slab[0], slab[1]), segments=segments, own=own)
    for row, length in enumerate((0, 3)):
        assert torch.equal(own.keys[row, :, length], k[row])
        assert torch.equal(own.values[row, :, length], v[row])
        assert torch.equal(own.keys[row, :, :length], before[0][row, :, :length])
        parts = []
        words = own.keys[row, :, : length + 1], own.values[row, :, : length + 1]
        for keys, values in (
            (slab[0, slots[row]], slab[1, slots[row]]),
            (words[0].transpose(0, 1), words[1].transpose(0, 1)),
        ):
            packed = Segments.of([1], [len(keys)], device=CPU)
            one = q[row : row + 1]
            parts.append(attention_with_lse(one, keys, values, segments=packed, backend=SDPA))
        torch.testing.assert_close(out[row : row + 1], merge(*parts), atol=1e-5, rtol=1e-5)


def test_the_plain_way_is_right_by_the_proof() -> None:
    assert largest_difference(PLAIN, device=CPU, dtype=torch.float32, with_fp8=True) < 1e-6
    assert largest_difference(PLAIN, device=CPU, dtype=torch.bfloat16, with_fp8=True) < 3e-2


def test_a_kernel_that_mistakes_the_last_page_fails_the_proof() -> None:
    def attend(q: Tensor, slabs: Slabs, *, segments: PagedSegments) -> tuple[Tensor, Tensor]:
        longer = segments.key_lengths + 1
        return plain_attend(
            q,
            slabs,
            segments=PagedSegments(
                segments.max_queries,
                segments.page_tokens,
                segments.query_starts,
                longer.clamp(max=segments.table.shape[1] * segments.page_tokens),
                segments.table,
                segments.longest_first,
            ),
        )

    wrong = PagedKernels("wrong", attend, plain_step)
    assert largest_difference(wrong, device=CPU, dtype=torch.float32, with_fp8=False) > 3e-2


@pytest.fixture(autouse=True)
def _fp8(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():
        monkeypatch.setattr(paged, "has_fp8", lambda _device: True)


def choose() -> PagedKernels | None:
    return choose_paged.__wrapped__(CUDA, torch.bfloat16)


def test_without_cuda_or_triton_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_paged(CPU, torch.float32) is None
    monkeypatch.setitem(sys.modules, "model.layers.triton_paged", None)
    assert choose() is None


def test_kernels_that_do_not_run_are_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object, **__: object) -> float:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(paged, "largest_difference", fails)
    assert choose() is None
    assert "does not run here: RuntimeError" in caplog.text


@pytest.mark.parametrize("difference", [0.2, float("nan")])
def test_kernels_that_are_wrong_are_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, difference: float
) -> None:
    monkeypatch.setattr(paged, "largest_difference", lambda *_, **__: difference)
    assert choose() is None
    assert f"is off by {difference:.3g}" in caplog.text


def test_kernels_that_are_right_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paged, "largest_difference", lambda *_, **__: 0.004)
    chosen = choose()
    assert chosen
    assert chosen.name == "triton"


def test_they_are_proved_with_the_networks_own_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    proved: list[tuple[int, ...]] = []

    def noted(*_: object, shapes: tuple[tuple[int, ...], ...], **__: object) -> float:
        proved.extend(shapes)
        return 0.0

    monkeypatch.setattr(paged, "largest_difference", noted)
    monkeypatch.setattr(backends, "choose_paged", choose_paged.__wrapped__)  # nothing stays
    backend = choose_backend(CUDA, torch.float32, heads=(28, 4, 128))
    assert backend.paged
    assert proved == [(28, 4, 128, PAGE_TOKENS), SHORT_PAGES]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cuda_has_tritons(dtype: torch.dtype) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for heads in (HEADS, (28, 4, 128)):
        chosen = choose_paged(CUDA, dtype, heads)
        assert chosen
        assert chosen.name == "triton"
