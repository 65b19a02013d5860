"""A step of decoding that reads keys and values where they lie, in the pages of one slab."""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from model.layers.attention import SDPA, Segments, attention


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


class PagedStepKernel(Protocol):
    """Puts one token at the end of each row's own words, and attends it to pages and to those.

    q (B, num_heads, head_dim), k and v (B, num_kv_heads, head_dim) are of the newest tokens; runs
    are of one query, and may have no keys. `own.lengths` does not count the newest token yet.
    Returns the shape of q. A CUDA graph can hold the call: what changes lies on the device.
    """

    def __call__(
        self,
        q: Tensor,
        new: tuple[Tensor, Tensor],
        pages: tuple[Tensor, Tensor],
        *,
        segments: PagedSegments,
        own: OwnWords,
    ) -> Tensor: ...


def plain_step(
    q: Tensor,
    new: tuple[Tensor, Tensor],
    pages: tuple[Tensor, Tensor],
    *,
    segments: PagedSegments,
    own: OwnWords,
) -> Tensor:
    """Do it in PyTorch, row by row: what every kernel must equal."""
    rows = torch.arange(len(q), device=q.device)
    own.keys[rows, :, own.lengths], own.values[rows, :, own.lengths] = new
    size, found = segments.page_tokens, []
    for row, before in enumerate(segments.key_lengths.tolist()):
        at = torch.arange(before, device=q.device)
        slots = segments.table[row, at // size].long() * size + at % size
        seen = [
            torch.cat([slab[slots], words[row, :, : int(own.lengths[row]) + 1].transpose(0, 1)])
            for slab, words in zip(pages, (own.keys, own.values), strict=True)
        ]
        runs = Segments.of([1], [len(seen[0])], device=q.device)
        found.append(attention(q[row : row + 1], *seen, segments=runs, backend=SDPA))
    return torch.cat(found)
