"""An engine whose streams can be given a past at once, for measuring: its keys are random."""

from collections.abc import Sequence

import torch

from model.engine.engine import Engine
from model.layers.to_device import to_device
from model.types import PrunedFrame


class EngineWithMadeUpPast(Engine):
    """An engine of random weights loses nothing by random keys, and time is the same.

    Encoding the history of 400 cameras takes minutes, and a trial of them one.
    """

    def live_through(self, frames: Sequence[PrunedFrame]) -> None:
        """Let contexts grow as by `append`, by random keys and values in the place of a pass.

        Windows, stamps and numbers of tokens are those of `append`. The vision cache has nothing of
        these frames: a stream's next frame must be a refresh.

        Args:
            frames: as in `append`; the first of each stream opens its context.

        Raises:
            InputError: a frame is malformed.
            AdmissionError: the budget has no room for a stream.
        """
        self._is_past = True
        try:
            self.append(frames)
        finally:
            self._is_past = False

    _is_past = False

    def _read(self, shown: Sequence[PrunedFrame], whole: Sequence[bool]) -> None:
        if not self._is_past:
            super()._read(shown, whole)
            return
        growing = [context for context in self._contexts_of(shown) if context.unread]
        slots = []
        for context in growing:
            sequence, end = context.sequence, context.length
            slots.append(sequence.slots(sequence.length, end))
        places = to_device(torch.cat(slots), self._model.device)
        text = self._model.config.text
        rows = torch.randn(
            (len(places), text.num_kv_heads, text.head_dim),
            dtype=self._model.dtype,
            device=self._model.device,
        )
        for layer in range(self._pool.num_layers):
            self._pool.write(layer, places, rows, rows)
        for context in growing:
            context.sequence.advance(context.length - context.sequence.length)
            context.unread.clear()
