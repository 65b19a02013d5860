"""What the rows of a lasting batch see: a context each, and the words behind it.

Rows are joined and left while others go on. Where a kernel reads pages, contexts stay where they
lie, and every row is part of every pass, whether it is in use or not, so that a CUDA graph can hold
it. Elsewhere each row that is in use has a copy, laid out as one query reads it fastest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor

from model.engine.kv_cache import KVSequence, PagePool
from model.layers.attention import Backend, Segments, attention
from model.layers.pages import OwnWords, PagedSegments, PagedStepKernel
from model.layers.to_device import to_device

OWN_TOKENS = 64  # by so many the room for a row's own words grows


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a row goes on from.

    Attributes:
        context: what was there before its own words, held until the row is left.
        layers: of each layer the keys and values (N, num_kv_heads, head_dim) that a pass brought.
        words: which of those N are this row's own.
        max_new_tokens: so many more may follow.
        held_ids: the ids that the repetition penalty counts.
    """

    context: KVSequence
    layers: Sequence[tuple[Tensor, Tensor]]
    words: range
    max_new_tokens: int
    held_ids: frozenset[int]

    @property
    def num_own(self) -> int:
        """Tokens that the row may have of its own in the end."""
        return len(self.words) + self.max_new_tokens


class Rows(Protocol):
    """The attention of one step: an `Attend` for the newest token of every row of the pass."""

    @property
    def at(self) -> Tensor:
        """The rows of the pass, (B,) int64 on the device."""
        ...

    @property
    def positions(self) -> Tensor:
        """Each token's place in its own sequence, (B,) int64."""
        ...

    @property
    def num_moves(self) -> int:
        """How often what a step works on has moved, which a captured one does not know."""
        ...

    @property
    def num_bytes(self) -> int:
        """Bytes of what rows hold of their own."""
        ...

    def place(self, row: int) -> int:
        """Say where in the pass a row is."""
        ...

    def join(self, begun: Sequence[tuple[int, Beginning]]) -> None:
        """Let rows that are free begin with something."""
        ...

    def leave(self, row: int) -> None:
        """Free a row."""
        ...

    def advance(self) -> None:
        """Count the token that every layer has appended."""
        ...

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend each token to its context and to its own words, which it is part of."""
        ...


class CopiedRows:
    """Rows with a copy each of what they see, whose contexts are let go as they join.

    A step reads all of it for one query, and that reading is what a CPU waits for: 3,500 tokens of
    32 numbers cost 233 us a layer with each head's rows side by side and 567 us by token, on one
    core.
    """

    num_moves = 0

    def __init__(self, pool: PagePool, *, backend: Backend) -> None:
        """Begin with no row."""
        self._pool = pool
        self._backend = backend
        self._layers: dict[int, list[tuple[Tensor, Tensor]]] = {}
        self._lengths: dict[int, int] = {}
        self._count()

    @property
    def num_bytes(self) -> int:
        return sum(
            slab.nbytes for layers in self._layers.values() for both in layers for slab in both
        )

    def place(self, row: int) -> int:
        return list(self._lengths).index(row)

    def join(self, begun: Sequence[tuple[int, Beginning]]) -> None:
        self._layers |= {row: self._lay_out(one) for row, one in begun}  # all, or none
        for row, one in begun:
            self._lengths[row] = one.context.length + len(one.words)
            one.context.truncate(0)
        self._count()

    def leave(self, row: int) -> None:
        del self._layers[row], self._lengths[row]
        self._count()

    def advance(self) -> None:
        self._lengths = {row: length + 1 for row, length in self._lengths.items()}
        self._count()

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        found = []
        for n, (row, length) in enumerate(self._lengths.items()):
            seen = []
            for slab, new in zip(self._layers[row][layer], (k, v), strict=True):
                slab[length] = new[n]
                seen.append(slab[: length + 1])
            keys, values = seen
            found.append(
                attention(
                    q[n : n + 1], keys, values, segments=self._segments[n], backend=self._backend
                )
            )
        return torch.cat(found)

    def _count(self) -> None:
        device, lengths = self._pool.device, list(self._lengths.values())
        self.at = to_device(list(self._lengths), device, dtype=torch.int64)
        self.positions = to_device(lengths, device, dtype=torch.int64)
        self._segments = [Segments.of([1], [length + 1], device=device) for length in lengths]

    def _lay_out(self, one: Beginning) -> list[tuple[Tensor, Tensor]]:
        before, own = one.context.length, slice(one.words.start, one.words.stop)
        slots = to_device(one.context.slots(0, before), self._pool.device)
        layers = []
        for layer, words in enumerate(one.layers):
            slabs = []
            for seen, new in zip(self._pool.read(layer, slots), words, strict=True):
                slab = new.new_empty((new.shape[1], before + one.num_own, new.shape[2]))
                slab = slab.transpose(0, 1)
                slab[:before] = seen
                slab[before : before + len(one.words)] = new[own]
                slabs.append(slab)
            layers.append((slabs[0], slabs[1]))
        return layers


class PagedRows:
    """All rows of a batch, whose contexts stay in the pages they lie in.

    A row that is free sees no page, and goes over the same words of its own.
    """

    def __init__(
        self, pool: PagePool, num_rows: int, *, kernel: PagedStepKernel, num_own: int
    ) -> None:
        """Begin with free rows, with room for so many tokens of their own."""
        self._pool = pool
        self._kernel = kernel
        self._num_grown = 0
        self._room = 0
        self.at = torch.arange(num_rows, device=pool.device)
        self._lengths = torch.zeros_like(self.at)
        self._before = [0] * num_rows  # on the host, as `key_lengths` is on the device
        width = -(-pool.max_positions // pool.page_tokens)
        self._segments = PagedSegments.of(
            [1] * num_rows,
            self._before,
            [[0] * width] * num_rows,
            page_tokens=pool.page_tokens,
            device=pool.device,
        )
        self._own: list[tuple[Tensor, Tensor]] = pool.new_suffixes(num_rows, 0)
        self._make_room(num_own)

    @property
    def positions(self) -> Tensor:
        return self._segments.key_lengths + self._lengths

    @property
    def num_bytes(self) -> int:
        return sum(slab.nbytes for both in self._own for slab in both)

    @property
    def num_moves(self) -> int:
        return self._num_grown + self._pool.num_moves

    def place(self, row: int) -> int:
        return row

    def join(self, begun: Sequence[tuple[int, Beginning]]) -> None:
        self._make_room(max(one.num_own for _, one in begun))
        for row, one in begun:
            pages = to_device(one.context.pages, self.at.device, dtype=torch.int32)
            self._segments.table[row, : len(pages)] = pages
            self._set(row, before=one.context.length, own=len(one.words))
        for _, of_a_pass in groupby(begun, key=lambda both: id(both[1].layers)):
            self._take_over(list(of_a_pass))
        self._sort()

    def leave(self, row: int) -> None:
        self._set(row, before=0, own=0)
        self._sort()

    def advance(self) -> None:
        self._lengths.add_(1).clamp_(max=self._room - 1)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        own = OwnWords(*self._own[layer], self._lengths)
        slabs = self._pool.slabs(layer)
        return self._kernel(q, (k, v), slabs, segments=self._segments, own=own)

    def _set(self, row: int, *, before: int, own: int) -> None:
        self._before[row] = before
        self._segments.key_lengths[row] = before
        self._lengths[row] = own

    def _sort(self) -> None:
        order = sorted(range(len(self._before)), key=self._before.__getitem__, reverse=True)
        self._segments.longest_first.copy_(to_device(order, self.at.device, dtype=torch.int32))

    def _make_room(self, num_tokens: int) -> None:
        if num_tokens < self._room:
            return
        room = (num_tokens // OWN_TOKENS + 1) * OWN_TOKENS
        before, self._own = self._own, self._pool.new_suffixes(len(self._before), room)
        self._room = room  # now that there was memory for it
        for slabs, old in zip(self._own, before, strict=True):
            for slab, words in zip(slabs, old, strict=True):
                slab[:, :, : words.shape[2]] = words
        self._num_grown += 1

    def _take_over(self, begun: Sequence[tuple[int, Beginning]]) -> None:
        """Put the words that one pass brought where they belong, those of all rows at once."""
        spread = [(row, place, word) for row, one in begun for place, word in enumerate(one.words)]
        rows, places, words = to_device(spread, self.at.device).view(-1, 3).unbind(dim=1)
        for slabs, brought in zip(self._own, begun[0][1].layers, strict=True):
            for slab, new in zip(slabs, brought, strict=True):
                slab[rows, :, places] = new.index_select(0, words)
