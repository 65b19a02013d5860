"""Cascade attention: a packed pass over branches of many prefixes attends each prefix once.

A branch is a run of rows that goes on where its prefix ends: the words of a question after what a
camera has shown, or the next frame itself. Its rows see the whole prefix and, causally, their own
branch. The branches of one prefix are one run of queries to it, whatever their number; the two
parts are merged by log-sum-exp, which is exact.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple, Self

import torch
from torch import Tensor

from model.engine.kv_cache import KVSequence, PagePool
from model.layers.attention import (
    Backend,
    Segments,
    Store,
    attention_with_lse,
    merge,
)
from model.layers.to_device import to_device

Seen = Callable[[int, Tensor], tuple[Tensor, Tensor]]
"""Takes a layer and its queries; gives what `attention_with_lse` does over the prefixes."""


class SharedPrefixes:
    """Sequences that a pass goes on from, as they are now.

    Attributes:
        lengths: tokens of each sequence.
        device: where the keys and values lie.
    """

    def __init__(self, pool: PagePool, sequences: Sequence[KVSequence]) -> None:
        """Take the sequences as they are now.

        Args:
            pool: where the sequences lie.
            sequences: the empty ones come last, since they have no segment.
        """
        self.lengths = tuple(sequence.length for sequence in sequences)
        self.device = pool.device
        self._pool = pool
        self._sequences = list(sequences)
        self._slots: Tensor | None = None

    def seen_by(self, num_queries: Sequence[int], *, backend: Backend) -> Seen:
        """Lay out a pass in which so many queries see each prefix; empty prefixes have none.

        Where the backend reads pages, nothing is copied out.
        """
        num_seen = sum(length > 0 for length in self.lengths)
        counts, lengths = num_queries[:num_seen], self.lengths[:num_seen]
        if backend.paged:
            pages = [sequence.pages for sequence in self._sequences[:num_seen]]
            paged, attend = self._pool.segments(counts, lengths, pages), backend.paged.attend
            return lambda layer, q: attend(q, self._pool.slabs(layer), segments=paged)
        packed = Segments.of(counts, lengths, device=self.device)
        return lambda layer, q: attention_with_lse(
            q, *self._copy(layer), segments=packed, backend=backend
        )

    def _copy(self, layer: int) -> tuple[Tensor, Tensor]:
        """Lay one layer's keys and values end to end, (sum of lengths, ...) each."""
        if self._slots is None:
            both = zip(self._sequences, self.lengths, strict=True)
            slots = [sequence.slots(0, length) for sequence, length in both]
            self._slots = to_device(torch.cat(slots), self.device)
        return self._pool.read(layer, self._slots)


_PerBranch = Sequence[Sequence[int]]
"""A number for every branch of every prefix."""


class _Asking(NamedTuple):
    """The queries of a pass, laid out over their own branches and over the prefixes."""

    own: Segments
    seen: Seen
    num_seeing: int

    @classmethod
    def of(
        cls,
        prefixes: SharedPrefixes,
        rows: _PerBranch,
        lengths: _PerBranch,
        children: _PerBranch,
        *,
        backend: Backend,
    ) -> Self:
        """Take so many of the last rows of each branch, and all its children, as queries."""
        own = [chain(*one) for one in (rows, lengths, children)]
        runs = [
            run
            for num, length, count in zip(*own, strict=True)
            for run in ((num, length), *[(1, length + 1)] * count)
        ]
        asked = [sum(map(sum, both)) for both in zip(rows, children, strict=True)]
        return cls(
            Segments.of(*zip(*runs, strict=True), device=prefixes.device),
            prefixes.seen_by(asked, backend=backend),
            sum(count for count, n in zip(asked, prefixes.lengths, strict=True) if n),
        )


class CascadePrefill:
    """The attention of a pass over new branches: an `Attend` for one pass of the decoder.

    A branch may have children: single rows behind it, each of which sees the branch and itself.
    For them the branch's keys are repeated, never its rows: one of 25 rows with nine children is
    34 rows through the decoder, where nine branches would be 234.

    Where the caller wants only a branch's last rows, only those, and all children, are queries in
    the last layer.

    Attributes:
        positions: (N,) int64, each row's place in its own sequence.
    """

    def __init__(
        self,
        prefixes: SharedPrefixes,
        branch_lengths: Sequence[Sequence[int]],
        *,
        backend: Backend,
        store: Store,
        num_wanted: Sequence[Sequence[int]] | None = None,
        num_children: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """Lay out the rows.

        Args:
            prefixes: the sequences that are gone on with.
            branch_lengths: for each, the rows of its branches, which lie end to end in this order,
                each followed by its children.
            backend: attention kernels.
            store: told of each layer's keys and values.
            num_wanted: for each branch, of how many of its last rows the last layer asks; None
                where it asks of all.
            num_children: for each branch; None where none has any.
        """
        device = prefixes.device
        children = num_children or [[0] * len(lengths) for lengths in branch_lengths]
        self._prefixes = prefixes
        both = branch_lengths, children
        self._all = _Asking.of(prefixes, branch_lengths, *both, backend=backend)
        self._wanted = (
            _Asking.of(prefixes, num_wanted, *both, backend=backend) if num_wanted else self._all
        )
        self._backend = backend
        self._store = store
        starts = [
            start
            for start, lengths in zip(prefixes.lengths, branch_lengths, strict=True)
            for _ in lengths
        ]
        branches = list(zip(chain(*branch_lengths), chain(*children), strict=True))
        positions = [
            torch.arange(start, start + length + count).clamp_(max=start + length)
            for start, (length, count) in zip(starts, branches, strict=True)
        ]
        self.positions = to_device(torch.cat(positions), device)
        has_children = any(map(sum, children))
        self._key_rows = to_device(_key_rows(branches), device) if has_children else None

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend each row to its prefix and its branch."""
        self._store(layer, k, v)
        asking = self._all if len(q) == len(k) else self._wanted
        if self._key_rows is not None:
            k, v = k.index_select(0, self._key_rows), v.index_select(0, self._key_rows)
        out, lse = attention_with_lse(
            q, k, v, segments=asking.own, backend=self._backend, is_causal=True
        )
        if not asking.num_seeing:
            return out
        seeing = slice(asking.num_seeing)
        found = asking.seen(layer, q[seeing])
        merged = merge(found, (out[seeing], lse[seeing]))
        return merged if len(merged) == len(q) else torch.cat([merged, out[asking.num_seeing :]])


def _key_rows(branches: Sequence[tuple[int, int]]) -> list[int]:
    """List the rows that each run sees: a branch itself; a child the branch and itself.

    Args:
        branches: of each its rows and its children, which follow them.
    """
    rows: list[int] = []
    begin = 0
    for length, count in branches:
        branch = range(begin, begin + length)
        begin = branch.stop + count
        rows += branch
        for child in range(branch.stop, begin):
            rows += [*branch, child]
    return rows
