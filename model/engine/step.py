"""One step of decoding: the newest token of every branch sees its prefix and its own words.

Prefixes are read in their pages where there is a kernel for that. Elsewhere they are copied out,
once for all steps: by a kernel that is told how much of a segment is there, prefix and words side
by side; else the two apart, merged.
"""

from collections.abc import Sequence
from itertools import accumulate
from math import inf
from typing import Protocol

import torch
from torch import Tensor

from model.engine.kv_cache import PagePool
from model.engine.prefixes import SharedPrefixes
from model.layers.attention import Backend, Segments, UsedKernel, padded_attention
from model.layers.pages import OwnWords, PagedKernels
from model.layers.to_device import to_device


class Suffixes:
    """Keys and values of branches that are being decoded, padded to one length.

    Attributes:
        lengths: (B,) int64 on the device, tokens of each branch so far.
        max_tokens: what each has room for.
    """

    def __init__(
        self,
        pool: PagePool,
        rows: Sequence[range],
        *,
        max_tokens: int,
    ) -> None:
        """Make room.

        Args:
            pool: whose keys these continue.
            rows: where each branch's first tokens lie in the pass that brings them.
            max_tokens: of the longest branch with all that it may come to say.
        """
        self.max_tokens = max_tokens
        self.lengths = to_device([len(one) for one in rows], pool.device)
        self._branches = torch.arange(len(rows), device=pool.device)
        self._layers = pool.new_suffixes(len(rows), max_tokens)
        self._rows = to_device([row for one in rows for row in one], pool.device)
        # Where those go: of each its branch, and its place in the branch.
        places = [(n, at) for n, one in enumerate(rows) for at in range(len(one))]
        self._places = to_device(places, pool.device).view(-1, 2).unbind(dim=1)

    def store(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Pick the branches' rows out of a prefill."""
        for slab, rows in zip(self._layers[layer], (keys, values), strict=True):
            branches, places = self._places
            slab[branches, :, places] = rows.index_select(0, self._rows)

    def unseen(self) -> Tensor:
        """Mask the room that no branch sees once each has appended one more token.

        Returns:
            (B, 1, 1, max_tokens) float32: 0 at what it sees, -inf at the rest.
        """
        places = torch.arange(self.max_tokens, device=self.lengths.device)
        is_past = places > self.lengths[:, None, None, None]
        return torch.zeros(is_past.shape, device=is_past.device).masked_fill_(is_past, -inf)

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put one token at each branch's end; give (B, num_kv_heads, max_tokens, head_dim) each."""
        keys_so_far, values_so_far = self._layers[layer]
        keys_so_far[self._branches, :, self.lengths] = keys
        values_so_far[self._branches, :, self.lengths] = values
        return keys_so_far, values_so_far

    def layer(self, layer: int) -> tuple[Tensor, Tensor]:
        """Give one layer, (B, num_kv_heads, max_tokens, head_dim) each, to read or to set."""
        return self._layers[layer]

    def advance(self) -> None:
        """Count the token that every layer has appended, in place; a full branch stays full.

        Only a branch that is over, whose row is idle, goes on when it is full.
        """
        self.lengths.add_(1).clamp_(max=self.max_tokens - 1)

    def keep(self, indices: Sequence[int]) -> None:
        """Drop every branch but these."""
        at = to_device(indices, self.lengths.device)
        self.lengths = self.lengths[at]
        self._branches = self._branches[: len(indices)]
        self._layers = [(keys[at], values[at]) for keys, values in self._layers]


class Step(Protocol):
    """The attention of one decoding step: an `Attend` for the newest token of every branch."""

    @property
    def positions(self) -> Tensor:
        """Each token's place in its own sequence, (B,) int64."""
        ...

    @property
    def num_moves(self) -> int:
        """How often what it reads has come to lie elsewhere: it must be captured anew then."""
        ...

    def settle(self) -> None:
        """Write back to the suffixes what was appended, before they are used elsewhere."""
        ...

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend each token to its prefix and to its branch, which it is part of."""
        ...


def step_of(
    prefixes: SharedPrefixes, families: Sequence[int], suffixes: Suffixes, *, backend: Backend
) -> Step:
    """Lay out one token of each branch, for as many steps as there are.

    Args:
        prefixes: what the branches go on from, none of them empty.
        families: for each branch the index of its prefix, ascending.
        suffixes: the branches so far.
        backend: attention kernels.
    """
    if backend.paged:
        return _PagedStep(prefixes, families, suffixes, kernels=backend.paged)
    return _CopiedStep(prefixes, families, suffixes, backend=backend)


class _PagedStep:
    """A step over prefixes in their pages, each branch on its own."""

    def __init__(
        self,
        prefixes: SharedPrefixes,
        families: Sequence[int],
        suffixes: Suffixes,
        *,
        kernels: PagedKernels,
    ) -> None:
        """Lay out one token of each branch; see `step_of`."""
        self._segments = prefixes.in_pages(families, [1] * len(families))
        self._pool = prefixes.pool
        self._suffixes = suffixes
        self._kernels = kernels

    @property
    def num_moves(self) -> int:
        return self._pool.num_moves

    @property
    def positions(self) -> Tensor:
        return self._segments.key_lengths + self._suffixes.lengths

    def settle(self) -> None:
        """Do nothing: what is appended is in the suffixes."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self._kernels.step(
            q,
            (k, v),
            self._pool.slabs(layer),
            segments=self._segments,
            own=OwnWords(*self._suffixes.layer(layer), self._suffixes.lengths),
        )


