"""A step of decoding over pages, row by row: what a kernel that reads them does, the slow way."""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.layers.attention import SDPA, Segments, attention
from model.layers.pages import OwnWords, PagedSegments


def plain_step(
    q: Tensor,
    new: Sequence[Tensor],
    pages: Sequence[Tensor],
    *,
    segments: PagedSegments,
    own: OwnWords,
) -> Tensor:
    """See `PagedStepKernel`."""
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
