"""The vision cache: keys and values of every stream's patches, end to end, for each layer.

A stream's patches lie together, and streams lie end to end: on any device one scatter writes what
changed in all of them, and one packed attention reads them in place. A stream that is not due is
a segment without queries. Adding or removing one, which is rare, moves the others.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from model.family import VisionShape
from model.layers.attention import Segments


@dataclass(slots=True, eq=False)
class Span:
    """Where a stream's patches lie; the cache moves it when another leaves.

    Attributes:
        start: its first row.
        length: patches.
    """

    start: int
    length: int


class VisionCache:
    """Post-RoPE keys and values of many streams, without a hole."""

    def __init__(
        self, config: VisionShape, *, dtype: torch.dtype, device: torch.device | str
    ) -> None:
        """Start with no row."""
        self._spans: list[Span] = []
        heads = (config.num_heads, config.head_dim)
        # Each layer (keys and values, rows, num_heads, head_dim), so that it grows alone and
        # growing needs one spare layer and not a second cache.
        self._layers = [
            torch.empty((2, 0, *heads), dtype=dtype, device=device)
            for _ in range(config.num_layers)
        ]
        self.bytes_per_patch = patch_bytes(config, dtype)

    @property
    def num_bytes(self) -> int:
        """Bytes allocated, all streams and layers."""
        return sum(layer.nbytes for layer in self._layers)

    @property
    def spans(self) -> tuple[Span, ...]:
        """Every stream's rows, in order."""
        return tuple(self._spans)

    @property
    def num_rows(self) -> int:
        """Patches held."""
        return sum(span.length for span in self._spans)

    def add(self, lengths: Sequence[int]) -> list[Span]:
        """Make room for new streams of so many patches each; its content is undefined.

        Raises:
            RuntimeError: there is none (torch.OutOfMemoryError on a GPU); nothing has changed.
        """
        try:
            self._resize(self.num_rows + sum(lengths))
        except BaseException:
            self._trim()  # the layers that had grown
            raise
        added = []
        for length in lengths:
            span = Span(self.num_rows, length)
            self._spans.append(span)
            added.append(span)
        return added

    def remove(self, span: Span) -> None:
        """Close up over a stream's rows and give their memory back."""
        num_rows = self.num_rows
        for layer in self._layers:
            # By steps no longer than the gap, so that source and target never overlap.
            for start in range(span.start, num_rows - span.length, span.length):
                end = min(start + span.length, num_rows - span.length)
                layer[:, start:end] = layer[:, start + span.length : end + span.length]
        self._spans.remove(span)
        for later in self._spans:
            if later.start > span.start:
                later.start -= span.length
        self._trim()

    def write(
        self, layer: int, rows: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Write one layer's new keys and values, and give all that the layer holds.

        Args:
            layer: encoder layer.
            rows: (L,) int64, where they go.
            keys: (L, num_heads, head_dim), rotated.
            values: (L, num_heads, head_dim).

        Returns:
            Keys and values, (num_rows, num_heads, head_dim) each: views of the cache's memory.
        """
        held = self._layers[layer]
        held[0].index_copy_(0, rows, keys)
        held[1].index_copy_(0, rows, values)
        num_rows = self.num_rows
        return held[0, :num_rows], held[1, :num_rows]

    def read(self, rows: Tensor) -> list[Tensor]:
        """Copy rows (L,) int64 out: each layer's (2, L, num_heads, head_dim)."""
        return [layer.index_select(1, rows) for layer in self._layers]

    def restore(self, rows: Tensor, saved: Sequence[Tensor]) -> None:
        """Put back what `read` gave."""
        for layer, held in zip(self._layers, saved, strict=True):
            layer.index_copy_(1, rows, held)

    def segments(self, num_queries: Mapping[Span, int]) -> Segments:
        """Lay out a pass: each stream's queries, in the order of `spans`, see all of its rows."""
        return Segments.of(
            [num_queries.get(span, 0) for span in self._spans],
            [span.length for span in self._spans],
            device=self._layers[0].device,
        )

    def _trim(self) -> None:
        """Give back what no stream uses, where there is memory to move the rest."""
        with suppress(RuntimeError, MemoryError):  # else with the next change
            self._resize(self.num_rows)

    def _resize(self, num_rows: int) -> None:
        """Give every layer exactly so many rows, the first ones kept."""
        for index, layer in enumerate(self._layers):
            if layer.shape[1] != num_rows:
                with torch.inference_mode(mode=False):  # else only inference could write to it
                    new = layer.new_empty((2, num_rows, *layer.shape[2:]))
                kept = min(num_rows, layer.shape[1])
                new[:, :kept] = layer[:, :kept]
                self._layers[index] = new


def patch_bytes(config: VisionShape, dtype: torch.dtype) -> int:
    """Count the bytes that one patch takes in the cache."""
    return 2 * config.num_layers * config.num_heads * config.head_dim * dtype.itemsize
