"""The keys and values of one growing sequence, for every decoder layer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.config import TextConfig
from model.errors import InputError


@dataclass(slots=True)
class _Slab:
    """One layer's keys and values, (capacity, num_kv_heads, head_dim) each."""

    keys: Tensor
    values: Tensor

    @property
    def capacity(self) -> int:
        return self.keys.shape[0]

    def grow(self, capacity: int, *, length: int) -> None:
        for name in ("keys", "values"):
            old: Tensor = getattr(self, name)
            new = old.new_empty((capacity, *old.shape[1:]))
            new[:length] = old[:length]
            setattr(self, name, new)


class KVCache:
    """Post-RoPE keys and values of one sequence; grows by doubling, shrinks by `truncate`.

    A forward pass calls `append` once for each layer and `advance` once at its end: a pass that
    fails half way leaves the sequence as it was.
    """

    def __init__(
        self,
        config: TextConfig,
        *,
        dtype: torch.dtype,
        device: torch.device | str,
        capacity: int = 256,
        max_tokens: int | None = None,
    ) -> None:
        """Allocate `capacity` tokens; `max_tokens` defaults to the model's longest sequence."""
        self.max_tokens = config.max_positions if max_tokens is None else max_tokens
        self._length = 0
        shape = (min(capacity, self.max_tokens), config.num_kv_heads, config.head_dim)
        self._slabs = [
            _Slab(
                torch.empty(shape, dtype=dtype, device=device),
                torch.empty(shape, dtype=dtype, device=device),
            )
            for _ in range(config.num_layers)
        ]

    @property
    def length(self) -> int:
        """Tokens held."""
        return self._length

    @property
    def num_bytes(self) -> int:
        """Bytes allocated, all layers."""
        return sum(slab.keys.nbytes + slab.values.nbytes for slab in self._slabs)

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write one layer's new rows after `length` and return all its keys and values.

        Args:
            layer: decoder layer.
            keys: (L, num_kv_heads, head_dim), rotated.
            values: (L, num_kv_heads, head_dim).

        Returns:
            Keys and values, (length + L, num_kv_heads, head_dim) each. They are views of the
            cache's own memory, good until the next append or truncate.

        Raises:
            InputError: the sequence would pass `max_tokens`.
        """
        slab = self._slabs[layer]
        end = self._length + keys.shape[0]
        if end > self.max_tokens:
            raise InputError(f"sequence: expected at most {self.max_tokens} tokens, got {end}")
        if end > slab.capacity:
            # One layer at a time, so that growing needs one spare slab and not a second cache.
            slab.grow(min(max(2 * slab.capacity, end), self.max_tokens), length=self._length)
        slab.keys[self._length : end] = keys
        slab.values[self._length : end] = values
        return slab.keys[:end], slab.values[:end]

    def view(self, layer: int) -> tuple[Tensor, Tensor]:
        """Return one layer's keys and values, (length, num_kv_heads, head_dim), sharing memory."""
        slab = self._slabs[layer]
        return slab.keys[: self._length], slab.values[: self._length]

    def advance(self, num_tokens: int) -> None:
        """Count the rows that every layer has appended."""
        self._length += num_tokens

    def truncate(self, length: int) -> None:
        """Forget every token from `length` on; the memory stays.

        Raises:
            InputError: `length` is not within what is held.
        """
        if not 0 <= length <= self._length:
            raise InputError(f"truncate: expected 0 to {self._length} tokens, got {length}")
        self._length = length
