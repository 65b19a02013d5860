"""Contexts: a stream's prompt only grows, and a standby context takes over in time.

A context is the prompt's head and then frames in time order, held as keys and values. It only ever
grows, so what it holds is the exact causal prefix of the prompt one would write out. Nothing is
evicted: a standby context takes over instead, so a question sees between half a window and a whole
one, with positions and time stamps as in training.

Frames are shown first and read later, those of all streams in one pass (`append.append`): what is
shown decides which frames are to be encoded whole. Time retires a context, so a frame in which
nothing changed is shown too: it brings the time, and no token.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

from model.engine.kv_cache import KVSequence, PagePool
from model.errors import InputError
from model.family import Family
from model.types import Window

SHED_REST = 1 / 4  # of a window: for so long no standby context is begun after one was given up


@dataclass(frozen=True, slots=True)
class PendingFrame:
    """A frame that a context has been shown and not read yet.

    Attributes:
        stamp_ids: the tokens before its own.
        frame: which frame of the batch.
        is_whole: all of its tokens, not those kept alone.
        num_tokens: how many of them that is.
    """

    stamp_ids: tuple[int, ...]
    frame: int
    is_whole: bool
    num_tokens: int


class Mark(NamedTuple):
    """A moment in a context's life that it can be taken back to."""

    length: int
    window: Window
    num_periods: int
    is_end_in: bool
    held_ids: frozenset[int]


class Context:
    """A prompt that grows frame by frame, held as keys and values.

    Attributes:
        sequence: the keys and values.
        unread: what has been shown since the last pass.
        held_ids: the ids that the written-out prompt has so far, each once.
        worth: how likely something is worth saying after its last frame, in the model's own words;
            None where it is not asked.
    """

    def __init__(
        self, pool: PagePool, family: Family, *, start_pts_s: float, sample_period_s: float = 1.0
    ) -> None:
        self.sequence = KVSequence(pool)
        self.unread: list[PendingFrame] = []
        self.held_ids: frozenset[int] = frozenset()
        self.worth: float | None = None
        self._family = family
        self._sample_period_s = sample_period_s
        self._window = Window(start_pts_s, start_pts_s, num_frames=0, num_tokens=0)
        self._num_periods = -1  # that the last stamp counts
        self._is_end_in = False

    @property
    def window(self) -> Window:
        """The stretch of stream shown."""
        return self._window

    @property
    def now_ids(self) -> tuple[int, ...]:
        """The newest frame's stamp, where a fork is to begin with it.

        None where that frame brought tokens and so is here, or where the prompt shows no now.
        """
        if self._is_end_in or not self._family.prompt.shows_now:
            return ()
        return tuple(self._stamp_ids(self._window.end_pts_s))

    @property
    def length(self) -> int:
        """Tokens shown, those of the text among them."""
        unread = sum(len(piece.stamp_ids) + piece.num_tokens for piece in self.unread)
        return self.sequence.length + unread

    def length_with(self, num_tokens: int, *, pts_s: float) -> int:
        """Tokens it would hold after a frame of `num_tokens` at `pts_s`."""
        return self.length + len(self._stamp_ids(pts_s)) + num_tokens

    def show(self, frame: int, *, num_tokens: int, is_whole: bool, pts_s: float) -> None:
        """Put a frame at the end, to be read in the next pass.

        Args:
            frame: which frame of the batch.
            num_tokens: visual tokens it brings.
            is_whole: they are all there are.
            pts_s: stream time of the frame, not before the last one's.
        """
        stamp_ids = tuple(self._stamp_ids(pts_s))
        self.unread.append(PendingFrame(stamp_ids, frame, is_whole, num_tokens))
        self.held_ids |= {*stamp_ids, self._family.tokenizer.visual_id}
        self._window = replace(
            self._window,
            end_pts_s=pts_s,
            num_frames=self._window.num_frames + 1,
            num_tokens=self._window.num_tokens + num_tokens,
        )
        self._num_periods = self._periods_at(pts_s)
        self._is_end_in = True

    def pass_time(self, pts_s: float) -> None:
        """Note a frame that brings no token, at `pts_s`, not before the last one's."""
        self._window = replace(self._window, end_pts_s=pts_s)
        self._is_end_in = False

    def reserve(self) -> None:
        """Take the pages for what is unread.

        Raises:
            InputError, torch.OutOfMemoryError, MemoryError: as `KVSequence.reserve`.
        """
        self.sequence.reserve(self.length - self.sequence.length)

    def mark(self) -> Mark:
        """Remember this moment; nothing may be unread."""
        return Mark(
            self.sequence.length,
            self._window,
            self._num_periods,
            is_end_in=self._is_end_in,
            held_ids=self.held_ids,
        )

    def rewind(self, mark: Mark) -> None:
        """Forget everything after `mark`."""
        self.unread.clear()
        self.sequence.truncate(mark.length)
        self._window = mark.window
        self._num_periods = mark.num_periods
        self._is_end_in = mark.is_end_in
        self.held_ids = mark.held_ids

    def release(self) -> None:
        """Give its memory back; it is not used again."""
        self.unread.clear()
        self.sequence.truncate(0)

    def _stamp_ids(self, pts_s: float) -> list[int]:
        """Encode what stands before the next frame's tokens."""
        is_first = self._window.num_frames == 0
        prompt = self._family.prompt
        time_s = pts_s - self._window.start_pts_s
        if prompt.has_whole_stamps:
            time_s = self._periods_at(pts_s) * self._sample_period_s
        stamp = prompt.frame_stamp(time_s, is_first=is_first)
        return self._family.tokenizer.encode(prompt.head + stamp if is_first else stamp)

    def _periods_at(self, pts_s: float) -> int:
        """Count the sampling periods to the next frame, more of them than to the last one."""
        periods = (pts_s - self._window.start_pts_s) / self._sample_period_s
        return max(round(periods), self._num_periods + 1)


