"""Frames that wait until what was made of them has arrived: only then is their record done with.

Another worker may go on from a record that was settled, and all that it finds is what Redis has.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from math import inf
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
        self._asked: deque[tuple[int, Frame]] = deque()  # each with the newest ticket it waits for
        self._frames: deque[tuple[int, Frame]] = deque()  # each with its last row

    def add(self, frames: Sequence[Frame], *, row: int, tickets: Collection[int] = ()) -> None:
        """Take frames that were answered; settle those that wait no more.

        A frame without a record waits for nothing.

        Args:
            frames: just now.
            row: all messages so far lie in rows up to this one.
            tickets: of what is still being said, about these frames or earlier ones.
        """
        newest, oldest = max(tickets, default=-1), min(tickets, default=inf)
        for frame in frames:
            if frame.receipt is None:
                self._settle(frame)
            else:
                self._asked.append((newest, frame))
        while self._asked and self._asked[0][0] < oldest:
            self._frames.append((row, self._asked.popleft()[1]))
        if not self._frames:
            return
        first = self._replies.first_waiting()
        while self._frames and (first is None or self._frames[0][0] < first):
            self._settle(self._frames.popleft()[1])

    @property
    def is_pending(self) -> bool:
        """Whether frames wait: a partition that goes to another worker may wait for them."""
        return bool(self._asked or self._frames)
