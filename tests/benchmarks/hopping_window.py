"""A well-kept server as a baseline: frame features and the prompt's prefix are cached.

A frame is encoded once. The window hops by half, since a window that slides would miss the prefix
cache at every frame.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from model.engine.append import FrameFeatures, append
from model.engine.forks import Forks
from model.engine.kv_cache import PagePool
from model.engine.rolling_context import Context
from model.kinds import wording
from model.kinds.base import Branch
from model.types import PrunedFrame, Question
from model.videollama3.config import MERGE_SIZE
from model.videollama3.family import family_of
from model.videollama3.network import VideoLlama3
from model.videollama3.patches import patchify
from model.videollama3.prompt import question_suffix
from model.videollama3.tokenizer import Tokenizer


class HoppingWindow:
    """One camera on a server with cached frame features and a prefix cache."""

    def __init__(self, model: VideoLlama3, tokenizer: Tokenizer) -> None:
        self._model = model
        self._family = family_of(model, tokenizer)
        self._pool = PagePool(model.config.text, dtype=model.dtype, device=model.device)
        self._frames: list[tuple[float, Tensor, Tensor]] = []  # pts_s, whole and kept features
        self._context: Context | None = None

    @torch.inference_mode()
    def append(self, frame: PrunedFrame) -> None:
        """Encode a frame whole and prefill the tokens it keeps."""
        grid = (frame.grid.rows * MERGE_SIZE, frame.grid.cols * MERGE_SIZE)
        rows = patchify(frame.pixels).to(self._model.device, self._model.dtype)
        whole = self._model.encode(rows, [grid])
        kept = whole[torch.from_numpy(np.flatnonzero(frame.keep_mask)).to(whole.device)]
        self._frames.append((frame.pts_s, whole, kept))
        self._prefill(self._frames[-1:])

    def hop(self) -> None:
        """Start the window at its middle: the prefix is another, and is prefilled anew."""
        if self._context:
            self._context.release()
        self._context = None
        self._frames = self._frames[len(self._frames) // 2 :]
        self._prefill(self._frames)

    def ask(self, questions: Sequence[Question]) -> list[Tensor]:
        """Answer each by a request of its own that finds the prefix cached: (V,) logits each."""
        if self._context is None:
            raise RuntimeError("expected a frame before a question, got none")
        suffixes = [
            self._family.tokenizer.encode(
                question_suffix(wording(question, self._family.prompt.forms))
            )
            for question in questions
        ]
        return [
            Forks(
                self._model, self._pool, [(self._context.sequence, Branch(tuple(suffix)))]
            ).prefill()[0][-1]
            for suffix in suffixes
        ]

    def _prefill(self, frames: Sequence[tuple[float, Tensor, Tensor]]) -> None:
        is_new = self._context is None
        context = self._context or Context(self._pool, self._family, start_pts_s=frames[0][0])
        for index, (pts_s, whole, kept) in enumerate(frames):
            is_whole = is_new and index == 0
            num_tokens = len(whole if is_whole else kept)
            context.show(index, num_tokens=num_tokens, is_whole=is_whole, pts_s=pts_s)
        append(
            self._model,
            self._pool,
            [context],
            [FrameFeatures(whole, kept) for _, whole, kept in frames],
        )
        self._context = context
