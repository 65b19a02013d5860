"""Attention to pages: chooses the kernels that run here, and proves that they are right.

Where Triton cannot be had, or is not right here, there are none, and passes copy out what contexts
hold for a packed kernel, as they always did.
"""

import logging
from collections.abc import Sequence
from functools import cache
from itertools import product

import torch
from torch import Tensor

from model.layers.attention import SDPA, Segments, attention, attention_with_lse
from model.layers.fp8 import has_fp8
from model.layers.pages import (
    PAGE_TOKENS,
    OwnWords,
    PagedKernels,
    PagedSegments,
    Slabs,
    kept_in_fp8,
    rows_at,
)

log = logging.getLogger(__name__)

# Heads, key heads and width of a head: of the smaller published model.
HEADS = (12, 2, 128)
# Heads of another kind, and tokens of a page which are fewer than what is read at a time.
SHORT_PAGES = (6, 2, 32, 8)


def plain_attend(q: Tensor, slabs: Slabs, *, segments: PagedSegments) -> tuple[Tensor, Tensor]:
    """Copy the keys out of their pages: what every kernel must equal."""
    lengths = segments.key_lengths.tolist()
    slots = torch.cat([_slots(segments, run, length) for run, length in enumerate(lengths)])
    keys, values = rows_at(slabs, slots, dtype=q.dtype)
    packed = Segments.of(segments.query_starts.diff().tolist(), lengths, device=q.device)
    return attention_with_lse(q, keys, values, segments=packed, backend=SDPA)


def plain_step(
    q: Tensor,
    new: Sequence[Tensor],
    slabs: Slabs,
    *,
    segments: PagedSegments,
    own: OwnWords,
) -> Tensor:
    """Do a step in PyTorch, row by row."""
    rows = torch.arange(len(q), device=q.device)
    own.keys[rows, :, own.lengths], own.values[rows, :, own.lengths] = new
    found = []
    for row, (before, after) in enumerate(
        zip(segments.key_lengths.tolist(), own.lengths.tolist(), strict=True)
    ):
        slots = _slots(segments, row, before)
        seen = [
            torch.cat([there, words[row, :, : after + 1].transpose(0, 1)])
            for there, words in zip(rows_at(slabs, slots, dtype=q.dtype), own[:2], strict=True)
        ]
        packed = Segments.of([1], [before + after + 1], device=q.device)
        one = q[row : row + 1]
        found.append(attention(one, seen[0], seen[1], segments=packed, backend=SDPA))
    return torch.cat(found)


def _slots(segments: PagedSegments, run: int, length: int) -> Tensor:
    """Say where in the slab the keys of a run lie, in order: (length,) int64."""
    at, size = torch.arange(length, device=segments.table.device), segments.page_tokens
    return segments.table[run, at // size].long() * size + at % size


PLAIN = PagedKernels("torch", plain_attend, plain_step)


@cache
def choose_paged(
    device: torch.device, dtype: torch.dtype, heads: tuple[int, int, int] = HEADS
) -> PagedKernels | None:
    """Give Triton's where they run here and equal the plain way; None where they do not.

    Args:
        device: where.
        dtype: of queries, and of keys that are not in FP8.
        heads: the network's heads, key heads and width of a head, whose kernels the proof compiles
            on the way: in the midst of a first pass that would take seconds.
    """
    if device.type != "cuda":
        return None
    try:
        from model.layers import triton_paged
    except ImportError:
        return None
    kernels = PagedKernels("triton", triton_paged.attend, triton_paged.step)
    try:
        difference = largest_difference(
            kernels,
            device=device,
            dtype=dtype,
            with_fp8=has_fp8(device),
            shapes=((*heads, PAGE_TOKENS), SHORT_PAGES),
        )
    except Exception as error:  # noqa: BLE001, a compiler's failures are of any class
        log.warning("attention to pages does not run here: %s", type(error).__name__)
        return None
    if not difference <= (1e-4 if dtype == torch.float32 else 3e-2):
        log.warning("attention to pages is off by %.3g here, and is not used", difference)
        return None
    return kernels


@torch.inference_mode()
def largest_difference(
    kernels: PagedKernels,
    *,
    device: torch.device,
    dtype: torch.dtype,
    with_fp8: bool,
    shapes: Sequence[tuple[int, int, int, int]] = ((*HEADS, PAGE_TOKENS), SHORT_PAGES),
) -> float:
    """Compare with the plain way in float32, on the models' heads and on ragged runs.

    Args:
        kernels: to be compared.
        device: where.
        dtype: of queries, and of keys that are not in FP8.
        with_fp8: compare keys in FP8 too.
        shapes: heads, key heads, width of a head and tokens of a page.

    Returns:
        The largest difference of an output or a log-sum-exp, over one more than the size of what
        is expected.
    """
    generator = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    own_lengths = torch.tensor([0, 40, 63]).to(device)
    differences = []
    for num_heads, num_kv_heads, head_dim, page_tokens in shapes:
        pages = [some(6 * page_tokens, num_kv_heads, head_dim) for _ in range(2)]
        ways = [(Slabs(*pages), Slabs(*map(_exact, pages)))]
        if with_fp8:
            rounded = Slabs(*kept_in_fp8(*pages))
            slots = torch.arange(len(pages[0]), device=device)
            ways.append((rounded, Slabs(*rows_at(rounded, slots, dtype=torch.float32))))
        tails = [some(3, num_kv_heads, 70, head_dim) for _ in range(2)]
        for queries, (slabs, exact) in product(((23, 2, 0), (1, 1, 1)), ways):
            segments = PagedSegments.of(
                queries,
                (1, page_tokens + 5, page_tokens),
                ((4,), (2, 0), (1,)),
                page_tokens=page_tokens,
                device=device,
            )
            fused = some(sum(queries), num_heads + 2 * num_kv_heads, head_dim)  # as products come
            q, k, v = fused.tensor_split((num_heads, num_heads + num_kv_heads), dim=1)
            got = list(kernels.attend(q, slabs, segments=segments))
            expected = list(plain_attend(q.float(), exact, segments=segments))
            if segments.max_queries == 1:
                segments.key_lengths[0] = 0  # a row that is free
                own = OwnWords(tails[0].clone(), tails[1].clone(), own_lengths)
                exact_own = OwnWords(_exact(tails[0]), _exact(tails[1]), own_lengths)
                got += [kernels.step(q, (k, v), slabs, segments=segments, own=own), *own[:2]]
                new = k.float(), v.float()
                out = plain_step(q.float(), new, exact, segments=segments, own=exact_own)
                expected += [out, *exact_own[:2]]
            differences += [_difference(*pair) for pair in zip(got, expected, strict=True)]
    return float(torch.tensor(differences).max())  # which a NaN is, too


def _exact(rows: Tensor) -> Tensor:
    """Give rows in float32, a copy always."""
    return rows.to(torch.float32, copy=True)


def _difference(got: Tensor, expected: Tensor) -> float:
    got, expected = got.float(), expected.float()
    return float(((got - expected).abs() / (1 + expected.abs())).max())
