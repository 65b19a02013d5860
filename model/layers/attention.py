"""One entry point for attention: packed segments, full or causal, any number of key heads.

A segment is a run of queries and the run of keys it sees: one frame's patches and themselves; the
changed patches of a frame and all of it; the last L tokens of a sequence and its whole cache.
Rows that see keys in two places (a shared prefix and their own) attend to each with
`attention_with_lse`, and `merge` puts the two together, exactly.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from typing import Protocol, Self

import torch
import torch.nn.functional as F  # noqa: N812, the field's own name
from torch import Tensor

from model.layers.pages import PagedKernels
from model.layers.to_device import to_device


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

    @property
    def max_queries(self) -> int:
        """Queries of the longest segment, as flash attention's kernels are to be told.

        Never 1 where a segment has none: told of one query, and of key heads that several query
        heads share, the kernels lay out one for every segment.
        """
        longest = max(self.query_lengths)
        return 2 if longest == 1 and 0 in self.query_lengths else longest

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
            return to_device([0, *accumulate(lengths)], device, dtype=torch.int32)

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
    Returns the shape of q. Where a caller of the decoder wants some rows only, q of the last layer
    holds those rows, in the order wanted.
    """

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor: ...


class Store(Protocol):
    """Where a pass leaves a layer's new keys and values, (N, num_kv_heads, head_dim) each."""

    def __call__(self, layer: int, keys: Tensor, values: Tensor) -> None: ...


class Kernel(Protocol):
    """What a backend computes; see `attention` for the arguments."""

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, is_causal: bool
    ) -> Tensor: ...


class LseKernel(Protocol):
    """The same with the log-sum-exp of every row's scores; see `attention_with_lse`."""

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, is_causal: bool
    ) -> tuple[Tensor, Tensor]: ...


