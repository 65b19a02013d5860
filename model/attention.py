"""One entry point for attention: packed segments, full or causal, any number of key heads.

A segment is a run of queries and the run of keys it sees: one frame's patches and themselves; the
changed patches of a frame and all of it; the last L tokens of a sequence and its whole cache.
The backend is chosen once, by `choose_backend`, and `prove` compares it with the plain formula.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from typing import Protocol, Self

import torch
import torch.nn.functional as F  # noqa: N812, the field's own name
from torch import Tensor

from model.errors import BackendError


@dataclass(frozen=True, slots=True)
class Segments:
    """Where each segment's queries and keys lie in the packed rows.

    Attributes:
        query_lengths: queries of each segment, on the host.
        key_lengths: keys of each segment, on the host.
        cu_seqlens_q: (S + 1,) int32 on the device, starting at 0.
        cu_seqlens_k: (S + 1,) int32 on the device, starting at 0.
    """

    query_lengths: tuple[int, ...]
    key_lengths: tuple[int, ...]
    cu_seqlens_q: Tensor = field(repr=False)
    cu_seqlens_k: Tensor = field(repr=False)

    @classmethod
    def of(
        cls,
        query_lengths: Sequence[int],
        key_lengths: Sequence[int] | None = None,
        *,
        device: torch.device,
    ) -> Self:
        """Lay segments end to end; without `key_lengths` each sees itself."""
        key_lengths = query_lengths if key_lengths is None else key_lengths

        def cu_seqlens(lengths: Sequence[int]) -> Tensor:
            return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)

        cu_seqlens_q = cu_seqlens(query_lengths)
        is_self = key_lengths is query_lengths
        return cls(
            query_lengths=tuple(query_lengths),
            key_lengths=tuple(key_lengths),
            cu_seqlens_q=cu_seqlens_q,
            cu_seqlens_k=cu_seqlens_q if is_self else cu_seqlens(key_lengths),
        )


class Attend(Protocol):
    """What a network's rows see; the networks call it once for each layer, in order.

    q (N, num_heads, head_dim) and k (N, num_kv_heads, head_dim) are rotated; v is shaped as k.
    Returns (N, num_heads, head_dim).
    """

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor: ...


class Kernel(Protocol):
    """What a backend computes; see `attention` for the arguments."""

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, is_causal: bool
    ) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """A way to compute attention.

    Attributes:
        name: `flash-attn` or `sdpa`.
        reason: why it was chosen, for the log.
        kernel: the function.
    """

    name: str
    reason: str
    kernel: Kernel = field(repr=False)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    segments: Segments,
    backend: Backend,
    is_causal: bool = False,
) -> Tensor:
    """Attend each segment's queries to its keys.

    Args:
        q: (N, num_heads, head_dim), segments end to end.
        k: (M, num_kv_heads, head_dim); num_heads is a multiple of num_kv_heads, and query head i
            reads key head i // (num_heads / num_kv_heads).
        v: (M, num_kv_heads, head_dim).
        segments: lengths that sum to N and M; a segment may have no queries.
        backend: from `choose_backend`.
        is_causal: a segment's L queries are its last L keys, and none sees a later one.

    Returns:
        (N, num_heads, head_dim), the dtype of q.
    """
    return backend.kernel(q, k, v, segments=segments, is_causal=is_causal)


def plain_attention(
    q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, is_causal: bool
) -> Tensor:
    """The formula in float32, one segment at a time: what every backend must equal."""
    group = q.shape[1] // k.shape[1]
    outputs = []
    for q_s, k_s, v_s in _split(q.float(), k.float(), v.float(), segments=segments):
        keys = k_s.repeat_interleave(group, dim=1)  # (T, num_heads, head_dim)
        scores = torch.einsum("lhd,thd->hlt", q_s, keys) * q.shape[-1] ** -0.5
        if is_causal:
            seen = _lower_right(q_s.shape[0], k_s.shape[0], device=q.device)
            scores = scores.masked_fill(~seen, float("-inf"))
        values = v_s.repeat_interleave(group, dim=1)
        outputs.append(torch.einsum("hlt,thd->lhd", scores.softmax(dim=-1), values))
    return torch.cat(outputs).to(q.dtype)


def sdpa_attention(
    q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, is_causal: bool
) -> Tensor:
    """PyTorch's kernels: equal neighbours in one batched call, no mask across segments."""
    outputs = []
    start_q = start_k = 0
    shapes = zip(segments.query_lengths, segments.key_lengths, strict=True)
    for (num_q, num_k), run in groupby(shapes):
        count = len(list(run))
        end_q, end_k = start_q + count * num_q, start_k + count * num_k
        out = _batched_sdpa(
            q[start_q:end_q].reshape(count, num_q, *q.shape[1:]),
            k[start_k:end_k].reshape(count, num_k, *k.shape[1:]),
            v[start_k:end_k].reshape(count, num_k, *v.shape[1:]),
            is_causal=is_causal,
        )
        outputs.append(out.flatten(0, 1))
        start_q, start_k = end_q, end_k
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _batched_sdpa(q: Tensor, k: Tensor, v: Tensor, *, is_causal: bool) -> Tensor:
    """Attend q (B, L, num_heads, D) to k and v (B, T, num_kv_heads, D)."""
    batch, num_q, num_heads, head_dim = q.shape
    num_k, num_kv_heads = k.shape[1:3]
    group = num_heads // num_kv_heads
    k, v = k.transpose(1, 2), v.transpose(1, 2)
    if group == 1 or (is_causal and num_q == num_k > 1):
        mask = None
        if is_causal and 1 < num_q < num_k:
            mask = _lower_right(num_q, num_k, device=q.device)
        out = F.scaled_dot_product_attention(
            q.transpose(1, 2),
            k,
            v,
            attn_mask=mask,
            is_causal=is_causal and num_q == num_k,
            enable_gqa=group > 1,
        )
        return out.transpose(1, 2)
    # The query heads that share a key head become more rows of it: no kernel needs to know of
    # groups, and the keys are never repeated in memory.
    mask = None
    if is_causal and num_q > 1:
        mask = _lower_right(num_q, num_k, device=q.device).repeat(group, 1)
    rows = (
        q.reshape(batch, num_q, num_kv_heads, group, head_dim)
        .permute(0, 2, 3, 1, 4)
        .reshape(batch, num_kv_heads, group * num_q, head_dim)
    )
    out = F.scaled_dot_product_attention(rows, k, v, attn_mask=mask)
    return (
        out.reshape(batch, num_kv_heads, group, num_q, head_dim)
        .permute(0, 3, 1, 2, 4)
        .reshape(batch, num_q, num_heads, head_dim)
    )


