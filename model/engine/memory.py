"""The memory budget: what a stream may come to hold, and whether another one fits."""

from collections.abc import Callable
from typing import TypeVar

import torch

from model.engine.kv_cache import PAGE_TOKENS
from model.engine.vision_cache import patch_bytes
from model.errors import AdmissionError, DeviceMemoryError
from model.family import Shape, TextShape
from model.types import PatchGrid

T = TypeVar("T")

NUM_CONTEXTS = 2
"""A stream's contexts, active and standby. After a quiet half window both can grow to the limit."""


def token_bytes(config: TextShape, dtype: torch.dtype) -> int:
    """Count the bytes that one token takes in a context: keys and values of every layer."""
    return 2 * config.num_layers * config.num_kv_heads * config.head_dim * dtype.itemsize


def bytes_per_stream(
    config: Shape,
    grid: PatchGrid,
    *,
    patches_per_token: int,
    max_context_tokens: int,
    dtype: torch.dtype,
    has_vision_cache: bool = True,
) -> int:
    """Count the bytes that a stream holds at worst: its vision cache and two contexts, in pages.

    Args:
        config: the model's shape.
        grid: of the stream's frames.
        patches_per_token: what the encoder makes of a token.
        max_context_tokens: text and visual tokens one context may hold.
        dtype: what keys and values are kept in.
        has_vision_cache: False where whole or isolated frames are encoded.
    """
    num_patches = grid.num_tokens * patches_per_token if has_vision_cache else 0
    vision_bytes = num_patches * patch_bytes(config.vision, dtype)
    num_pages = -(-max_context_tokens // PAGE_TOKENS)
    context_bytes = num_pages * PAGE_TOKENS * token_bytes(config.text, dtype)
    return vision_bytes + NUM_CONTEXTS * context_bytes


class Budget:
    """A number of bytes, shared out to streams before they come."""

    def __init__(self, total_bytes: int | None, *, fixed_bytes: int = 0) -> None:
        """Start with no stream.

        Args:
            total_bytes: all there is; None for no limit.
            fixed_bytes: of that, what weights and passes take.
        """
        self.total_bytes = total_bytes
        self._fixed_bytes = fixed_bytes
        self._streams: dict[str, int] = {}

    @property
    def granted_bytes(self) -> int:
        """What streams may come to hold."""
        return sum(self._streams.values())

    @property
    def left_bytes(self) -> int | None:
        """What further streams can have; None for no limit."""
        if self.total_bytes is None:
            return None
        return max(0, self.total_bytes - self._fixed_bytes - self.granted_bytes)

    def admit(self, stream_id: str, num_bytes: int) -> None:
        """Grant a stream so much, instead of what it was granted before.

        Raises:
            AdmissionError: that is more than is left; nothing has changed.
        """
        if self.total_bytes is not None:
            others = self.granted_bytes - self._streams.get(stream_id, 0)
            left_bytes = max(0, self.total_bytes - self._fixed_bytes - others)
            if num_bytes > left_bytes:
                raise AdmissionError(
                    f"stream {stream_id}: expected at most {left_bytes} bytes, which is what the "
                    f"memory budget of {self.total_bytes} has left; it may need {num_bytes}",
                    needed_bytes=num_bytes,
                    left_bytes=left_bytes,
                )
        self._streams[stream_id] = num_bytes

    def release(self, stream_id: str) -> None:
        """Take back what a stream was granted."""
        self._streams.pop(stream_id, None)

    def rename(self, stream_id: str, new_id: str) -> None:
        """Let another have what a stream was granted, instead of what it was granted itself."""
        self._streams[new_id] = self._streams.pop(stream_id)


class Shortage:
    """What happens when the device's memory runs out in the middle of a pass.

    Attributes:
        num: times it did.
    """

    def __init__(self, words: Callable[[], str]) -> None:
        """Begin without one; `words` say what was expected when it runs out for good."""
        self.num = 0
        self._words = words

    def spare(self, work: Callable[[], T], *, shed: Callable[[], None] | None) -> T:
        """Do work that leaves no trace when it fails; where memory runs out, shed and try again.

        Args:
            work: is done.
            shed: frees memory; None where nothing may be given up for this.

        Raises:
            DeviceMemoryError: it ran out again, or nothing may be given up.
        """
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as exc:
                if not is_out_of_memory(exc):
                    raise
                self.num += 1
                if shed is None:
                    raise DeviceMemoryError(self._words()) from exc
            shed()
            shed = None


def is_out_of_memory(error: Exception) -> bool:
    """Tell a lack of memory from other faults; on the CPU PyTorch has no exception of its own."""
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "DefaultCPUAllocator" in str(error)
