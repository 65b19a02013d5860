"""Attention backends: chooses the one that runs here, and proves that it is right.

flash-attn where it can be imported, PyTorch's packed kernel where it has one, its SDPA elsewhere;
`prove` compares the chosen one with the plain formula when the model is loaded.
"""

from dataclasses import replace

import torch
from torch import Tensor

from model.errors import BackendError
from model.layers.attention import (
    Backend,
    LseKernel,
    Segments,
    attention,
    attention_with_lse,
    lower_right,
    sdpa_attention,
    sdpa_attention_with_lse,
)
from model.layers.paged import HEADS, choose_paged

FLASH_CAPABILITY = (8, 0)  # Ampere and later

# A packed kernel reads the keys once for each query head, and lays out 128 rows however few there
# are. So the query heads that share a key head become more rows of it where a segment has few: the
# prefixes of 80 contexts with 40 rows each then take 300 us a layer and not 688, while prefixes
# that 125 rows ask (those of five questions) would take 267 us and not 240.
MOST_FOLDED_ROWS = 64


def plain_attention(
    q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, is_causal: bool
) -> Tensor:
    """The formula in float32, one segment at a time: what every backend must equal."""
    return plain_attention_with_lse(q, k, v, segments=segments, is_causal=is_causal)[0]


def plain_attention_with_lse(
    q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, is_causal: bool
) -> tuple[Tensor, Tensor]:
    """The formula and the log-sum-exp of its scores; see `attention_with_lse`."""
    group = q.shape[1] // k.shape[1]
    outputs, lses = [], []
    for q_s, k_s, v_s in _split(q.float(), k.float(), v.float(), segments=segments):
        keys = k_s.repeat_interleave(group, dim=1)  # (T, num_heads, head_dim)
        scores = torch.einsum("lhd,thd->hlt", q_s, keys) * q.shape[-1] ** -0.5
        if is_causal:
            seen = lower_right(q_s.shape[0], k_s.shape[0], device=q.device)
            scores = scores.masked_fill(~seen, float("-inf"))
        values = v_s.repeat_interleave(group, dim=1)
        outputs.append(torch.einsum("hlt,thd->lhd", scores.softmax(dim=-1), values))
        lses.append(scores.logsumexp(dim=-1).transpose(0, 1))
    return torch.cat(outputs).to(q.dtype), torch.cat(lses)


def flash_attention(
    q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, is_causal: bool
) -> Tensor:
    """flash-attn's packed kernel; its causal mask is aligned to the lower right, as ours."""
    out, _ = flash_attention_with_lse(q, k, v, segments=segments, is_causal=is_causal)
    return out


def flash_attention_with_lse(
    q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, is_causal: bool
) -> tuple[Tensor, Tensor]:
    """flash-attn's packed kernel with its log-sum-exp, which it keeps as (num_heads, N)."""
    from flash_attn import flash_attn_varlen_func  # an optional dependency, CUDA only

    out, lse, _ = flash_attn_varlen_func(
        q,
        k,
        v,
        cu_seqlens_q=segments.cu_seqlens_q,
        cu_seqlens_k=segments.cu_seqlens_k,
        max_seqlen_q=segments.max_queries,
        max_seqlen_k=max(segments.key_lengths),
        causal=is_causal,
        return_attn_probs=True,
    )
    return out, lse.transpose(0, 1)


def varlen_attention(
    q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, is_causal: bool
) -> Tensor:
    """PyTorch's packed kernel, CUDA only."""
    out, _ = varlen_attention_with_lse(q, k, v, segments=segments, is_causal=is_causal)
    return out


def varlen_attention_with_lse(
    q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, is_causal: bool
) -> tuple[Tensor, Tensor]:
    """PyTorch's packed kernel with its log-sum-exp, which it keeps as (num_heads, N)."""
    # What `torch.nn.attention.varlen` calls. That takes key heads which query heads share only in
    # a later PyTorch than the oldest we run on, and its way there costs several launches.
    out, lse, *_ = torch.ops.aten._flash_attention_forward.default(  # noqa: SLF001
        q,
        k,
        v,
        segments.cu_seqlens_q,
        segments.cu_seqlens_k,
        segments.max_queries,
        max(segments.key_lengths),
        0.0,  # no dropout
        is_causal,
        return_debug_mask=False,
    )
    return out, lse.transpose(0, 1)


