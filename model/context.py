"""What the model has seen of one stream: a prompt that only grows, and the pair that rolls.

A context is the prompt's head and then frames in time order, held as keys and values. It only ever
grows, so what it holds is the exact causal prefix of the prompt one would write out. Nothing is
evicted: a younger context takes over instead, so a question sees between half a window and a whole
one, with positions and time stamps as in training.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from model.errors import InputError
from model.kv_cache import KVCache
from model.network import VideoLlama3
from model.prompt import HEAD, frame_stamp
from model.tokenizer import Tokenizer
from model.types import Window


class Fork:
    """Words put after a context, gone when the `with` block that made it ends.

    The words go past the end of the context's own cache, so one fork of a context is open at a
    time, and nothing may be appended to the context meanwhile.
    """

    def __init__(self, model: VideoLlama3, cache: KVCache) -> None:
        self._model = model
        self._cache = cache

    def extend(self, ids: Sequence[int]) -> Tensor:
        """Put `ids` at the end; give the (V,) float32 logits of what follows the last of them."""
        return self._model.language.logits(self._forward(ids)[-1])

    def score(self, ids: Sequence[int]) -> Tensor:
        """Put `ids` at the end; give (L, V) float32 logits, row i for what follows ids[i]."""
        return self._model.language.logits(self._forward(ids))

    @contextmanager
    def branch(self) -> Iterator[None]:
        """Take back, at the end of the block, whatever it puts at the end."""
        length = self._cache.length
        try:
            yield
        finally:
            self._cache.truncate(length)

    @torch.inference_mode()
    def _forward(self, ids: Sequence[int]) -> Tensor:
        language = self._model.language
        embeds = language.embed(torch.tensor(ids, device=self._model.device))
        return language.forward(embeds, self._cache)  # (L, D)


class Mark(NamedTuple):
    """A moment in a context's life that it can be taken back to."""

    length: int
    window: Window


class Context:
    """A prompt that grows frame by frame, held as keys and values."""

    def __init__(self, model: VideoLlama3, tokenizer: Tokenizer, *, start_pts_s: float) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._cache = KVCache(model.config.text, dtype=model.dtype, device=model.device)
        self._window = Window(start_pts_s, start_pts_s, num_frames=0, num_tokens=0)

    @property
    def window(self) -> Window:
        """The stretch of stream held."""
        return self._window

    @property
    def length(self) -> int:
        """Tokens held, those of the text among them."""
        return self._cache.length

    @property
    def num_bytes(self) -> int:
        """Device memory held."""
        return self._cache.num_bytes

    def length_with(self, num_tokens: int, *, pts_s: float) -> int:
        """Tokens it would hold after a frame of `num_tokens` at `pts_s`."""
        return self.length + len(self._stamp_ids(pts_s)) + num_tokens

    @torch.inference_mode()
    def append(self, features: Tensor, *, pts_s: float) -> None:
        """Put a frame at the end: its time stamp and its tokens, in one pass.

        Args:
            features: (num_kept, D) visual tokens in raster order.
            pts_s: stream time of the frame, not before the last one's.

        Raises:
            InputError: the prompt would outgrow the model's positions; nothing has changed.
        """
        language = self._model.language
        stamp = language.embed(torch.tensor(self._stamp_ids(pts_s), device=self._model.device))
        language.forward(torch.cat([stamp, features]), self._cache)
        self._window = replace(
            self._window,
            end_pts_s=pts_s,
            num_frames=self._window.num_frames + 1,
            num_tokens=self._window.num_tokens + len(features),
        )

    @contextmanager
    def fork(self) -> Iterator[Fork]:
        """Open a place for words after the last frame; they are taken back at the end."""
        fork = Fork(self._model, self._cache)
        with fork.branch():
            yield fork

    def mark(self) -> Mark:
        """Remember this moment."""
        return Mark(self._cache.length, self._window)

    def rewind(self, mark: Mark) -> None:
        """Forget everything after `mark`."""
        self._cache.truncate(mark.length)
        self._window = mark.window

    def _stamp_ids(self, pts_s: float) -> list[int]:
        """Encode what stands before the next frame's tokens."""
        is_first = self._window.num_frames == 0
        stamp = frame_stamp(pts_s - self._window.start_pts_s, is_first=is_first)
        return self._tokenizer.encode(HEAD + stamp if is_first else stamp)


