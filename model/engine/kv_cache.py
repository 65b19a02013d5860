"""The KV cache: keys and values of many growing sequences, in pages of one pool.

A sequence takes pages as it grows and gives them back when it is released, so that what one camera
retires the next one uses: after the first window the pool asks the device for nothing more.
Where there is a memory budget the pool is told how many pages will be needed and how many there may
be: it makes them at once as the first is missing, and refuses what would pass the budget.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

import torch
from torch import Tensor

from model.errors import InputError
from model.family import Network, TextShape
from model.layers.fp8 import FP8, check_device, plain_bytes
from model.layers.pages import PAGE_TOKENS, PagedSegments, Slabs, kept_in_fp8, rows_at


class PoolFullError(MemoryError):
    """There may be no more pages than there are. The device might well have more memory."""


class PagePool:
    """Post-RoPE keys and values of every decoder layer, in pages that sequences share out.

    Attributes:
        page_tokens: tokens of a page.
        page_bytes: bytes of a page, all layers.
        max_positions: tokens of the longest sequence the model takes.
        device: where the pages lie.
        num_moves: how often the pages came to lie elsewhere; a CUDA graph knows where they lay.
        before_moving: called before they do.
    """

    def __init__(
        self,
        config: TextShape,
        *,
        dtype: torch.dtype,
        device: torch.device | str,
        page_tokens: int = PAGE_TOKENS,
        is_fp8: bool = False,
    ) -> None:
        """Begin without memory.

        Args:
            config: the decoder's shape.
            dtype: of the decoder.
            device: where the pages are to lie.
            page_tokens: tokens of a page.
            is_fp8: keep keys and values in FP8, each token's and head's with a scale of its own.

        Raises:
            InputError: the device has no such numbers.
        """
        self.page_tokens = page_tokens
        self.max_positions = config.max_positions
        self.device = torch.device(device)
        self.num_moves = 0
        if is_fp8:
            check_device("fp8_keys", self.device)
        self._dtype = dtype
        self._is_fp8 = is_fp8
        shape = (0, config.num_kv_heads, config.head_dim)
        empty = torch.empty(shape, dtype=FP8 if is_fp8 else dtype, device=device)
        kinds = [empty, empty]  # of what each token has in each layer: keys, values, their scales
        if is_fp8:
            kinds += 2 * [torch.empty((*shape[:2], 1), dtype=torch.float32, device=device)]
        # (num_pages * page_tokens, num_kv_heads, ...) for each kind, for each layer.
        self._slabs = [[kind] * config.num_layers for kind in kinds]
        self._free: list[int] = []
        self._num_holders: Counter[int] = Counter()  # of pages, beside whoever took them
        self._num_pages = 0
        self._num_expected = 0
        self._at_most: int | None = None
        self.before_moving: Callable[[], None] = lambda: None
        token_bytes = sum(kind.shape[1:].numel() * kind.itemsize for kind in kinds)
        self.page_bytes = token_bytes * page_tokens * config.num_layers

    @classmethod
    def of(cls, network: Network, *, is_fp8: bool) -> Self:
        """Begin without memory, for the contexts of a network."""
        text, dtype, device = network.config.text, network.dtype, network.device
        return cls(text, dtype=dtype, device=device, is_fp8=is_fp8)

    @property
    def num_layers(self) -> int:
        """Layers that each token has keys and values of."""
        return len(self._slabs[0])

    @property
    def num_bytes(self) -> int:
        """Bytes allocated, all layers."""
        return sum(slab.nbytes for slabs in self._slabs for slab in slabs)

    def whole_pages(self, num_tokens: int) -> int:
        """Round a number of tokens up to pages."""
        return -(-num_tokens // self.page_tokens) * self.page_tokens

    def expect(self, num_pages: int, *, at_most: int | None) -> None:
        """Say how many pages will be needed, and how many there may be, None for no limit."""
        self._num_expected = num_pages
        self._at_most = at_most

    def take(self, num_pages: int) -> list[int]:
        """Give out pages, asking the device for more where none is free.

        Raises:
            PoolFullError: there may be no more; nothing is given out.
            torch.OutOfMemoryError, MemoryError: the device has no more; nothing is given out.
        """
        if num_pages > len(self._free):
            needed = self._num_pages + num_pages - len(self._free)
            made = max(needed, self._num_pages * 9 // 8, self._num_expected)
            if self._at_most is not None:
                if needed > self._at_most:
                    raise PoolFullError(f"expected at most {self._at_most} pages, got {needed}")
                made = min(made, self._at_most)
            self._grow(made)
        taken = self._free[len(self._free) - num_pages :]
        del self._free[len(self._free) - num_pages :]
        return taken

    def give_back(self, pages: list[int]) -> None:
        """Take back pages; what they hold is lost, as soon as nobody holds them any more."""
        if not self._num_holders:
            self._free.extend(pages)
            return
        for page in pages:
            if page in self._num_holders:
                self._num_holders[page] -= 1
                if not self._num_holders[page]:
                    del self._num_holders[page]
            else:
                self._free.append(page)

    def hold(self, pages: list[int]) -> None:
        """Keep pages until they are given back once more than otherwise."""
        self._num_holders.update(pages)

    def trim(self) -> None:
        """Give the device back the free pages behind the last one that is held."""
        free = set(self._free)
        num_pages = self._num_pages
        while num_pages - 1 in free:
            num_pages -= 1
        if num_pages == self._num_pages:
            return
        self._free = [page for page in self._free if page < num_pages]
        self._num_pages = num_pages
        self._begin_to_move()
        with suppress(RuntimeError, MemoryError):  # without room to move them the rest stays
            for slabs in self._slabs:
                for layer, old in enumerate(slabs):
                    slabs[layer] = old[: num_pages * self.page_tokens].clone()

    def write(self, layer: int, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Put rows (N, num_kv_heads, head_dim) at slots (N,) int64."""
        rows = kept_in_fp8(keys, values) if self._is_fp8 else (keys, values)
        for slabs, new in zip(self._slabs, rows, strict=True):
            plain_bytes(slabs[layer]).index_copy_(0, slots, plain_bytes(new))

    def read(self, layer: int, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Copy out keys and values at slots (N,) int64: (N, num_kv_heads, head_dim) each."""
        return rows_at(self.slabs(layer), slots, dtype=self._dtype)

    def slabs(self, layer: int) -> Slabs:
        """Give all keys and values of a layer."""
        return Slabs(*(slabs[layer] for slabs in self._slabs))

    def segments(
        self, num_queries: Sequence[int], lengths: Sequence[int], pages: Sequence[Sequence[int]]
    ) -> PagedSegments:
        """Lay out runs of so many queries, each of which sees so many tokens of its pages."""
        return PagedSegments.of(
            num_queries, lengths, pages, page_tokens=self.page_tokens, device=self.device
        )

    def new_suffixes(self, num_branches: int, num_tokens: int) -> list[tuple[Tensor, Tensor]]:
        """Make zeroed keys and values outside the pool, shaped like its own, for each layer.

        Returns:
            (num_branches, num_kv_heads, num_tokens, head_dim) each: a head's tokens lie together.
        """
        num_kv_heads, head_dim = self._slabs[0][0].shape[1:]
        shape = (2, num_branches, num_kv_heads, num_tokens, head_dim)
        layers = [
            torch.zeros(shape, dtype=self._dtype, device=self.device)
            for _ in range(self.num_layers)
        ]
        return [(keys, values) for keys, values in layers]

    def _begin_to_move(self) -> None:
        self.before_moving()
        self.num_moves += 1

    def _grow(self, num_pages: int) -> None:
        """Make room for so many pages in all.

        One layer at a time, so that growing needs one spare slab and not a second cache. The
        pages count once every layer has them; a growth that fails half way is gone on with later.
        """
        num_tokens = num_pages * self.page_tokens
        self._begin_to_move()
        for slabs in self._slabs:
            for layer, old in enumerate(slabs):
                if old.shape[0] < num_tokens:
                    slabs[layer] = old.new_empty((num_tokens, *old.shape[1:]))
                    slabs[layer][: old.shape[0]] = old
        self._free.extend(range(num_pages - 1, self._num_pages - 1, -1))
        self._num_pages = num_pages


class KVSequence:
    """One growing run of tokens in a pool: which pages it has, and how many tokens they hold.

    A pass calls `reserve`, writes at the `slots` past `length`, and calls `advance` at its end: a
    pass that fails half way leaves the sequence as it was.
    """

    def __init__(self, pool: PagePool) -> None:
        self._pool = pool
        self._pages: list[int] = []
        self._length = 0

    @property
    def length(self) -> int:
        """Tokens held."""
        return self._length

    @property
    def num_bytes(self) -> int:
        """Bytes of its pages, all layers."""
        return len(self._pages) * self._pool.page_bytes

    def reserve(self, num_tokens: int) -> None:
        """Take pages for so many more tokens.

        Raises:
            InputError: the sequence would pass the model's positions.
            torch.OutOfMemoryError, MemoryError: the device has no more pages.
        """
        end = self._length + num_tokens
        if end > self._pool.max_positions:
            raise InputError(
                f"sequence: expected at most {self._pool.max_positions} tokens, got {end}"
            )
        num_missing = -(-end // self._pool.page_tokens) - len(self._pages)
        if num_missing > 0:
            self._pages += self._pool.take(num_missing)

    @property
    def pages(self) -> tuple[int, ...]:
        """Its pages, in the order of its tokens."""
        return tuple(self._pages)

    def hold(self) -> "KVSequence":
        """Give another sequence of the tokens so far, on the same pages, which it keeps.

        It is to be read, and truncated to nothing at its end; this one may grow and end meanwhile.
        """
        held = KVSequence(self._pool)
        held._pages = self._pages[: -(-self._length // self._pool.page_tokens)]
        held._length = self._length
        self._pool.hold(held._pages)
        return held

    def slots(self, start: int, end: int) -> Tensor:
        """Say where tokens `start` to `end` lie in the pool: (end - start,) int64, on the host."""
        size = self._pool.page_tokens
        tokens = torch.arange(start, end)
        pages = torch.tensor(self._pages, dtype=torch.int64)
        return pages[tokens // size] * size + tokens % size

    def advance(self, num_tokens: int) -> None:
        """Count the rows that every layer has written."""
        self._length += num_tokens

    def truncate(self, length: int) -> None:
        """Forget every token from `length` on, and give back the pages that empties.

        Raises:
            InputError: `length` is not within what is held.
        """
        if not 0 <= length <= self._length:
            raise InputError(f"truncate: expected 0 to {self._length} tokens, got {length}")
        self._length = length
        num_pages = -(-length // self._pool.page_tokens)
        self._pool.give_back(self._pages[num_pages:])
        del self._pages[num_pages:]
