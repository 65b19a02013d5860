"""Frames that wait until what was made of them has arrived: only then is their record done with.

Another worker may go on from a record that was settled, and all that it finds is what Redis has.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol

from pipeline.messages import Message
from pipeline.types import Frame, Settle


class Replies(Protocol):
    """Where messages are safe: `put` returns once they are, and gives them their numbers."""

    def put(
        self, messages: Sequence[Message], *, states: Mapping[str, str | None] | None = None
    ) -> None: ...

    @property
    def last_row(self) -> int:
        """The row of the message that was put last."""
        ...

    def first_waiting(self) -> int | None:
        """Return the row of the oldest message that has not arrived; None where none is."""
        ...


class Settling:
    """Frames in the order in which they were answered. For the inference thread alone."""

    def __init__(self, settle: Settle, replies: Replies) -> None:
        """Begin with none; `settle` is told of frames that are done with."""
        self._settle = settle
        self._replies = replies
        self._frames: deque[tuple[int, Frame]] = deque()

    def add(self, frames: Sequence[Frame], *, row: int) -> None:
        """Take frames whose messages lie in rows up to this one; settle those that wait no more.

        A frame without a record waits for nothing.
        """
        for frame in frames:
            if frame.receipt is None:
                self._settle(frame)
            else:
                self._frames.append((row, frame))
        if not self._frames:
            return
        first = self._replies.first_waiting()
        while self._frames and (first is None or self._frames[0][0] < first):
            self._settle(self._frames.popleft()[1])

    @property
    def is_pending(self) -> bool:
        """Whether frames wait: a partition that goes to another worker may wait for them."""
        return bool(self._frames)