class RollingContext:
    """The contexts of one stream: an elder, which is asked, and a younger that will take over.

    The younger starts when the elder has lived half a window or used half its tokens; both see
    every frame from there. The elder retires after a whole window, or when it is full.
    """

    def __init__(
        self,
        model: VideoLlama3,
        tokenizer: Tokenizer,
        *,
        window_s: float,
        max_context_tokens: int,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._window_s = window_s
        self._max_context_tokens = max_context_tokens
        self._elder: Context | None = None
        self._younger: Context | None = None

    @property
    def elder(self) -> Context | None:
        """The context to ask; None before the first frame."""
        return self._elder

    @property
    def window(self) -> Window | None:
        """The stretch of stream a question sees; None before the first frame."""
        return self._elder.window if self._elder else None

    @property
    def num_bytes(self) -> int:
        """Device memory held."""
        return sum(context.num_bytes for context in (self._elder, self._younger) if context)

    def reset(self) -> None:
        """Forget everything seen."""
        self._elder = self._younger = None

    def append(self, features: Tensor, kept: Tensor, *, pts_s: float) -> None:
        """Show a frame: every token to a context it opens, the kept ones to the others.

        A frame that keeps nothing is not shown, unless it is the first: the next frame's stamp
        tells of the gap. A jump back in time starts anew, and so does a gap of a window's length,
        because no context is left that is young enough.

        Args:
            features: (num_tokens, D) the whole frame in raster order, in the model's dtype.
            kept: (num_kept,) int64, ascending: which of its tokens are to be seen.
            pts_s: stream time of the frame.

        Raises:
            InputError: a whole frame does not fit into max_context_tokens.
        """
        if self._elder and pts_s < self._elder.window.end_pts_s:
            self.reset()
        if self._elder and not len(kept):
            return
        self._retire(num_kept=len(kept), pts_s=pts_s)
        if self._elder is None:
            self._elder = self._start(features, pts_s=pts_s)
            return
        seen = features[kept]  # (num_kept, D)
        self._elder.append(seen, pts_s=pts_s)
        if self._younger:
            self._younger.append(seen, pts_s=pts_s)
        elif self._is_half_spent(self._elder):
            self._younger = self._start(features, pts_s=pts_s)

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Take back what the block showed if it fails, so that it can be tried again."""
        elder, younger = self._elder, self._younger
        marks = [(context, context.mark()) for context in (elder, younger) if context]
        try:
            yield
        except BaseException:
            self._elder, self._younger = elder, younger
            for context, mark in marks:
                context.rewind(mark)
            raise

    def _retire(self, *, num_kept: int, pts_s: float) -> None:
        """Let go of what the next frame would make too old or too long."""
        while self._elder and (
            pts_s - self._elder.window.start_pts_s >= self._window_s
            or self._elder.length_with(num_kept, pts_s=pts_s) > self._max_context_tokens
        ):
            self._elder, self._younger = self._younger, None

    def _is_half_spent(self, context: Context) -> bool:
        window = context.window
        return (
            window.end_pts_s - window.start_pts_s >= self._window_s / 2
            or context.length >= self._max_context_tokens / 2
        )

    def _start(self, features: Tensor, *, pts_s: float) -> Context:
        context = Context(self._model, self._tokenizer, start_pts_s=pts_s)
        length = context.length_with(len(features), pts_s=pts_s)
        if length > self._max_context_tokens:
            raise InputError(
                f"max_context_tokens: expected room for a whole frame, {length} tokens; "
                f"got {self._max_context_tokens}"
            )
        context.append(features, pts_s=pts_s)
        return context