class _PaddedPrefixes:
    """Padded rows of one prefix and its only branch, so that one kernel attends to both."""

    def __init__(self, prefixes: SharedPrefixes, suffixes: Suffixes, *, kernel: UsedKernel) -> None:
        self._prefixes = prefixes
        self._suffixes = suffixes
        self._kernel = kernel
        device, lengths = prefixes.device, prefixes.lengths
        sizes = [length + suffixes.max_tokens for length in lengths]
        starts = [end - size for end, size in zip(accumulate(sizes), sizes, strict=True)]
        self._segments = Segments.of([1] * len(sizes), sizes, device=device)
        rows = [
            torch.arange(start, start + length)
            for start, length in zip(starts, lengths, strict=True)
        ]
        self._prefix_rows = to_device(torch.cat(rows), device)
        # Where each branch begins, and the tokens before it.
        self._begins = to_device([s + n for s, n in zip(starts, lengths, strict=True)], device)
        self._before = to_device(lengths, device)
        own = self._begins[:, None] + torch.arange(suffixes.max_tokens, device=device)
        self._own_rows = own.flatten()
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self.count()

    def count(self) -> None:
        """Read the branches' lengths anew."""
        self._places = self._begins + self._suffixes.lengths
        self._used = (self._before + self._suffixes.lengths + 1).int()

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Put one token at each branch's end, and let it see all before it."""
        if layer not in self._layers:
            self._layers[layer] = self._lay_out(layer)
        keys, values = self._layers[layer]
        keys.index_copy_(0, self._places, k)
        values.index_copy_(0, self._places, v)
        return self._kernel(q, keys, values, segments=self._segments, used=self._used)

    def settle(self) -> None:
        """Copy to the suffixes what the branches have appended here."""
        for layer, slabs in self._layers.items():
            for tail, slab in zip(self._suffixes.layer(layer), slabs, strict=True):
                rows = slab.index_select(0, self._own_rows)
                tail.copy_(rows.view(len(tail), -1, *rows.shape[1:]).transpose(1, 2))

    def _lay_out(self, layer: int) -> tuple[Tensor, Tensor]:
        slabs = []
        for rows, tail in zip(self._prefixes.take(layer), self._suffixes.layer(layer), strict=True):
            slab = rows.new_empty((sum(self._segments.key_lengths), *rows.shape[1:]))
            slab.index_copy_(0, self._prefix_rows, rows)
            slab.index_copy_(0, self._own_rows, tail.transpose(1, 2).flatten(0, 1))
            slabs.append(slab)
        return slabs[0], slabs[1]


class _CopiedStep:
    """A step over prefixes that are copied out."""

    def __init__(
        self,
        prefixes: SharedPrefixes,
        families: Sequence[int],
        suffixes: Suffixes,
        *,
        backend: Backend,
    ) -> None:
        """Lay out one token of each branch; see `step_of`."""
        counts = [families.count(index) for index in range(len(prefixes.lengths))]
        kernel = backend.used_kernel if max(counts) == min(counts) == 1 else None
        self._room = _PaddedPrefixes(prefixes, suffixes, kernel=kernel) if kernel else None
        starts = [prefixes.lengths[index] for index in families]
        self._seen = prefixes.seen_by(counts, backend=backend)
        self._starts = to_device(starts, suffixes.lengths.device)
        self._suffixes = suffixes
        self._unseen = suffixes.unseen()

    num_moves = 0  # what was copied out stays

    @property
    def positions(self) -> Tensor:
        return self._starts + self._suffixes.lengths

    def settle(self) -> None:
        if self._room:
            self._room.settle()

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self._room:
            if layer == 0:
                self._room.count()
            return self._room.attend(layer, q, k, v)
        if layer == 0:  # every layer of a pass sees the same
            self._unseen = self._suffixes.unseen()
        seen = self._seen(layer, q)
        keys, values = self._suffixes.append(layer, k, v)
        return padded_attention(q, keys, values, unseen=self._unseen, found=seen)