class UsedKernel(Protocol):
    """A query of each segment, which sees the first `used` of its keys: (S,) int32, one at least.

    `used` stays on the device, so that a CUDA graph can hold the call while it grows.
    """

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, used: Tensor
    ) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """A way to compute attention.

    Attributes:
        name: `flash-attn`, `varlen` or `sdpa`.
        reason: why it was chosen, for the log.
        kernel: the function.
        lse_kernel: the function that gives the log-sum-exp too.
        used_kernel: the function that leaves the end of each segment out; None where there is none.
        paged: the functions that read keys in their pages; None where they are copied out first.
    """

    name: str
    reason: str
    kernel: Kernel = field(repr=False)
    lse_kernel: LseKernel = field(repr=False)
    used_kernel: UsedKernel | None = field(default=None, repr=False)
    paged: PagedKernels | None = field(default=None, repr=False)

    def __str__(self) -> str:
        in_pages = f"; in pages by {self.paged.name}" if self.paged else ""
        return f"{self.name} ({self.reason}){in_pages}"


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
        backend: from `backends.choose_backend`.
        is_causal: a segment's L queries are its last L keys, and none sees a later one.

    Returns:
        (N, num_heads, head_dim), the dtype of q.
    """
    return backend.kernel(q, k, v, segments=segments, is_causal=is_causal)


def attention_with_lse(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    segments: Segments,
    backend: Backend,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """Attend as `attention` does, and give each row's log-sum-exp too, which `merge` needs.

    Every segment has keys; the arguments are those of `attention`.

    Returns:
        (N, num_heads, head_dim), the dtype of q, and the log-sum-exp of each row's scaled scores,
        (N, num_heads) float32.
    """
    return backend.lse_kernel(q, k, v, segments=segments, is_causal=is_causal)


def padded_attention(
    q: Tensor, k: Tensor, v: Tensor, *, unseen: Tensor, found: tuple[Tensor, Tensor]
) -> Tensor:
    """Attend one query a row to keys padded to one length, and merge in an earlier result.

    The earlier result, over other keys, counts as one more key: its score is the log-sum-exp and
    its value the output. That is what `merge` does, in fewer kernels. Decoding calls it at every
    step: its shapes do not depend on the lengths, so that a CUDA graph can hold it. Without
    gradients.

    Args:
        q: (B, num_heads, head_dim).
        k: (B, num_kv_heads, T, head_dim); what lies past a row's length is finite and not seen.
        v: (B, num_kv_heads, T, head_dim).
        unseen: (B, 1, 1, T) float32, 0 at the keys that a row sees and -inf at the others.
        found: as `attention_with_lse` gives it, N being B.

    Returns:
        (B, num_heads, head_dim), the dtype of q.
    """
    batch, num_kv_heads, _, head_dim = k.shape
    rows, out = (one.view(batch, num_kv_heads, -1, head_dim) for one in (q, found[0]))
    lse = found[1].view(batch, num_kv_heads, -1, 1)
    scores = torch.add(unseen, rows @ k.transpose(2, 3), alpha=head_dim**-0.5)  # (B, KV, group, T)
    shares = torch.cat((lse, scores), dim=-1).softmax(dim=-1)
    own = shares[..., 1:].to(q.dtype) @ v  # (B, KV, group, head_dim)
    return torch.addcmul(own, out, shares[..., :1], out=own).flatten(1, 2)


def merge(some: tuple[Tensor, Tensor], others: tuple[Tensor, Tensor]) -> Tensor:
    """Merge the attention of the same rows over two sets of keys.

    Args:
        some: an output (N, num_heads, head_dim) and its log-sum-exp (N, num_heads) float32.
        others: the same rows over keys that are none of the first.

    Returns:
        (N, num_heads, head_dim): what one pass over all the keys gives, in the outputs' dtype.
    """
    (out, lse), (other_out, other_lse) = some, others
    share = (lse - other_lse).sigmoid().unsqueeze(-1)  # of `some` in the sum of all weights
    if not torch.is_grad_enabled():
        rest = other_out * (1 - share)  # float32
        return torch.addcmul(rest, out, share, out=torch.empty_like(out))
    return torch.lerp(other_out.float(), out.float(), share).to(out.dtype)


def sdpa_attention(
    q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, is_causal: bool
) -> Tensor:
    """PyTorch's kernels: equal neighbours in one batched call, no mask across segments."""
    outputs = [
        _batched_sdpa(q_s, k_s, v_s, is_causal=is_causal).flatten(0, 1)
        for _, q_s, k_s, v_s in _runs(q, k, v, segments=segments)
    ]
    if not outputs:
        return torch.empty_like(q)
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def sdpa_attention_with_lse(
    q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, is_causal: bool
) -> tuple[Tensor, Tensor]:
    """PyTorch's CPU kernel, which gives the log-sum-exp; the formula on any other device."""
    outputs, lses = [], []
    for num_q, q_s, k_s, v_s in _runs(q, k, v, segments=segments):
        out, lse = _batched_with_lse(q_s, k_s, v_s, is_causal=is_causal and num_q > 1)
        outputs.append(out.flatten(0, 1))
        lses.append(lse.flatten(0, 1))
    if not outputs:
        return torch.empty_like(q), q.new_empty(q.shape[:2], dtype=torch.float32)
    if len(outputs) == 1:
        return outputs[0], lses[0]
    return torch.cat(outputs), torch.cat(lses)


def _batched_sdpa(q: Tensor, k: Tensor, v: Tensor, *, is_causal: bool) -> Tensor:
    """Attend q (B, L, num_heads, D) to k and v (B, T, num_kv_heads, D)."""
    num_q, num_heads = q.shape[1:3]
    num_k, num_kv_heads = k.shape[1:3]
    group = num_heads // num_kv_heads
    k, v = k.transpose(1, 2), v.transpose(1, 2)
    if group == 1 or (is_causal and num_q == num_k > 1):
        mask = None
        if is_causal and 1 < num_q < num_k:
            mask = lower_right(num_q, num_k, device=q.device)
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
        mask = lower_right(num_q, num_k, device=q.device).repeat(group, 1)
    rows = _fold(q, num_kv_heads=num_kv_heads)
    out = F.scaled_dot_product_attention(rows, k, v, attn_mask=mask)
    return _unfold(out, num_q=num_q)


