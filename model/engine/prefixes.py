"""What rows go on from: sequences that many rows of a pass see, each of them whole.

Their keys and values are read in their pages where there is a kernel for that, and else laid end
to end first, for one pass or for a whole decoding.
"""

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor

from model.engine.kv_cache import KVSequence, PagePool
from model.layers.attention import Backend, Segments, attention_with_lse
from model.layers.pages import PagedSegments
from model.layers.to_device import to_device

Seen = Callable[[int, Tensor], tuple[Tensor, Tensor]]
"""Takes a layer and its queries; gives what `attention_with_lse` does over the prefixes."""


class SharedPrefixes:
    """Sequences as they are now, for one pass or for a whole decoding.

    Attributes:
        lengths: tokens of each sequence.
        device: where the keys and values lie.
        pool: where the sequences lie.
    """

    def __init__(self, pool: PagePool, sequences: Sequence[KVSequence], *, is_kept: bool) -> None:
        """Take the sequences as they are now.

        Args:
            pool: where the sequences lie.
            sequences: the empty ones come last, since they have no segment.
            is_kept: each layer is laid out once and kept, because more passes follow.
        """
        self.lengths = tuple(sequence.length for sequence in sequences)
        self.device = pool.device
        self.pool = pool
        self._sequences = list(sequences)
        self._slots: Tensor | None = None
        self._kept: dict[int, tuple[Tensor, Tensor]] | None = {} if is_kept else None

    def only(self, indices: Sequence[int]) -> Self:
        """Make prefixes of some of the sequences, and free the layers that were laid out here.

        The caller goes on holding this object, whose layers would be a second copy of every
        context.
        """
        if self._kept:
            self._kept.clear()
        return type(self)(self.pool, [self._sequences[index] for index in indices], is_kept=True)

    def read(self, layer: int) -> tuple[Tensor, Tensor]:
        """Copy out one layer's keys and values, (sum of lengths, num_kv_heads, head_dim) each."""
        if self._kept is None:
            return self._copy(layer)
        if layer not in self._kept:
            keys, values = self._copy(layer)
            if self.device.type == "cpu":
                keys, values = _by_head(keys), _by_head(values)
            self._kept[layer] = keys, values
        return self._kept[layer]

    def take(self, layer: int) -> tuple[Tensor, Tensor]:
        """Give one layer as `read` does, and free what was kept of it."""
        kept = self._kept.pop(layer, None) if self._kept else None
        return kept or self._copy(layer)

    def seen_by(self, num_queries: Sequence[int], *, backend: Backend) -> Seen:
        """Lay out a pass in which so many queries see each prefix; empty prefixes have none.

        Where the backend reads pages, nothing is copied out.
        """
        num_seen = sum(length > 0 for length in self.lengths)
        counts, lengths = num_queries[:num_seen], self.lengths[:num_seen]
        if backend.paged:
            paged, attend = self.in_pages(range(num_seen), counts), backend.paged.attend
            return lambda layer, q: attend(q, self.pool.slabs(layer), segments=paged)
        packed = Segments.of(counts, lengths, device=self.device)
        return lambda layer, q: attention_with_lse(
            q, *self.read(layer), segments=packed, backend=backend
        )

    def in_pages(self, indices: Sequence[int], num_queries: Sequence[int]) -> PagedSegments:
        """Lay out a pass over pages in which so many queries each see one of the sequences."""
        lengths = [self.lengths[index] for index in indices]
        pages = [self._sequences[index].pages for index in indices]
        return self.pool.segments(num_queries, lengths, pages)

    def _copy(self, layer: int) -> tuple[Tensor, Tensor]:
        if self._slots is None:
            both = zip(self._sequences, self.lengths, strict=True)
            slots = [sequence.slots(0, length) for sequence, length in both]
            self._slots = to_device(torch.cat(slots), self.device)
        return self.pool.read(layer, self._slots)


def _by_head(rows: Tensor) -> Tensor:
    """Lay (N, num_kv_heads, head_dim) out anew, each head's rows side by side; the shape stays.

    A step of decoding reads all of it for one query, and that reading is what a CPU waits for:
    3,500 tokens of 32 numbers cost 233 us a layer by head and 567 us by token, on one core.
    """
    return rows.transpose(0, 1).contiguous().transpose(0, 1)
