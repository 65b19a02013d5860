"""Attention to pages in Triton: keys and values are read where they lie, once for a key head.

The query heads that share a key head are rows of one block, so a block of 128 rows is 21 queries of
six heads each. A softmax is taken in base 2, as its sums go on. A step of decoding has few rows and
long prefixes: it parts the prefix among programs, and what they found is put together with the
row's own words, the newest of which is stored on the way.

What differs from pass to pass is not compiled in, for that would take seconds in the midst of it.

Imported by `paged` alone, where there is CUDA. With TRITON_INTERPRET=1 set before the import they
run on a CPU, slowly, for tests. How they are launched `triton_kernels` tells.
"""

from collections.abc import Sequence
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from model.layers.pages import OwnWords, PagedSegments, Slabs

LOG2E = tl.constexpr(1.4426950408889634)
NOTHING = tl.constexpr(-1e30)  # the log-sum-exp of no key

_KEYS = 64  # that a program reads at a time
_ROWS = 128  # of a program in a pass over many rows
_FEWEST_ROWS = 16  # that a product takes
_PARTS = 8  # of a prefix in a step of decoding
_LARGE_BLOCK_BYTES = 160_000  # of shared memory: room for three stages of a program


@triton.jit
def _add_keys(rows, keys, values, seen, most, total, made, scale):
    """Go on with a softmax over further keys.

    rows (M, D), keys and values (N, D), seen (N,); so far the largest score, the sum of the shares
    and the values they make.
    """
    scores = tl.dot(rows, tl.trans(keys), input_precision="ieee").to(tl.float32) * scale
    scores = tl.where(seen[None, :], scores, NOTHING)
    new_most = tl.maximum(most, tl.max(scores, 1))
    shares = tl.exp2(scores - new_most[:, None])
    fading = tl.exp2(most - new_most)
    total = total * fading + tl.sum(shares, 1)
    of_values = tl.dot(shares.to(values.dtype), values, input_precision="ieee")
    made = made * fading[:, None] + of_values.to(tl.float32)
    return new_most, total, made


