"""Prefill: active and standby contexts of every stream read their new frames in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.engine.cascade import CascadePrefill, SharedPrefixes
from model.engine.kv_cache import PagePool
from model.engine.rolling_context import Context
from model.family import Network
from model.layers.to_device import to_device


@dataclass(frozen=True, slots=True)
class FrameFeatures:
    """A frame as contexts read it.

    Attributes:
        whole: (num_tokens, D) all its tokens in raster order; None where it was encoded in part.
        kept: (num_kept, D) those that go to contexts that are open already.
    """

    whole: Tensor | None
    kept: Tensor


@torch.inference_mode()
def append(
    model: Network, pool: PagePool, contexts: Sequence[Context], frames: Sequence[FrameFeatures]
) -> None:
    """Let contexts read what they have been shown, in one packed pass of the decoder.

    Args:
        model: the networks.
        pool: where the contexts lie.
        contexts: those that may have something unread.
        frames: what the pieces' `frame` counts in.

    Raises:
        InputError: a context would outgrow the model's positions.
        torch.OutOfMemoryError, MemoryError: the device has no room. Contexts are to be taken back
            after either: their pages are taken, and what is unread still is.
    """
    growing = [context for context in contexts if context.unread]
    if not growing:
        return
    # The empty ones come last: they have no prefix to attend to.
    growing.sort(key=lambda context: context.sequence.length == 0)
    language, device = model.language, model.device
    text_ids = [token for one in growing for piece in one.unread for token in piece.stamp_ids]
    text = language.embed(to_device(text_ids, device))
    rows: list[Tensor] = []
    start = 0
    for context in growing:
        for piece in context.unread:
            end = start + len(piece.stamp_ids)
            rows += [text[start:end], _tokens(frames[piece.frame], is_whole=piece.is_whole)]
            start = end
    lengths = [context.length - context.sequence.length for context in growing]
    slots = []
    for context, length in zip(growing, lengths, strict=True):
        sequence = context.sequence
        sequence.reserve(length)
        slots.append(sequence.slots(sequence.length, sequence.length + length))
    places = to_device(torch.cat(slots), device)

    def store(layer: int, keys: Tensor, values: Tensor) -> None:
        pool.write(layer, places, keys, values)

    prefixes = SharedPrefixes(pool, [context.sequence for context in growing], is_kept=False)
    attend = CascadePrefill(
        prefixes, [[length] for length in lengths], backend=language.backend, store=store
    )
    language.fill(torch.cat(rows), attend.positions, attend=attend, store=store)
    for context, length in zip(growing, lengths, strict=True):
        context.sequence.advance(length)
        context.unread.clear()


def _tokens(frame: FrameFeatures, *, is_whole: bool) -> Tensor:
    if not is_whole:
        return frame.kept
    if frame.whole is None:
        raise RuntimeError("expected a whole frame where a context opens, got a part of one")
    return frame.whole
