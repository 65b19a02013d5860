"""Cascade attention: a packed pass over branches of many prefixes attends each prefix once.

A branch is a run of rows that goes on where its prefix ends: the words of a question after what a
camera has shown, or the next frame itself. Its rows see the whole prefix and, causally, their own
branch. The branches of one prefix are one run of queries to it, whatever their number; the two
parts are merged by log-sum-exp, which is exact.
"""

from collections.abc import Sequence
from itertools import accumulate, chain
from math import inf
from typing import NamedTuple, Self

import torch
from torch import Tensor

from model.engine.kv_cache import KVSequence, PagePool
from model.layers.attention import (
    Backend,
    Segments,
    Store,
    UsedKernel,
    attention_with_lse,
    merge,
    padded_attention,
)
from model.layers.to_device import to_device


class SharedPrefixes:
    """Keys and values of sequences, laid end to end for one pass or for a whole decoding.

    Attributes:
        lengths: tokens of each sequence.
        device: where the keys and values lie.
    """

    def __init__(self, pool: PagePool, sequences: Sequence[KVSequence], *, is_kept: bool) -> None:
        """Take the sequences as they are now.

        Args:
            pool: where the sequences lie.
            sequences: the empty ones come last, since they have no segment.
            is_kept: each layer is laid out once and kept, because more passes follow.
        """
        self.lengths = tuple(sequence.length for sequence in sequences)
        slots = torch.cat([sequence.slots(0, sequence.length) for sequence in sequences])
        self.device = pool.device
        self._pool = pool
        self._sequences = list(sequences)
        self._slots = to_device(slots, pool.device)
        self._kept: dict[int, tuple[Tensor, Tensor]] | None = {} if is_kept else None

    def only(self, indices: Sequence[int]) -> Self:
        """Make prefixes of some of the sequences, and free the layers that were laid out here.

        The caller goes on holding this object, whose layers would be a second copy of every
        context.
        """
        if self._kept:
            self._kept.clear()
        return type(self)(self._pool, [self._sequences[index] for index in indices], is_kept=True)

    def read(self, layer: int) -> tuple[Tensor, Tensor]:
        """Give one layer's keys and values, (sum of lengths, num_kv_heads, head_dim) each."""
        if self._kept is None:
            return self._pool.read(layer, self._slots)
        if layer not in self._kept:
            keys, values = self._pool.read(layer, self._slots)
            if self.device.type == "cpu":
                keys, values = _by_head(keys), _by_head(values)
            self._kept[layer] = keys, values
        return self._kept[layer]

    def take(self, layer: int) -> tuple[Tensor, Tensor]:
        """Give one layer as `read` does, and free what was kept of it."""
        kept = self._kept.pop(layer, None) if self._kept else None
        return kept or self._pool.read(layer, self._slots)

    def segments(self, num_queries: Sequence[int]) -> Segments:
        """Lay out a pass in which so many queries see each prefix; empty prefixes have none."""
        num_seen = sum(length > 0 for length in self.lengths)
        return Segments.of(num_queries[:num_seen], self.lengths[:num_seen], device=self.device)


def _by_head(rows: Tensor) -> Tensor:
    """Lay (N, num_kv_heads, head_dim) out anew, each head's rows side by side; the shape stays.

    A step of decoding reads all of it for one query, and that reading is what a CPU waits for:
    3,500 tokens of 32 numbers cost 233 us a layer by head and 567 us by token, on one core.
    """
    return rows.transpose(0, 1).contiguous().transpose(0, 1)


_PerBranch = Sequence[Sequence[int]]
"""A number for every branch of every prefix."""


class _Asking(NamedTuple):
    """The queries of a pass, laid out over their own branches and over the prefixes."""

    own: Segments
    seen: Segments

    @classmethod
    def of(
        cls, prefixes: SharedPrefixes, rows: _PerBranch, lengths: _PerBranch, children: _PerBranch
    ) -> Self:
        """Take so many of the last rows of each branch, and all its children, as queries."""
        own = [chain(*one) for one in (rows, lengths, children)]
        runs = [
            run
            for asked, length, count in zip(*own, strict=True)
            for run in ((asked, length), *[(1, length + 1)] * count)
        ]
        return cls(
            Segments.of(*zip(*runs, strict=True), device=prefixes.device),
            prefixes.segments([sum(map(sum, both)) for both in zip(rows, children, strict=True)]),
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
        self._all = _Asking.of(prefixes, branch_lengths, branch_lengths, children)
        self._wanted = (
            _Asking.of(prefixes, num_wanted, branch_lengths, children) if num_wanted else self._all
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
        num_seeing = sum(asking.seen.query_lengths)
        if not num_seeing:
            return out
        seeing = slice(num_seeing)
        keys, values = self._prefixes.read(layer)
        found = attention_with_lse(
            q[seeing], keys, values, segments=asking.seen, backend=self._backend
        )
        merged = merge(found, (out[seeing], lse[seeing]))
        return merged if len(merged) == len(q) else torch.cat([merged, out[num_seeing:]])


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


class Step:
    """The attention of one decoding step: an `Attend` for the newest token of every branch."""

    def __init__(
        self,
        prefixes: SharedPrefixes,
        families: Sequence[int],
        suffixes: Suffixes,
        *,
        backend: Backend,
    ) -> None:
        """Lay out one token of each branch.

        Args:
            prefixes: what the branches go on from, none of them empty.
            families: for each branch the index of its prefix, ascending.
            suffixes: the branches so far.
            backend: attention kernels.
        """
        counts = [families.count(index) for index in range(len(prefixes.lengths))]
        kernel = backend.used_kernel if max(counts) == min(counts) == 1 else None
        self._room = _PaddedPrefixes(prefixes, suffixes, kernel=kernel) if kernel else None
        starts = [prefixes.lengths[index] for index in families]
        self._prefixes = prefixes
        self._seen = prefixes.segments(counts)
        self._starts = to_device(starts, suffixes.lengths.device)
        self._suffixes = suffixes
        self._unseen = suffixes.unseen()
        self._backend = backend

    @property
    def positions(self) -> Tensor:
        """Each token's place in its own sequence, (B,) int64."""
        return self._starts + self._suffixes.lengths

    def settle(self) -> None:
        """Write back to the suffixes what was appended, before they are used elsewhere."""
        if self._room:
            self._room.settle()

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend each token to its prefix and to its branch, which it is part of."""
        if self._room:
            if layer == 0:
                self._room.count()
            return self._room.attend(layer, q, k, v)
        if layer == 0:  # every layer of a pass sees the same
            self._unseen = self._suffixes.unseen()
        keys, values = self._prefixes.read(layer)
        seen = attention_with_lse(q, keys, values, segments=self._seen, backend=self._backend)
        keys, values = self._suffixes.append(layer, k, v)
        return padded_attention(q, keys, values, unseen=self._unseen, found=seen)