@triton.jit(do_not_specialize=["table_stride", "num_rows"])
def _attend(  # noqa: PLR0913
    q,
    keys,
    values,
    key_scales,
    value_scales,
    query_starts,
    key_lengths,
    table,
    longest_first,
    out,
    lse,
    row_stride,
    table_stride,
    num_rows,
    scale,
    GROUP: tl.constexpr,
    KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PADDED_DIM: tl.constexpr,
    PAGE: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    PARTS: tl.constexpr,
    HAS_SCALES: tl.constexpr,
):
    """Attend ROWS folded rows of a run to one of PARTS parts of its keys, for one key head.

    out (PARTS, num_rows, heads, HEAD_DIM), lse (PARTS, num_rows, heads) float32.
    """
    run = tl.load(longest_first + tl.program_id(0)).to(tl.int64)
    head = tl.program_id(2) // PARTS
    part = tl.program_id(2) % PARTS
    begin = tl.load(query_starts + run)
    num_folded = (tl.load(query_starts + run + 1) - begin) * GROUP
    folded = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    if tl.program_id(1) * ROWS >= num_folded:
        return
    is_row = folded < num_folded
    row = (begin + folded // GROUP).to(tl.int64)
    query_head = head * GROUP + folded % GROUP
    dim = tl.arange(0, PADDED_DIM)
    is_dim = dim < HEAD_DIM
    is_there = is_row[:, None] & is_dim[None, :]
    at_row = row[:, None] * row_stride + query_head[:, None] * HEAD_DIM + dim[None, :]
    rows = tl.load(q + at_row, mask=is_there, other=0.0)

    length = tl.load(key_lengths + run)
    step = tl.cdiv(tl.cdiv(length, KEYS), PARTS) * KEYS
    end = tl.minimum((part + 1) * step, length)
    key = tl.arange(0, KEYS)
    most = tl.full([ROWS], NOTHING, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    made = tl.zeros([ROWS, PADDED_DIM], tl.float32)
    for first in range(part * step, end, KEYS):
        seen = first + key < end
        if PAGE % KEYS == 0:
            page = tl.load(table + run * table_stride + first // PAGE).to(tl.int64)
            slot = page * PAGE + first % PAGE + key
        else:
            at = first + key
            page = tl.load(table + run * table_stride + at // PAGE, mask=seen, other=0)
            slot = page.to(tl.int64) * PAGE + at % PAGE
        at_key = (slot[:, None] * KV_HEADS + head) * HEAD_DIM + dim[None, :]
        is_key = seen[:, None] & is_dim[None, :]
        some_keys = tl.load(keys + at_key, mask=is_key, other=0.0)
        some_values = tl.load(values + at_key, mask=is_key, other=0.0)
        if HAS_SCALES:
            at_scale = slot * KV_HEADS + head
            key_scale = tl.load(key_scales + at_scale, mask=seen, other=0.0)
            value_scale = tl.load(value_scales + at_scale, mask=seen, other=0.0)
            some_keys = (some_keys.to(tl.float32) * key_scale[:, None]).to(rows.dtype)
            some_values = (some_values.to(tl.float32) * value_scale[:, None]).to(rows.dtype)
        most, total, made = _add_keys(
            rows, some_keys, some_values, seen, most, total, made, scale * LOG2E
        )
    is_any = total > 0
    total = tl.where(is_any, total, 1.0)
    found = tl.where(is_any, (most + tl.log2(total)) / LOG2E, NOTHING)
    heads = KV_HEADS * GROUP
    at_lse = (part * num_rows + row) * heads + query_head
    tl.store(lse + at_lse, found, mask=is_row)
    at_out = at_lse[:, None] * HEAD_DIM + dim[None, :]
    tl.store(out + at_out, (made / total[:, None]).to(out.dtype.element_ty), mask=is_there)


@triton.jit(do_not_specialize=["own_tokens", "num_rows"])
def _finish_step(  # noqa: PLR0913
    q,
    new_keys,
    new_values,
    own_keys,
    own_values,
    own_lengths,
    parts,
    lses,
    out,
    row_stride,
    new_stride,
    own_tokens,
    num_rows,
    scale,
    GROUP: tl.constexpr,
    KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PADDED_DIM: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    PARTS: tl.constexpr,
):
    """Store a row's newest token, and attend it to its own words and to what was found in pages."""
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    folded = tl.arange(0, ROWS)
    is_row = folded < GROUP
    query_head = head * GROUP + folded
    dim = tl.arange(0, PADDED_DIM)
    is_dim = dim < HEAD_DIM
    is_there = is_row[:, None] & is_dim[None, :]
    at_row = row * row_stride + query_head[:, None] * HEAD_DIM + dim[None, :]
    rows = tl.load(q + at_row, mask=is_there, other=0.0)

    length = tl.load(own_lengths + row)
    at_new = row * new_stride + head * HEAD_DIM + dim
    new_key = tl.load(new_keys + at_new, mask=is_dim, other=0.0)
    new_value = tl.load(new_values + at_new, mask=is_dim, other=0.0)
    begin = (row * KV_HEADS + head) * own_tokens
    tl.store(own_keys + (begin + length) * HEAD_DIM + dim, new_key, mask=is_dim)
    tl.store(own_values + (begin + length) * HEAD_DIM + dim, new_value, mask=is_dim)

    most = tl.full([ROWS], NOTHING, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    made = tl.zeros([ROWS, PADDED_DIM], tl.float32)
    for part in tl.static_range(PARTS):
        at_lse = (part * num_rows + row) * (KV_HEADS * GROUP) + query_head
        found = tl.load(lses + at_lse, mask=is_row, other=NOTHING) * LOG2E
        at_part = at_lse[:, None] * HEAD_DIM + dim[None, :]
        new_most = tl.maximum(most, found)
        share = tl.exp2(found - new_most)
        fading = tl.exp2(most - new_most)
        total = total * fading + share
        made = made * fading[:, None] + share[:, None] * tl.load(
            parts + at_part, mask=is_there, other=0.0
        )
        most = new_most
    key = tl.arange(0, KEYS)
    for first in range(0, length + 1, KEYS):
        at = first + key
        is_stored = at < length  # what this program stores may not be read back yet
        is_new = at == length
        at_key = (begin + at[:, None]) * HEAD_DIM + dim[None, :]
        is_key = is_stored[:, None] & is_dim[None, :]
        some_keys = tl.load(own_keys + at_key, mask=is_key, other=0.0)
        some_values = tl.load(own_values + at_key, mask=is_key, other=0.0)
        some_keys = tl.where(is_new[:, None], new_key[None, :], some_keys)
        some_values = tl.where(is_new[:, None], new_value[None, :], some_values)
        most, total, made = _add_keys(
            rows, some_keys, some_values, is_stored | is_new, most, total, made, scale * LOG2E
        )
    at_out = (row * (KV_HEADS * GROUP) + query_head[:, None]) * HEAD_DIM + dim[None, :]
    tl.store(out + at_out, (made / total[:, None]).to(out.dtype.element_ty), mask=is_there)


def attend(q: Tensor, slabs: Slabs, *, segments: PagedSegments) -> tuple[Tensor, Tensor]:
    """Attend many rows of each run to all its keys; see `pages.PagedKernel`."""
    shape = (1, *q.shape)
    out, lse = torch.empty(shape, dtype=q.dtype, device=q.device), _lses(q, 1)
    is_exact = q.dtype == torch.float32  # whose blocks take twice the room
    rows = _ROWS // 2 if is_exact else _ROWS
    _launch(q, slabs, segments, (out, lse), rows=rows)
    return out[0], lse[0]


def step(
    q: Tensor,
    new: Sequence[Tensor],
    slabs: Slabs,
    *,
    segments: PagedSegments,
    own: OwnWords,
) -> Tensor:
    """Go on by one token in each row; see `pages.PagedStepKernel`."""
    num_rows, num_heads, head_dim = q.shape
    kv_heads = slabs.keys.shape[1]
    group = num_heads // kv_heads
    parts = torch.empty((_PARTS, *q.shape), dtype=torch.float32, device=q.device)
    lses = _lses(q, _PARTS)
    rows = max(_FEWEST_ROWS, triton.next_power_of_2(group))
    _launch(q, slabs, segments, (parts, lses), rows=rows)
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    with torch.cuda.device_of(q):  # type: ignore[no-untyped-call]
        _finish_step[(num_rows, kv_heads)](
            q,
            *new,
            *own,
            parts,
            lses,
            out,
            q.stride(0),
            new[0].stride(0),
            own.keys.shape[2],
            num_rows,
            head_dim**-0.5,
            group,
            kv_heads,
            head_dim,
            _padded(head_dim),
            rows,
            _KEYS,
            _PARTS,
            num_warps=4,
            num_stages=1,
            enable_fp_fusion=True,
        )
    return out


def _launch(
    q: Tensor,
    slabs: Slabs,
    segments: PagedSegments,
    found: tuple[Tensor, Tensor],
    *,
    rows: int,
) -> None:
    """Attend to pages in blocks of so many rows; what is found has a first dimension of parts."""
    num_rows, num_heads, head_dim = q.shape
    kv_heads, num_parts = slabs.keys.shape[1], len(found[0])
    group = num_heads // kv_heads
    num_blocks = triton.cdiv(segments.max_queries * group, rows)
    num_runs = len(segments.key_lengths)
    if not (num_rows and num_runs):
        return
    with torch.cuda.device_of(q):  # type: ignore[no-untyped-call]
        _attend[(num_runs, num_blocks, kv_heads * num_parts)](
            q,
            slabs.keys,
            slabs.values,
            slabs.keys if slabs.key_scales is None else slabs.key_scales,
            slabs.values if slabs.value_scales is None else slabs.value_scales,
            segments.query_starts,
            segments.key_lengths,
            segments.table,
            segments.longest_first,
            *found,
            q.stride(0),
            segments.table.stride(0),
            num_rows,
            head_dim**-0.5,
            group,
            kv_heads,
            head_dim,
            _padded(head_dim),
            segments.page_tokens,
            rows,
            _KEYS,
            num_parts,
            slabs.key_scales is not None,
            num_warps=8 if rows > _KEYS else 4,
            num_stages=_stages(q),
            enable_fp_fusion=True,
        )


def _lses(q: Tensor, num_parts: int) -> Tensor:
    return torch.empty((num_parts, *q.shape[:2]), dtype=torch.float32, device=q.device)


def _padded(head_dim: int) -> int:
    padded: int = triton.next_power_of_2(head_dim)
    return max(_FEWEST_ROWS, padded)


def _stages(q: Tensor) -> int:
    """How many blocks of keys are on their way at once: as many as fit."""
    is_exact = q.dtype == torch.float32
    return 3 if not is_exact and _shared_bytes(q.device) > _LARGE_BLOCK_BYTES else 1


@cache
def _shared_bytes(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    size: int = torch.cuda.get_device_properties(device).shared_memory_per_block_optin
    return size
