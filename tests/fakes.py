"""Real classes in the place of slow or outside parts; each passes the contract of what it fakes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event

import numpy as np
from numpy.typing import NDArray

from model.types import Answer, PatchGrid, PrunedFrame, Question, Window
from pipeline.errors import SourceError
from pipeline.messages import Message
from pipeline.types import Frame, Receipt, SentFrame

EPOCH = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SMALL = PatchGrid(rows=3, cols=4)


def picture(level: int = 100, grid: PatchGrid = SMALL) -> NDArray[np.uint8]:
    """A flat picture on the grid."""
    return np.full((grid.height_px, grid.width_px, 3), level, dtype=np.uint8)


def frame_at(
    pts_s: float,
    pixels: NDArray[np.uint8] | None = None,
    *,
    camera_id: str = "yard",
    grid: PatchGrid = SMALL,
    receipt: Receipt | None = None,
) -> Frame:
    """A frame captured pts_s after EPOCH."""
    return Frame(
        camera_id=camera_id,
        pixels=picture(grid=grid) if pixels is None else pixels,
        grid=grid,
        pts_s=pts_s,
        captured_at=EPOCH + timedelta(seconds=pts_s),
        receipt=receipt,
    )


class FakeClock:
    """A clock moved by hand; waiting moves it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.seconds)

    def monotonic_s(self) -> float:
        return self.seconds

    def wait(self, seconds: float, stop: Event) -> bool:
        if not stop.is_set():
            self.seconds += max(0.0, seconds)
        return stop.is_set()


@dataclass
class ScriptedEngine:
    """Answers from a script instead of a network; keeps what it was shown."""

    answers: Callable[[str, Question], Answer]
    shown: list[PrunedFrame] = field(default_factory=list)
    asked: list[tuple[str, Question]] = field(default_factory=list)
    model_name: str = "scripted"

    def append(self, frames: Sequence[PrunedFrame]) -> None:
        self.shown += frames

    def ask(self, asks: Sequence[tuple[str, Question]]) -> list[Answer]:
        self.asked += asks
        return [self.answers(stream_id, question) for stream_id, question in asks]

    def window(self, stream_id: str) -> Window | None:
        mine = [frame for frame in self.shown if frame.stream_id == stream_id]
        if not mine:
            return None
        kept = sum(frame.num_kept for frame in mine)
        return Window(mine[0].pts_s, mine[-1].pts_s, len(mine), kept)


@dataclass
class ListReplies:
    """An outbox that is a list."""

    messages: list[Message] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)

    def put(self, messages: Sequence[Message], *, states: Mapping[str, str] | None = None) -> None:
        self.messages += messages
        self.states |= states or {}


class NoObserver:
    """Looks away."""

    def frame_sent(self, sent: SentFrame, *, age_s: float) -> None: ...

    def stage_done(self, stage: str, seconds: float) -> None: ...

    def reply_made(self, message: Message) -> None: ...


class ScriptedSource:
    """Plays frames and then fails, or ends, as told."""

    def __init__(self, frames: Sequence[Frame], failure: SourceError | None = None) -> None:
        self._frames = frames
        self._failure = failure
        self.settled: list[Receipt] = []
        self.is_closed = False

    def frames(self) -> Iterator[Frame]:
        for frame in self._frames:
            if self.is_closed:
                return
            yield frame
        if self._failure is not None:
            raise self._failure

    def settle(self, receipt: Receipt) -> None:
        self.settled.append(receipt)

    def close(self) -> None:
        self.is_closed = True