def flash_attention(
    q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, is_causal: bool
) -> Tensor:
    """flash-attn's packed kernel; its causal mask is aligned to the lower right, as ours."""
    from flash_attn import flash_attn_varlen_func  # an optional dependency, CUDA only

    out: Tensor = flash_attn_varlen_func(
        q,
        k,
        v,
        cu_seqlens_q=segments.cu_seqlens_q,
        cu_seqlens_k=segments.cu_seqlens_k,
        max_seqlen_q=max(segments.query_lengths),
        max_seqlen_k=max(segments.key_lengths),
        causal=is_causal,
    )
    return out


SDPA = Backend(name="sdpa", reason="PyTorch's own kernels", kernel=sdpa_attention)


def choose_backend(device: torch.device, dtype: torch.dtype) -> Backend:
    """Choose flash-attn where it can run, PyTorch's kernels elsewhere."""
    if device.type != "cuda":
        reason = f"flash-attn needs CUDA, the device is {device.type}"
    elif dtype not in (torch.bfloat16, torch.float16):
        reason = f"flash-attn needs a 16-bit dtype, the model is {dtype}"
    else:
        try:
            import flash_attn  # noqa: F401
        except ImportError:
            reason = "flash-attn is not installed"
        else:
            return Backend("flash-attn", "flash-attn is installed", flash_attention)
    return Backend("sdpa", reason, sdpa_attention)


def prove(backend: Backend, *, device: torch.device, dtype: torch.dtype) -> float:
    """Compare a backend with the plain formula on small packed segments.

    Both head layouts of the model, ragged full attention, and causal attention of one and of
    several queries at the end of a longer cache.

    Returns:
        The largest absolute difference seen.

    Raises:
        BackendError: a difference is beyond what the dtype's rounding explains, or the kernel
            does not run on this device.
    """
    generator = torch.Generator().manual_seed(0)
    tolerance = 1e-4 if dtype == torch.float32 else 3e-2
    worst = 0.0
    cases = (
        (16, 16, 72, (9, 4, 4), (9, 16, 16), False),
        (12, 2, 128, (7, 1, 5), (7, 12, 33), True),
    )
    for num_heads, num_kv_heads, head_dim, query_lengths, key_lengths, is_causal in cases:
        segments = Segments.of(query_lengths, key_lengths, device=device)
        q, k, v = (
            torch.randn(rows, heads, head_dim, generator=generator).to(device, dtype)
            for rows, heads in (
                (sum(query_lengths), num_heads),
                (sum(key_lengths), num_kv_heads),
                (sum(key_lengths), num_kv_heads),
            )
        )
        try:
            got = attention(q, k, v, segments=segments, backend=backend, is_causal=is_causal)
        except RuntimeError as exc:
            raise BackendError(
                f"attention backend {backend.name} on {device.type}, {dtype}: {exc}"
            ) from exc
        expected = plain_attention(q, k, v, segments=segments, is_causal=is_causal)
        difference = float((got.float() - expected.float()).abs().max())
        if not difference <= tolerance:
            raise BackendError(
                f"attention backend {backend.name} on {device.type}, {dtype}: expected the plain "
                f"formula within {tolerance}, got a difference of {difference:.3g}"
            )
        worst = max(worst, difference)
    return worst


def _split(
    q: Tensor, k: Tensor, v: Tensor, *, segments: Segments
) -> list[tuple[Tensor, Tensor, Tensor]]:
    pieces = (
        torch.split(q, list(segments.query_lengths)),
        torch.split(k, list(segments.key_lengths)),
        torch.split(v, list(segments.key_lengths)),
    )
    return list(zip(*pieces, strict=True))


def _lower_right(num_q: int, num_k: int, *, device: torch.device) -> Tensor:
    """True where query i of the last num_q keys may see a key, (num_q, num_k) bool."""
    return torch.ones(num_q, num_k, dtype=torch.bool, device=device).tril(num_k - num_q)
