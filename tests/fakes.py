"""Real classes in the place of slow or outside parts; each passes the contract of what it fakes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Event

import numpy as np
from numpy.typing import NDArray

from model.errors import AdmissionError, DeviceMemoryError, InputError
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

    def spent_s(self) -> float:
        return self.seconds

    def wait(self, seconds: float, stop: Event) -> bool:
        if not stop.is_set():
            self.seconds += max(0.0, seconds)
        return stop.is_set()


@dataclass
class ScriptedEngine:
    """Answers from a script instead of a network; keeps what it was shown.

    Contexts begin and end by the time of all frames, as in the real one; `shown` has those frames
    that cost something, because they have news or a context begins with them. Each of them, and
    each question asked, moves `clock`, if there is one, by `cost_s`. More than `max_streams`
    cameras do not fit; more than `max_batch` such frames or questions at once are out of memory.
    """

    answers: Callable[[str, Question], Answer]
    window_s: float = 180.0
    shown: list[PrunedFrame] = field(default_factory=list)
    asked: list[tuple[str, Question]] = field(default_factory=list)
    model_name: str = "scripted"
    is_demo_model: bool = False
    clock: FakeClock | None = None
    cost_s: float = 0.0
    max_streams: int | None = None
    max_batch: int | None = None
    num_out_of_memory: int = 0
    num_words: int = 0  # of captions and texts: so many times is spoken of each; 0: all at once
    num_tickets: int = 0
    is_short: bool = False  # of memory, for what is said
    said: dict[int, tuple[int, Answer]] = field(default_factory=dict)
    num_unshed: int = 0  # calls in which nothing might be given up
    worth: Callable[[str], float | None] = lambda _stream_id: (
        None
    )  # p that something is worth saying
    refused: set[str] = field(default_factory=set)  # words that it cannot be asked
    held: dict[str, PatchGrid] = field(default_factory=dict)
    windows: dict[str, tuple[Window, ...]] = field(default_factory=dict)  # the asked one first

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
            num_cut_short=0,
            num_unsaid=0,
            attention_backend="none",
            small_kernels="none",
        )

    def admit(self, stream_id: str, grid: PatchGrid) -> None:
        if stream_id not in self.held and len(self.held) == self.max_streams:
            raise AdmissionError(
                f"stream {stream_id}: needs 110 B, 0 B left", needed_bytes=110, left_bytes=0
            )
        self.held[stream_id] = grid

    def append(self, frames: Sequence[PrunedFrame], *, may_shed: bool = True) -> None:
        self.num_unshed += not may_shed
        for frame in frames:
            self.admit(frame.stream_id, frame.grid)
        windows, shown = dict(self.windows), list[PrunedFrame]()
        for one in frames:
            held = self._later(windows.get(one.stream_id, ()), one)
            is_begun = not held or (len(held) == 1 and _span_s(held[0]) >= self.window_s / 2)
            if is_begun:
                held = (*held, Window(one.pts_s, one.pts_s, 1, one.grid.num_tokens))
            windows[one.stream_id] = held
            shown += [one] * (is_begun or one.has_news)
        self._work(len(shown))
        self.shown += shown
        self.windows = windows

    def check(self, question: Question) -> None:
        if question.text in self.refused:
            raise InputError(f"text: expected other words, got {question.text!r}")

    def ask(self, asks: Sequence[tuple[str, Question]]) -> list[Answer]:
        self._work(len(asks))
        self.asked += asks
        return [self.answers(stream_id, question) for stream_id, question in asks]

    def begin(self, asks: Sequence[tuple[str, Question]]) -> list[Answer | int]:
        found: list[Answer | int] = []
        for answer in self.ask(asks):
            if not self.num_words or answer.kind not in ("caption", "text"):
                found.append(answer)
                continue
            self.num_tickets += 1
            self.said[self.num_tickets] = (self.num_words, answer)
            found.append(self.num_tickets)
        return found

    @property
    def is_speaking(self) -> bool:
        return bool(self.said)

    def speak(self) -> list[tuple[int, Answer | None]]:
        if self.clock is not None:
            self.clock.seconds += self.cost_s
        self.said = {ticket: (left - 1, answer) for ticket, (left, answer) in self.said.items()}
        whole = [ticket for ticket, (left, _) in self.said.items() if not left]
        told = [(ticket, self.said.pop(ticket)[1]) for ticket in whole]
        return [(ticket, None if self.is_short else answer) for ticket, answer in told]

    def window(self, stream_id: str) -> Window | None:
        return self.windows[stream_id][0] if stream_id in self.windows else None

    def worth_saying(self, stream_id: str) -> float | None:
        return self.worth(stream_id)

    def remove(self, stream_id: str) -> None:
        self.held.pop(stream_id, None)
        self.windows.pop(stream_id, None)
        self.shown = [frame for frame in self.shown if frame.stream_id != stream_id]

    def take_over(self, stream_id: str, other_id: str) -> None:
        if self.window(other_id) is None:
            raise InputError(f"stream {other_id}: no frame")
        self.remove(stream_id)
        self.held[stream_id] = self.held.pop(other_id)
        self.windows[stream_id] = self.windows.pop(other_id)
        self.shown = [
            replace(one, stream_id=stream_id) if one.stream_id == other_id else one
            for one in self.shown
        ]

    def _later(self, held: tuple[Window, ...], one: PrunedFrame) -> tuple[Window, ...]:
        """The windows that a frame falls into, with it."""
        return tuple(
            replace(
                window,
                end_pts_s=one.pts_s,
                num_frames=window.num_frames + (one.num_kept > 0),
                num_tokens=window.num_tokens + one.num_kept,
            )
            for window in held
            if window.end_pts_s <= one.pts_s < window.start_pts_s + self.window_s
        )

    def _work(self, number: int) -> None:
        if self.clock is not None:
            self.clock.seconds += self.cost_s * number
        if self.max_batch is not None and number > self.max_batch:
            self.num_out_of_memory += 1
            raise DeviceMemoryError(f"no memory for {number} at once")


def _span_s(window: Window) -> float:
    return window.end_pts_s - window.start_pts_s


@dataclass
class ListReplies:
    """An outbox that is a list."""

    messages: list[Message] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)

    def put(
        self, messages: Sequence[Message], *, states: Mapping[str, str | None] | None = None
    ) -> None:
        self.messages += messages
        for name, value in (states or {}).items():
            if value is None:
                self.states.pop(name, None)
            else:
                self.states[name] = value

    @property
    def last_row(self) -> int:
        return len(self.messages)

    def first_waiting(self) -> int | None:
        return None


class Recorder(Observer):
    """Remembers everything that is counted, set and observed. Any thread may tell it."""

    def __init__(self) -> None:
        self.told: list[tuple[Metric, float, dict[str, str]]] = []
        self.forgotten: list[dict[str, str]] = []

    def count(self, metric: Metric, number: float = 1, **labels: str) -> None:
        self.told.append((metric, number, labels))

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        self.told.append((metric, value, labels))

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        self.told.append((metric, value, labels))

    def forget(self, **labels: str) -> None:
        self.forgotten.append(labels)

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
