"""An engine without a window: each ask is about the last few sampled frames, whole, and no other.

SimpleStream's baseline (2026): the last four frames at one a second, whole, beat the streaming
memories that it was compared with. It is here to say what a long window is worth, and costs.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from model.engine.around import AroundEngine
from model.engine.config import EngineConfig
from model.engine.engine import Engine
from model.errors import InputError
from model.types import Answer, PrunedFrame, Question, Window

NUM_FRAMES = 4


class LastFrames(AroundEngine[Engine]):
    """Keep each stream's last frames; show them to an engine when something is asked.

    Frames are taken as they were sampled, whatever the pruner kept of them. Nothing that was
    computed outlives an ask, so an ask costs as many whole frames as it sees.
    """

    def __init__(self, engine: Engine, *, num_frames: int = NUM_FRAMES) -> None:
        """Put it over an engine, made with `config_for`, that nobody else uses."""
        super().__init__(engine)
        self._num_frames = num_frames
        self._held: dict[str, deque[PrunedFrame]] = {}

    @staticmethod
    def config_for(config: EngineConfig, *, num_frames: int = NUM_FRAMES) -> EngineConfig:
        """Return an engine's limits with whole frames, and a window that none of these outlives."""
        window_s = 4.0 * num_frames * config.sample_period_s
        return replace(config, vision="full", window_s=window_s, audit_share=0.0)

    def append(
        self,
        frames: Sequence[PrunedFrame],
        *,
        may_shed: bool = True,  # noqa: ARG002, there is nothing to be shed
    ) -> None:
        """Hold frames, of any number of streams, in the order given; compute nothing."""
        for frame in frames:
            held = self._held.setdefault(frame.stream_id, deque(maxlen=self._num_frames))
            if held and frame.pts_s < held[-1].pts_s:
                held.clear()
            whole = np.ones_like(frame.keep_mask)
            held.append(replace(frame, keep_mask=whole, is_refresh=True, stale_mask=None))

    def ask(self, asks: Sequence[tuple[str, Question]]) -> list[Answer]:
        """Answer questions, each about its stream's last frames; as `Engine.ask`.

        Raises:
            InputError: a stream has shown no frame, or a question cannot be put.
            DeviceMemoryError: the device has no room for the pass.
        """
        streams = list(dict.fromkeys(stream_id for stream_id, _ in asks))
        try:
            shown = [frame for one in streams for frame in self._held.get(one, ())]
            self._engine.append(shown)
            return self._engine.ask(asks)
        finally:
            for stream_id in streams:
                self._engine.reset(stream_id)

    def window(self, stream_id: str) -> Window | None:
        """Give the stretch of a stream that a question sees; None before its first frame."""
        held = self._held.get(stream_id)
        if not held:
            return None
        num_tokens = sum(frame.grid.num_tokens for frame in held)
        return Window(held[0].pts_s, held[-1].pts_s, len(held), num_tokens)

    def worth_saying(self, stream_id: str) -> float | None:  # noqa: ARG002
        """Say nothing of its own accord: nothing is computed before it is asked."""
        return None

    def take_over(self, stream_id: str, other_id: str) -> None:
        """Let a stream go on with the frames of another, which ends.

        Raises:
            InputError: the other one has shown no frame; nothing has changed.
        """
        if stream_id == other_id or not self._held.get(other_id):
            raise InputError(f"stream {other_id}: expected another one that has shown a frame")
        self._held[stream_id] = self._held.pop(other_id)
        self._engine.remove(other_id)

    def remove(self, stream_id: str) -> None:
        """Forget a stream."""
        self._held.pop(stream_id, None)
        self._engine.remove(stream_id)