def folding(kernel: LseKernel) -> LseKernel:
    """Let a kernel have query heads as rows, where segments have few rows and no causal mask."""

    def folded(
        q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, is_causal: bool
    ) -> tuple[Tensor, Tensor]:
        (num_rows, num_heads, head_dim), num_kv_heads = q.shape, k.shape[1]
        group = num_heads // num_kv_heads
        if group == 1 or is_causal or max(segments.query_lengths) > MOST_FOLDED_ROWS:
            return kernel(q, k, v, segments=segments, is_causal=is_causal)
        rows = q.view(num_rows, num_kv_heads, group, head_dim).transpose(1, 2).flatten(0, 1)
        out, lse = kernel(
            rows.contiguous(),
            k,
            v,
            segments=replace(
                segments,
                query_lengths=tuple(group * length for length in segments.query_lengths),
                cu_seqlens_q=group * segments.cu_seqlens_q,
            ),
            is_causal=False,
        )
        out = out.view(num_rows, group, num_kv_heads, head_dim).transpose(1, 2)
        lse = lse.reshape(num_rows, group, num_kv_heads).transpose(1, 2)
        return out.flatten(1, 2), lse.flatten(1)

    return folded


def choose_backend(
    device: torch.device, dtype: torch.dtype, *, heads: tuple[int, int, int] = HEADS
) -> Backend:
    """Choose flash-attn where it can run, then PyTorch's packed kernel, then its SDPA.

    And beside it, for keys in pages, Triton's where they run with the network's heads, key heads
    and width of a head.
    """
    return replace(_choose_packed(device, dtype), paged=choose_paged(device, dtype, heads))


def _choose_packed(device: torch.device, dtype: torch.dtype) -> Backend:
    if device.type != "cuda":
        reason = f"flash-attn needs CUDA, the device is {device.type}"
    elif dtype not in (torch.bfloat16, torch.float16):
        reason = f"flash-attn needs a 16-bit dtype, the model is {dtype}"
    elif (capability := torch.cuda.get_device_capability(device)) < FLASH_CAPABILITY:
        needed, got = (".".join(map(str, one)) for one in (FLASH_CAPABILITY, capability))
        reason = f"flash kernels need compute capability {needed}, the device has {got}"
    else:
        try:
            import flash_attn  # noqa: F401
        except ImportError:
            reason = "flash-attn is not installed"
        else:
            return Backend(
                "flash-attn",
                "flash-attn is installed",
                flash_attention,
                folding(flash_attention_with_lse),
            )
        if torch.backends.cuda.is_flash_attention_available():
            return Backend("varlen", reason, varlen_attention, folding(varlen_attention_with_lse))
        reason += ", and this PyTorch was built without its kernel"
    return Backend("sdpa", reason, sdpa_attention, sdpa_attention_with_lse)


def prove(backend: Backend, *, device: torch.device, dtype: torch.dtype) -> float:
    """Compare a backend with the plain formula on small packed segments.

    Both head layouts of the model, ragged full attention, causal attention of one and of several
    queries at the end of a longer cache, a few queries to a prefix, and decoding: single queries,
    and none of some segments, which kernels have ways of their own for. Outputs and log-sum-exps.

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
        (16, 16, 72, (9, 0, 4), (9, 16, 16), False),
        (12, 2, 128, (7, 1, 5), (7, 12, 33), True),
        (12, 2, 128, (7, 0, 5), (7, 12, 33), False),
        (12, 2, 128, (1, 1, 1), (7, 12, 600), False),
        (12, 2, 128, (1, 0, 1), (7, 12, 600), False),
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
            out, lse = attention_with_lse(
                q, k, v, segments=segments, backend=backend, is_causal=is_causal
            )
        except RuntimeError as exc:
            raise BackendError(
                f"attention backend {backend.name} on {device.type}, {dtype}: {exc}"
            ) from exc
        expected, expected_lse = plain_attention_with_lse(
            q, k, v, segments=segments, is_causal=is_causal
        )
        difference = max(
            float((one.float() - other.float()).abs().max())
            for one, other in ((got, expected), (out, expected), (lse, expected_lse))
        )
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
