"""Where keys and values lie that are attended to in place: in pages of one slab.

Packed kernels want the keys of a segment end to end, so every pass would first copy out all that
contexts hold. Those described here read a page table instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from model.layers.fp8 import choose_quantise, dequantised, plain_bytes
from model.layers.to_device import to_device

PAGE_TOKENS = 256
"""Of a page, if nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class PagedSegments:
    """Runs of queries end to end, and where the keys that each run sees lie.

    Attributes:
        max_queries: queries of the longest run, on the host.
        page_tokens: keys of a page.
        query_starts: (S + 1,) int32 on the device, starting at 0.
        key_lengths: (S,) int32 on the device.
        table: (S, P) int32 on the device: the pages of each run's keys, in order. What stands
            behind those that it has is not read.
        longest_first: (S,) int32 on the device: the runs, those with the most keys first.
    """

    max_queries: int
    page_tokens: int
    query_starts: Tensor = field(repr=False)
    key_lengths: Tensor = field(repr=False)
    table: Tensor = field(repr=False)
    longest_first: Tensor = field(repr=False)

    @classmethod
    def of(
        cls,
        query_lengths: Sequence[int],
        key_lengths: Sequence[int],
        pages: Sequence[Sequence[int]],
        *,
        page_tokens: int,
        device: torch.device,
    ) -> Self:
        """Lay out runs of so many queries, each of which sees so many keys in its pages."""
        lengths = np.array(key_lengths, dtype=np.int32)
        table = np.zeros((len(pages), max(map(len, pages), default=0)), dtype=np.int32)
        for row, its_pages in zip(table, pages, strict=True):
            row[: len(its_pages)] = its_pages
        starts = np.zeros(len(lengths) + 1, dtype=np.int32)
        np.cumsum(query_lengths, out=starts[1:])
        order = np.argsort(-lengths, kind="stable").astype(np.int32)
        return cls(
            max(query_lengths, default=0),
            page_tokens,
            *(to_device(one, device) for one in (starts, lengths, table, order)),
        )


class Slabs(NamedTuple):
    """All keys and values of a layer, in pages.

    Attributes:
        keys: (num_tokens, num_kv_heads, head_dim), contiguous.
        values: as the keys.
        key_scales: where they are kept in FP8, what each is to be multiplied by,
            (num_tokens, num_kv_heads, 1) float32.
        value_scales: as those of the keys.
    """

    keys: Tensor
    values: Tensor
    key_scales: Tensor | None = None
    value_scales: Tensor | None = None


class OwnWords(NamedTuple):
    """Keys and values that rows have of their own, behind what they see in pages.

    Attributes:
        keys: (B, num_kv_heads, T, head_dim), contiguous.
        values: as the keys.
        lengths: (B,) int64 on the device: how many each row has, fewer than T.
    """

    keys: Tensor
    values: Tensor
    lengths: Tensor


class PagedKernel(Protocol):
    """Attends runs of queries to their pages.

    q is (N, num_heads, head_dim), of which the last dimension and the heads lie together, and every
    run has keys. Returns what `attention_with_lse` does.
    """

    def __call__(
        self, q: Tensor, slabs: Slabs, *, segments: PagedSegments
    ) -> tuple[Tensor, Tensor]: ...


class PagedStepKernel(Protocol):
    """Puts one token at the end of each row's own words, and attends it to pages and to those.

    q is (B, num_heads, head_dim), the new key and value (B, num_kv_heads, head_dim) each. Runs are
    of one query, and may have no keys. `own.lengths` does not count the newest token yet. Returns
    the shape of q. A CUDA graph can hold the call: what changes lies on the device.
    """

    def __call__(
        self,
        q: Tensor,
        new: Sequence[Tensor],
        slabs: Slabs,
        *,
        segments: PagedSegments,
        own: OwnWords,
    ) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class PagedKernels:
    """A way to compute them, without gradients.

    Attributes:
        name: of the way, for the log.
        attend: a pass over many rows.
        step: a step of decoding.
    """

    name: str
    attend: PagedKernel = field(repr=False)
    step: PagedStepKernel = field(repr=False)


def kept_in_fp8(keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Round keys and values (N, num_kv_heads, head_dim): what `Slabs` has of each."""
    both = torch.stack((keys, values))
    rounded, scales = choose_quantise(both.device, both.dtype)(both.flatten(0, 2))
    keys, values = rounded.view_as(both)
    key_scales, value_scales = scales.view(*both.shape[:-1], 1)
    return keys, values, key_scales, value_scales


def rows_at(slabs: Slabs, slots: Tensor, *, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Copy out keys and values at slots (N,) int64: (N, num_kv_heads, head_dim) each."""
    found = [plain_bytes(one).index_select(0, slots) for one in slabs if one is not None]
    keys, values = (one.view(slabs.keys.dtype) for one in found[:2])
    if len(found) == 2:
        return keys, values
    return dequantised(keys, found[2], dtype), dequantised(values, found[3], dtype)