def _batched_with_lse(q: Tensor, k: Tensor, v: Tensor, *, is_causal: bool) -> tuple[Tensor, Tensor]:
    """Attend q (B, L, num_heads, D) to k and v (B, T, num_kv_heads, D); lse (B, L, num_heads)."""
    num_q, num_heads = q.shape[1:3]
    num_k, num_kv_heads = k.shape[1:3]
    is_square = is_causal and num_q == num_k and q.device.type == "cpu"
    if is_square:
        # The kernel's own causal mask leaves half of the work out, but knows no groups.
        k = k.repeat_interleave(num_heads // num_kv_heads, dim=2)
        v = v.repeat_interleave(num_heads // num_kv_heads, dim=2)
    rows = _fold(q, num_kv_heads=k.shape[2])
    k, v = k.transpose(1, 2), v.transpose(1, 2)
    mask = None
    if is_causal and not is_square:
        seen = lower_right(num_q, num_k, device=q.device).repeat(num_heads // num_kv_heads, 1)
        mask = torch.zeros(seen.shape, dtype=q.dtype, device=q.device)
        mask = mask.masked_fill(~seen, float("-inf"))
    if q.device.type == "cpu":
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(  # noqa: SLF001
            rows, k, v, is_causal=is_square, attn_mask=mask
        )
    else:
        scores = (rows @ k.transpose(2, 3)).float() * q.shape[-1] ** -0.5
        scores = scores if mask is None else scores + mask
        lse = scores.logsumexp(dim=-1)
        out = (scores - lse[..., None]).exp().to(q.dtype) @ v
    return _unfold(out, num_q=num_q), _unfold(lse[..., None], num_q=num_q)[..., 0]


def _fold(q: Tensor, *, num_kv_heads: int) -> Tensor:
    """Turn (B, L, num_heads, D) into (B, num_kv_heads, group * L, D)."""
    batch, num_q, num_heads, head_dim = q.shape
    group = num_heads // num_kv_heads
    rows = q.reshape(batch, num_q, num_kv_heads, group, head_dim).permute(0, 2, 3, 1, 4)
    return rows.reshape(batch, num_kv_heads, group * num_q, head_dim)


def _unfold(rows: Tensor, *, num_q: int) -> Tensor:
    """Turn (B, num_kv_heads, group * L, D) back into (B, L, num_heads, D)."""
    batch, num_kv_heads, num_rows, width = rows.shape
    group = num_rows // num_q if num_q else 1
    split = rows.reshape(batch, num_kv_heads, group, num_q, width).permute(0, 3, 1, 2, 4)
    return split.reshape(batch, num_q, num_kv_heads * group, width)


def _runs(
    q: Tensor, k: Tensor, v: Tensor, *, segments: Segments
) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """Yield runs of equal neighbours: L, then q (B, L, ...), k and v (B, T, ...).

    Segments without queries, such as the cameras that are not due, cost nothing.
    """
    start_q = start_k = 0
    shapes = zip(segments.query_lengths, segments.key_lengths, strict=True)
    for (num_q, num_k), run in groupby(shapes):
        count = len(list(run))
        end_q, end_k = start_q + count * num_q, start_k + count * num_k
        if num_q:
            yield (
                num_q,
                q[start_q:end_q].reshape(count, num_q, *q.shape[1:]),
                k[start_k:end_k].reshape(count, num_k, *k.shape[1:]),
                v[start_k:end_k].reshape(count, num_k, *v.shape[1:]),
            )
        start_q, start_k = end_q, end_k


SDPA = Backend("sdpa", "PyTorch's own kernels", sdpa_attention, sdpa_attention_with_lse)


def lower_right(num_q: int, num_k: int, *, device: torch.device) -> Tensor:
    """True where query i of the last num_q keys may see a key, (num_q, num_k) bool."""
    return torch.ones(num_q, num_k, dtype=torch.bool, device=device).tril(num_k - num_q)
