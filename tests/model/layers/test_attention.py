import sys
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.errors import BackendError
from model.layers.attention import (
    SDPA,
    Backend,
    Kernel,
    Segments,
    attention,
    attention_with_lse,
    merge,
)
from model.layers.backends import (
    MOST_FOLDED_ROWS,
    choose_backend,
    folding,
    plain_attention,
    plain_attention_with_lse,
    prove,
)

CPU = torch.device("cpu")
SEGMENT = st.tuples(st.integers(0, 6), st.integers(0, 6))


def packed(
    segments: Segments, *, num_heads: int, num_kv_heads: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    num_q, num_k = sum(segments.query_lengths), sum(segments.key_lengths)
    q = torch.randn(num_q, num_heads, 8, generator=generator)
    k, v = torch.randn(2, num_k, num_kv_heads, 8, generator=generator).unbind()
    return q, k, v


@given(
    st.lists(SEGMENT, min_size=1, max_size=5),
    st.sampled_from([(2, 2), (6, 2), (3, 1)]),
    st.booleans(),
    st.integers(0, 99),
)
def test_sdpa_equals_the_plain_formula(
    lengths: list[tuple[int, int]],
    heads: tuple[int, int],
    is_causal: bool,  # noqa: FBT001, Hypothesis passes it by name
    seed: int,
) -> None:
    num_heads, num_kv_heads = heads
    segments = Segments.of(
        [num_q for num_q, _ in lengths], [num_q + more for num_q, more in lengths], device=CPU
    )
    q, k, v = packed(segments, num_heads=num_heads, num_kv_heads=num_kv_heads, seed=seed)
    got = attention(q, k, v, segments=segments, backend=SDPA, is_causal=is_causal)
    torch.testing.assert_close(
        got, plain_attention(q, k, v, segments=segments, is_causal=is_causal), atol=1e-5, rtol=1e-5
    )
    both = attention_with_lse(q, k, v, segments=segments, backend=SDPA, is_causal=is_causal)
    expected = plain_attention_with_lse(q, k, v, segments=segments, is_causal=is_causal)
    for one, other in zip(both, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6), st.integers(1, 6)), min_size=1),
    st.integers(0, 99),
)
def test_parts_merged_equal_one_pass_over_all_keys(
    lengths: list[tuple[int, int, int]], seed: int
) -> None:
    num_q, some, others = (list(part) for part in zip(*lengths, strict=True))
    both = [one + other for one, other in zip(some, others, strict=True)]
    segments = Segments.of(num_q, both, device=CPU)
    q, k, v = packed(segments, num_heads=6, num_kv_heads=2, seed=seed)
    of_some = torch.cat(
        [torch.arange(total) < part for total, part in zip(both, some, strict=True)]
    )
    parts = [
        attention_with_lse(
            q, k[at], v[at], segments=Segments.of(num_q, num_k, device=CPU), backend=SDPA
        )
        for at, num_k in ((of_some, some), (~of_some, others))
    ]
    expected = attention(q, k, v, segments=segments, backend=SDPA)
    torch.testing.assert_close(merge(*parts), expected, atol=1e-5, rtol=1e-5)


@given(
    st.lists(st.tuples(st.integers(0, 70), st.integers(1, 9)), min_size=1, max_size=4),
    st.sampled_from([(6, 2), (4, 4), (6, 1)]),
    st.booleans(),
)
def test_query_heads_as_rows_give_the_same(
    lengths: list[tuple[int, int]],
    heads: tuple[int, int],
    is_causal: bool,  # noqa: FBT001, drawn
) -> None:
    asked: list[int] = []

    def kernel(
        q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, is_causal: bool
    ) -> tuple[Tensor, Tensor]:
        assert q.is_contiguous()
        assert segments.cu_seqlens_q.diff().tolist() == list(segments.query_lengths)
        asked.append(q.shape[1])
        return plain_attention_with_lse(q, k, v, segments=segments, is_causal=is_causal)

    num_q = [asking for asking, _ in lengths]
    segments = Segments.of(num_q, [sum(both) for both in lengths], device=CPU)
    q, k, v = packed(segments, num_heads=heads[0], num_kv_heads=heads[1], seed=1)
    got = folding(kernel)(q, k, v, segments=segments, is_causal=is_causal)
    expected = plain_attention_with_lse(q, k, v, segments=segments, is_causal=is_causal)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    is_folded = not is_causal and max(num_q) <= MOST_FOLDED_ROWS
    assert asked == [heads[1] if is_folded else heads[0]]


def test_segments_without_queries_cost_nothing_and_give_nothing() -> None:
    segments = Segments.of([0, 0], [3, 4], device=CPU)
    q, k, v = packed(segments, num_heads=2, num_kv_heads=1, seed=0)
    assert attention(q, k, v, segments=segments, backend=SDPA).shape == (0, 2, 8)
    out, lse = attention_with_lse(q, k, v, segments=segments, backend=SDPA)
    assert (out.shape, lse.shape) == ((0, 2, 8), (0, 2))


@pytest.mark.parametrize("lengths", [(5, 5, 5), (3, 7, 2)])
def test_segments_do_not_see_each_other(lengths: tuple[int, ...]) -> None:
    segments = Segments.of(lengths, device=CPU)
    q, k, v = packed(segments, num_heads=2, num_kv_heads=2, seed=0)
    before = attention(q, k, v, segments=segments, backend=SDPA)
    first = lengths[0]
    k[:first], v[:first] = 9.0, 9.0
    after = attention(q, k, v, segments=segments, backend=SDPA)
    assert torch.equal(before[first:], after[first:])
    assert not torch.allclose(before[:first], after[:first])