class RollingContext:
    """A stream's contexts: the active one, which is asked, and a standby that will take over.

    The standby starts when the active one has lived half a window or used half its tokens; both see
    every frame from there. The active one retires after a whole window, or when it is full. Time is
    that of the stream's frames, those in which nothing changed among them.
    """

    def __init__(
        self,
        pool: PagePool,
        family: Family,
        *,
        window_s: float,
        max_context_tokens: int,
        sample_period_s: float = 1.0,
    ) -> None:
        self._pool = pool
        self._family = family
        self._window_s = window_s
        self._max_context_tokens = max_context_tokens
        self._sample_period_s = sample_period_s
        self._active: Context | None = None
        self._standby: Context | None = None
        self._standby_from_s = float("-inf")

    @property
    def active(self) -> Context | None:
        """The context to ask; None before the first frame."""
        return self._active

    @property
    def window(self) -> Window | None:
        """The stretch of stream a question sees; None before the first frame."""
        return self._active.window if self._active else None

    @property
    def contexts(self) -> tuple[Context, ...]:
        """The active and the standby context, as far as there are such."""
        return tuple(context for context in (self._active, self._standby) if context)

    @property
    def num_bytes(self) -> int:
        """Device memory of the pages held."""
        return sum(context.sequence.num_bytes for context in self.contexts)

    def reset(self) -> None:
        """Forget everything seen."""
        for context in self.contexts:
            context.release()
        self._begin_anew()

    def drop_standby(self) -> bool:
        """Give up the standby context, where there is one, and begin none for a while."""
        if self._active is None or self._standby is None:
            return False
        self._standby.release()
        self._standby = None
        self._standby_from_s = self._active.window.end_pts_s + self._window_s * SHED_REST
        return True

    def cut_short(self) -> None:
        """End the active context before its time: the standby takes over, or all begins anew."""
        if self._active is not None:
            self._active.release()
        self._active, self._standby = self._standby, None

    def show(self, frame: int, *, num_kept: int, num_tokens: int, pts_s: float) -> bool:
        """Show a frame: every token to a context it opens, the kept ones to the others.

        A frame that keeps nothing brings the time alone, unless a context is due: the next frame's
        stamp tells of the gap. A jump back in time starts anew, and so does a gap of a window's
        length, because no context is left that is young enough. Only within `all_or_nothing`.

        Args:
            frame: which frame of the batch.
            num_kept: its tokens that are to be seen.
            num_tokens: all its tokens.
            pts_s: stream time of the frame.

        Returns:
            Whether it opens a context, and so must be encoded whole.

        Raises:
            InputError: a whole frame does not fit into max_context_tokens.
        """
        if self._active and pts_s < self._active.window.end_pts_s:
            self._begin_anew()
        self._retire(num_kept=num_kept, pts_s=pts_s)
        if self._active is None:
            self._active = self._start(frame, num_tokens=num_tokens, pts_s=pts_s)
            return True
        for context in self.contexts:
            if num_kept:
                context.show(frame, num_tokens=num_kept, is_whole=False, pts_s=pts_s)
            else:
                context.pass_time(pts_s)
        if self._standby or not self._is_half_spent(self._active) or pts_s < self._standby_from_s:
            return False
        self._standby = self._start(frame, num_tokens=num_tokens, pts_s=pts_s)
        return True

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Take back what the block showed if it fails, so that it can be tried again.

        What the block retires gives its memory back at the end of the block and no sooner.
        """
        active, standby, standby_from_s = self._active, self._standby, self._standby_from_s
        before = self.contexts
        marks = [context.mark() for context in before]
        try:
            yield
        except BaseException:
            opened = [context for context in self.contexts if context not in before]
            self._active, self._standby, self._standby_from_s = active, standby, standby_from_s
            for context, mark in zip(before, marks, strict=True):
                context.rewind(mark)
            for context in opened:
                context.release()
            raise
        for context in before:
            if context not in self.contexts:
                context.release()

    def _begin_anew(self) -> None:
        self._active = self._standby = None
        self._standby_from_s = float("-inf")

    def _retire(self, *, num_kept: int, pts_s: float) -> None:
        """Let go of what the next frame would make too old or too long."""
        while self._active and (
            pts_s - self._active.window.start_pts_s >= self._window_s
            or (num_kept and self._is_filled_by(num_kept, self._active, pts_s=pts_s))
        ):
            self._active, self._standby = self._standby, None

    def _is_filled_by(self, num_kept: int, context: Context, *, pts_s: float) -> bool:
        return context.length_with(num_kept, pts_s=pts_s) > self._max_context_tokens

    def _is_half_spent(self, context: Context) -> bool:
        window = context.window
        return (
            window.end_pts_s - window.start_pts_s >= self._window_s / 2
            or context.length >= self._max_context_tokens / 2
        )

    def _start(self, frame: int, *, num_tokens: int, pts_s: float) -> Context:
        context = Context(
            self._pool,
            self._family,
            start_pts_s=pts_s,
            sample_period_s=self._sample_period_s,
        )
        length = context.length_with(num_tokens, pts_s=pts_s)
        if length > self._max_context_tokens:
            raise InputError(
                f"max_context_tokens: expected room for a whole frame, {length} tokens; "
                f"got {self._max_context_tokens}"
            )
        context.show(frame, num_tokens=num_tokens, is_whole=True, pts_s=pts_s)
        return context
