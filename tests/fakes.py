"""Real classes in the place of slow or outside parts; each passes the contract of what it fakes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Event

import numpy as np
from numpy.typing import NDArray

from model.errors import AdmissionError, DeviceMemoryError
from model.types import Answer, EngineStats, PatchGrid, PrunedFrame, Question, Window
from pipeline.errors import SourceError
from pipeline.messages import Message
from pipeline.observer import Metric, Observer
from pipeline.types import Frame, Receipt

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
    """Answers from a script instead of a network; keeps what it was shown.

    Each append and ask moves `clock`, if there is one, by `cost_s` for a frame or question. More
    than `max_streams` cameras do not fit; more than `max_batch` frames or questions at once are out
    of memory.
    """

    answers: Callable[[str, Question], Answer]
    shown: list[PrunedFrame] = field(default_factory=list)
    asked: list[tuple[str, Question]] = field(default_factory=list)
    model_name: str = "scripted"
    is_demo_model: bool = False
    clock: FakeClock | None = None
    cost_s: float = 0.0
    max_streams: int | None = None
    max_batch: int | None = None
    num_out_of_memory: int = 0
    held: dict[str, PatchGrid] = field(default_factory=dict)
    windows: dict[str, Window] = field(default_factory=dict)

    @property
    def stats(self) -> EngineStats:
        return EngineStats(
            num_streams=len(self.held),
            weight_bytes=1000,
            vision_cache_bytes=10 * len(self.held),
            context_bytes=100 * len(self.held),
            budget_bytes=None,
            drift=None,
            num_audits=0,
            num_forced_refreshes=0,
            num_out_of_memory=self.num_out_of_memory,
            num_shed=0,
            attention_backend="none",
        )

    def admit(self, stream_id: str, grid: PatchGrid) -> None:
        if stream_id not in self.held and len(self.held) == self.max_streams:
            raise AdmissionError(
                f"stream {stream_id}: needs 110 B, 0 B left", needed_bytes=110, left_bytes=0
            )
        self.held[stream_id] = grid

    def append(self, frames: Sequence[PrunedFrame]) -> None:
        for frame in frames:
            self.admit(frame.stream_id, frame.grid)
        self._work(len(frames))
        self.shown += frames
        for one in frames:
            new = Window(one.pts_s, one.pts_s, 0, 0)
            seen = self.windows.get(one.stream_id, new)
            self.windows[one.stream_id] = replace(
                seen,
                end_pts_s=one.pts_s,
                num_frames=seen.num_frames + 1,
                num_tokens=seen.num_tokens + one.num_kept,
            )

    def ask(self, asks: Sequence[tuple[str, Question]]) -> list[Answer]:
        self._work(len(asks))
        self.asked += asks
        return [self.answers(stream_id, question) for stream_id, question in asks]

    def window(self, stream_id: str) -> Window | None:
        return self.windows.get(stream_id)

    def remove(self, stream_id: str) -> None:
        self.held.pop(stream_id, None)
        self.windows.pop(stream_id, None)
        self.shown = [frame for frame in self.shown if frame.stream_id != stream_id]

    def _work(self, number: int) -> None:
        if self.clock is not None:
            self.clock.seconds += self.cost_s * number
        if self.max_batch is not None and number > self.max_batch:
            self.num_out_of_memory += 1
            raise DeviceMemoryError(f"no memory for {number} at once")


@dataclass
class ListReplies:
    """An outbox that is a list."""

    messages: list[Message] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)

    def put(self, messages: Sequence[Message], *, states: Mapping[str, str] | None = None) -> None:
        self.messages += messages
        self.states |= states or {}


class Recorder(Observer):
    """Remembers everything that is counted, set and observed. Any thread may tell it."""

    def __init__(self) -> None:
        self.told: list[tuple[Metric, float, dict[str, str]]] = []

    def count(self, metric: Metric, number: float = 1, **labels: str) -> None:
        self.told.append((metric, number, labels))

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        self.told.append((metric, value, labels))

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        self.told.append((metric, value, labels))

    def numbers(self, metric: Metric, **labels: str) -> list[float]:
        """What was told of a metric's series with these labels, in order."""
        return [
            number
            for one, number, its in list(self.told)
            if one == metric and its.items() >= labels.items()
        ]

    def total(self, metric: Metric, **labels: str) -> float:
        """What was counted comes to."""
        return sum(self.numbers(metric, **labels))

    def totals(self, metric: Metric, *, by: str) -> dict[str, float]:
        """The same by the values of a label, without those of which nothing was counted."""
        values = {its[by] for one, number, its in list(self.told) if one == metric and number}
        return {value: self.total(metric, **{by: value}) for value in values}


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