def test_causal_queries_are_the_last_keys_and_see_no_later_one() -> None:
    segments = Segments.of([3], [8], device=CPU)
    q, k, v = packed(segments, num_heads=4, num_kv_heads=2, seed=0)
    before = attention(q, k, v, segments=segments, backend=SDPA, is_causal=True)
    k[7], v[7] = 9.0, 9.0
    after = attention(q, k, v, segments=segments, backend=SDPA, is_causal=True)
    assert torch.equal(before[:2], after[:2])
    assert not torch.allclose(before[2], after[2])


def test_segments_lie_end_to_end() -> None:
    segments = Segments.of([2, 3], [4, 5], device=CPU)
    assert segments.cu_seqlens_q.tolist() == [0, 2, 5]
    assert segments.cu_seqlens_k.tolist() == [0, 4, 9]
    assert segments.cu_seqlens_q.dtype == torch.int32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_backend_chosen_for_the_cpu_is_proved_and_says_why(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    backend = choose_backend(CPU, dtype)
    assert backend.name == "sdpa"
    assert "cpu" in backend.reason
    # oneDNN takes AMX for bfloat16 wherever the CPU names it; some virtual machines then trap it.
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert prove(backend, device=CPU, dtype=dtype) < 0.03


class FakeFlashAttention(ModuleType):
    """The package flash-attn as far as it is used here: packed rows between cumulative lengths."""

    def flash_attn_varlen_func(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        cu_seqlens_q: Tensor,
        cu_seqlens_k: Tensor,
        max_seqlen_q: int,
        max_seqlen_k: int,
        causal: bool,
        return_attn_probs: bool,
    ) -> tuple[Tensor, Tensor, None]:
        assert return_attn_probs
        lengths_q, lengths_k = cu_seqlens_q.diff().tolist(), cu_seqlens_k.diff().tolist()
        assert max_seqlen_k == max(lengths_k)
        if max_seqlen_q == 1:  # its way of decoding
            assert set(lengths_q) == {1}
        else:
            assert max_seqlen_q >= max(lengths_q)
        segments = Segments.of(lengths_q, lengths_k, device=q.device)
        out, lse = plain_attention_with_lse(q, k, v, segments=segments, is_causal=causal)
        return out, lse.transpose(0, 1), None


def test_flash_attention_is_chosen_where_it_can_run_and_is_called_as_it_expects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (7, 5))
    old = choose_backend(cuda, torch.float16)
    assert (old.name, "the device has 7.5" in old.reason) == ("sdpa", True)

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (9, 0))
    monkeypatch.setitem(sys.modules, "flash_attn", FakeFlashAttention("flash_attn"))
    backend = choose_backend(cuda, torch.bfloat16)
    assert backend.name == "flash-attn"
    assert prove(backend, device=CPU, dtype=torch.float32) < 1e-5
    assert "16-bit" in choose_backend(cuda, torch.float32).reason

    monkeypatch.setitem(sys.modules, "flash_attn", None)
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    backend = choose_backend(cuda, torch.bfloat16)
    assert (backend.name, backend.reason) == ("varlen", "flash-attn is not installed")

    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: False)
    backend = choose_backend(cuda, torch.bfloat16)
    assert backend.name == "sdpa"
    assert backend.reason == (
        "flash-attn is not installed, and this PyTorch was built without its kernel"
    )


def broken(name: str, kernel: Kernel) -> Backend:
    """A backend whose outputs alone are wrong."""
    return Backend(name, "a test", kernel, SDPA.lse_kernel)


def test_a_backend_with_a_wrong_log_sum_exp_fails_its_proof() -> None:
    def lse_kernel(
        q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, is_causal: bool
    ) -> tuple[Tensor, Tensor]:
        out, lse = plain_attention_with_lse(q, k, v, segments=segments, is_causal=is_causal)
        return out, lse * 0.7  # as if in base 2

    with pytest.raises(BackendError, match="binary on cpu"):
        prove(Backend("binary", "a test", SDPA.kernel, lse_kernel), device=CPU, dtype=torch.float32)


def test_a_backend_that_ignores_the_causal_mask_fails_its_proof() -> None:
    def kernel(q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, is_causal: bool) -> Tensor:
        del is_causal
        return plain_attention(q, k, v, segments=segments, is_causal=False)

    with pytest.raises(BackendError, match="forgetful on cpu"):
        prove(broken("forgetful", kernel), device=CPU, dtype=torch.float32)


def test_a_backend_that_returns_nan_fails_its_proof() -> None:
    def kernel(q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, is_causal: bool) -> Tensor:
        return plain_attention(q, k, v, segments=segments, is_causal=is_causal) * float("nan")

    with pytest.raises(BackendError, match="nan"):
        prove(broken("broken", kernel), device=CPU, dtype=torch.float32)


def test_a_kernel_that_does_not_run_fails_its_proof() -> None:
    def kernel(q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, is_causal: bool) -> Tensor:
        del q, k, v, segments, is_causal
        raise RuntimeError("no kernel image is available for this device")

    with pytest.raises(BackendError, match=r"absent on cpu.*no kernel image"):
        prove(broken("absent", kernel), device=CPU, dtype=torch.float32)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_backend_chosen_for_cuda_is_proved(dtype: torch.dtype) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device = torch.device("cuda")
    prove(choose_backend(device, dtype), device=device, dtype=dtype)
    prove(SDPA, device=device, dtype=dtype)
