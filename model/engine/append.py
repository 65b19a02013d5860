"""Prefill: active and standby contexts of every stream read their new frames in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

import numpy as np
import torch
from torch import Tensor

from model.engine.cascade import CascadePrefill
from model.engine.kv_cache import PagePool
from model.engine.prefixes import SharedPrefixes
from model.engine.rolling_context import Context
from model.engine.stream_encoder import FrameTokens
from model.family import Network
from model.layers.to_device import to_device
from model.types import PrunedFrame


@dataclass(frozen=True, slots=True)
class FrameFeatures:
    """A frame as contexts read it.

    Attributes:
        whole: (num_tokens, D) all its tokens in raster order; None where it was encoded in part.
        kept: (num_kept, D) those that go to contexts that are open already.
    """

    whole: Tensor | None
    kept: Tensor

    @classmethod
    def of(cls, frame: PrunedFrame, encoded: FrameTokens) -> Self:
        """Part a frame into what contexts that it opens read, and what the others read."""
        features = encoded.features
        if not encoded.is_whole:
            return cls(whole=None, kept=features)
        if frame.is_refresh:
            return cls(whole=features, kept=features)
        # The mask is on the host already: as indices it selects without a wait.
        kept = to_device(np.flatnonzero(frame.keep_mask), features.device)
        return cls(whole=features, kept=features[kept])


@torch.inference_mode()
def append(
    model: Network,
    pool: PagePool,
    contexts: Sequence[Context],
    frames: Sequence[FrameFeatures],
    *,
    choice_ids: tuple[int, int] | None = None,
) -> None:
    """Let contexts read what they have been shown, in one packed pass of the decoder.

    Args:
        model: the networks.
        pool: where the contexts lie.
        contexts: those that may have something unread.
        frames: what the pieces' `frame` counts in.
        choice_ids: the tokens that speaking and watching on begin with: each context's last row is
            asked which it would be, in this same pass. None: nothing is asked.

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
        context.reserve()
        slots.append(sequence.slots(sequence.length, sequence.length + length))
    places = to_device(torch.cat(slots), device)

    def store(layer: int, keys: Tensor, values: Tensor) -> None:
        pool.write(layer, places, keys, values)

    prefixes = SharedPrefixes(pool, [context.sequence for context in growing], is_kept=False)
    attend = CascadePrefill(
        prefixes,
        [[length] for length in lengths],
        backend=language.backend,
        store=store,
        num_wanted=None if choice_ids is None else [[1]] * len(lengths),
    )
    if choice_ids is None:
        language.fill(torch.cat(rows), attend.positions, attend=attend, store=store)
    else:
        last = to_device([end - 1 for end in accumulate(lengths)], device)
        hidden = language.forward(torch.cat(rows), attend.positions, attend=attend, wanted=last)
        speak, watch = language.logits(hidden)[:, list(choice_ids)].unbind(-1)
        for context, worth in zip(growing, (speak - watch).sigmoid().tolist(), strict=True):
            context.worth = worth
    for context, length in zip(growing, lengths, strict=True):
        context.sequence.advance(length)
        context.unread.clear()


def _tokens(frame: FrameFeatures, *, is_whole: bool) -> Tensor:
    if not is_whole:
        return frame.kept
    if frame.whole is None:
        raise RuntimeError("expected a whole frame where a context opens, got a part of one")
    return frame.whole
