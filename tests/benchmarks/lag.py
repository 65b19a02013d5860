"""How old a halted worker's pictures are, how old it says they are, and how soon it says it lags.

Three processes: a scripted camera, a worker of real parts around a scripted engine, and this one,
which halts the worker and compares. All three share the machine's monotonic clock.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Connection
from threading import Event, Lock
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from model.videollama3.grid import pin_grid
from pipeline.clock import SystemClock
from pipeline.messages import rfc3339
from pipeline.publishers.base import PendingMessages, nothing_new
from pipeline.sources.rtsp import RtspSource
from pipeline.types import Frame, Overflow, Tell, Wanted
from tests.servers.rtp import coded
from tests.servers.rtsp_camera import ScriptedCamera, Track
from tests.worker.supervised import make
from worker.benchmarks.report import Progress, Row, at_most
from worker.parts import Feed, Retry

SPAWN = multiprocessing.get_context("spawn")
NUM_BITS = 16  # of the number that is drawn into each picture
NUM_NOISY = 24  # different pictures of noise
SETTLE_S = 10.0  # before the worker is halted
LAGS_S = 2.0
IN_TIME_S = 1.0
OPEN_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 15.0  # as a worker has them by default


@dataclass(frozen=True, slots=True)
class View:
    """What the camera sends; a round must be longer than its pictures may get old."""

    height_px: int = 1080
    width_px: int = 1920
    fps: int = 25
    gop_s: float = 4.0
    round_s: float = 40.0


FULL_HD = View()


@dataclass(frozen=True, slots=True)
class Playing:
    """A camera, and the monotonic time of its first picture."""

    url: str
    began_s: float
    view: View

    def taken_s(self, number: int, *, before_s: float) -> float:
        """Return when a picture that came at a time was taken."""
        first_s = self.began_s + number / self.view.fps
        return first_s + (before_s - first_s) // self.view.round_s * self.view.round_s


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture that reached the worker: its number in the round, and both clocks then."""

    number: int
    captured_at: str
    monotonic_s: float


@dataclass(frozen=True, slots=True)
class Said:
    """A message of the worker, and when it was published, monotonic."""

    kind: str
    data: Mapping[str, Any]
    monotonic_s: float


# ---------------------------------------------------------------- the camera's process


def numbered(view: View) -> Iterator[NDArray[np.uint8]]:
    """Yield a round of a moving, noisy ground (1080p: 4 Mb/s), each with its number above it."""
    chance = np.random.default_rng(1)
    rows, columns = view.height_px // 8, view.width_px // 8
    ground = np.kron(chance.integers(60, 190, (rows, columns)), np.ones((8, 8))).astype(np.int16)
    moved = (np.roll(ground, (3 * index, 3 * index), (0, 1)) for index in range(NUM_NOISY))
    noisy = [(one + chance.normal(0, 5, one.shape)).clip(0, 255).astype(np.uint8) for one in moved]
    height_px, width_px = ground.shape[0] // 6, ground.shape[1] // NUM_BITS
    for number in range(round(view.round_s * view.fps)):
        grey = noisy[number % NUM_NOISY].copy()
        for bit in range(NUM_BITS):
            columns_px = slice(bit * width_px, (bit + 1) * width_px)
            grey[:height_px, columns_px] = 255 * (number >> bit & 1)
        yield np.repeat(grey[..., None], 3, axis=2)


def number_in(pixels: NDArray[np.uint8]) -> int:
    """Read the number that was drawn."""
    row = pixels[pixels.shape[0] // 12, :, 1]
    middles = (np.arange(NUM_BITS) + 0.5) * len(row) / NUM_BITS
    return sum(1 << bit for bit, x in enumerate(middles) if row[int(x)] > 127)


def _camera(view: View, said: Connection) -> None:
    units = coded(numbered(view), fps=view.fps, gop_s=view.gop_s, crf="24")
    began_s = time.monotonic()
    track = Track(units, rounds=None, round_s=view.round_s, began_s=began_s)
    with ScriptedCamera([track]) as camera:
        said.send(Playing(camera.url, began_s, view))
        said.recv()  # for ever


# ---------------------------------------------------------------- the worker's process


class _Noting(RtspSource):
    """Says which pictures come of a camera."""

    def __init__(self, *given: Any, say: Callable[[object], None], **named: Any) -> None:
        super().__init__(*given, **named)
        self._say = say

    def frames(self) -> Iterator[Frame]:
        for frame in super().frames():
            at = rfc3339(frame.captured_at)
            self._say(Shown(number_in(frame.pixels), at, time.monotonic()))
            yield frame


class _Publisher:
    """Says every message."""

    def __init__(self, say: Callable[[object], None]) -> None:
        self._say = say

    def run(
        self,
        outbox: PendingMessages,
        stop: Event,
        *,
        fields: Callable[[], Mapping[str, object]] = dict,
        works: Callable[[], bool] = nothing_new,
    ) -> None:
        while not stop.is_set():
            fields()
            batch = outbox.pending(10) if outbox.wait(0.05) else []
            for stored in batch:
                message = stored.message
                self._say(Said(message.kind, message.body["data"], time.monotonic()))
            outbox.delivered([stored.row for stored in batch])
            works()

    def close(self) -> None: ...


def _worker(url: str, said: Connection) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    lock = Lock()

    def say(what: object) -> None:
        with lock:
            said.send(what)

    def build(wanted: Wanted, tell: Tell) -> RtspSource:
        return _Noting(
            "yard",
            url,
            wanted=wanted,
            grid_of=partial(pin_grid, max_tokens=144),
            clock=SystemClock(),
            open_timeout_s=OPEN_TIMEOUT_S,
            read_timeout_s=READ_TIMEOUT_S,
            tell=tell,
            say=say,
        )

    feed = Feed(
        name="yard",
        camera_ids=("yard",),
        overflow=Overflow.LATEST,
        build=build,
        is_endless=True,
        retry=Retry(base_s=1.0, cap_s=30.0),
        stuck_after_s=2 * (OPEN_TIMEOUT_S + READ_TIMEOUT_S),
    )
    make(feed, publisher=_Publisher(say)).run(health_port=0)


# ---------------------------------------------------------------- halting and comparing


@dataclass
class Outcome:
    """What became of a worker that was hindered for a while.

    Attributes:
        ages_s: of every answer, in order: when it was made (from the beginning of the hindrance),
            how old its picture was in truth, and how old it said the picture was.
        lagging_after_s: from the end of a halt, or the beginning of slowness, to the status.
        in_time_after_s: from the end of the hindrance until the last answer about a late picture.
        recovered_after_s: from there until the status says no more that it lags.
        states: what the camera's status was, in order, from the hindrance on: (when, state, why).
    """

    ages_s: list[tuple[float, float, float]]
    lagging_after_s: float | None
    in_time_after_s: float
    recovered_after_s: float | None
    states: list[tuple[float, str, str | None]] = field(default_factory=list)

    @property
    def worst_error_s(self) -> float:
        """By how much the told age was wrong, at the most."""
        return max(abs(told_s - true_s) for _, true_s, told_s in self.ages_s)

    @property
    def oldest_s(self) -> float:
        return max(true_s for _, true_s, _ in self.ages_s)


Hinder = Callable[[int], None]
"""Hinders the process with this id for a while."""


def halt(pid: int, *, seconds: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)


def slow_down(pid: int, *, seconds: float, run_s: float = 0.01, period_s: float = 0.1) -> None:
    """Let a process run for a tenth of the time."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(period_s - run_s)
        os.kill(pid, signal.SIGCONT)
        time.sleep(run_s)


@contextmanager
def camera(view: View) -> Iterator[Playing]:
    """Run the camera."""
    ours, its = SPAWN.Pipe()
    process = SPAWN.Process(target=_camera, args=(view, its), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()


def outcome(
    hinder: Hinder,
    *,
    is_halt: bool,
    playing: Playing,
    settle_s: float = SETTLE_S,
    after_s: float = 20.0,
) -> Outcome:
    """Hinder a worker, watch it for a while longer, and compare."""
    to_worker, worker_end = SPAWN.Pipe()
    worker = SPAWN.Process(target=_worker, args=(playing.url, worker_end), daemon=True)
    worker.start()
    told: list[Shown | Said] = []
    try:
        while not any(isinstance(one, Shown) for one in told):
            told.append(to_worker.recv())
        time.sleep(settle_s)
        assert worker.pid is not None
        from_s = time.monotonic()
        hinder(worker.pid)
        to_s = time.monotonic()
        while time.monotonic() < to_s + after_s:
            if to_worker.poll(0.1):
                told.append(to_worker.recv())
    finally:
        worker.kill()
    return _compared(told, playing=playing, from_s=from_s, to_s=to_s, is_halt=is_halt)


def _compared(
    told: Sequence[Shown | Said],
    *,
    playing: Playing,
    from_s: float,
    to_s: float,
    is_halt: bool,
) -> Outcome:
    taken_s: dict[str, float] = {}
    for one in told:
        if isinstance(one, Shown):
            taken_s[one.captured_at] = playing.taken_s(one.number, before_s=one.monotonic_s)
    said = [one for one in told if isinstance(one, Said)]
    ages_s = []
    for one in said:
        if one.kind == "answer" and not one.data["reused"]:
            passed_s = (datetime.now(UTC) - _time(one.data["inferred_at"])).total_seconds()
            inferred_s = time.monotonic() - passed_s
            true_s = inferred_s - taken_s[one.data["captured_at"]]
            ages_s.append((inferred_s - from_s, true_s, one.data["frame_age_ms"] / 1000))
    states = [
        (one.monotonic_s - from_s, one.data["state"], one.data["reason"])
        for one in said
        if one.kind == "status" and one.monotonic_s >= from_s
    ]
    lagged = [at_s for at_s, _, reason in states if reason == "lagging"]
    halted_s = to_s - from_s
    begun_s = halted_s if is_halt else 0.0
    late = [at_s for at_s, true_s, _ in ages_s if at_s >= halted_s and true_s > IN_TIME_S]
    over = [at_s for at_s, _, _ in states if lagged and at_s > lagged[-1]]
    return Outcome(
        ages_s,
        lagged[0] - begun_s if lagged else None,
        max(late, default=halted_s) - halted_s,
        over[0] - halted_s if over else None,
        states,
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


TRIALS: Mapping[str, tuple[Hinder, bool]] = {
    "halted_5_s": (partial(halt, seconds=5.0), True),
    "halted_30_s": (partial(halt, seconds=30.0), True),
    "slowed_to_a_tenth_for_90_s": (partial(slow_down, seconds=90.0), False),
}


def measure(progress: Progress) -> list[Row]:
    """Hinder a worker in three ways, one after the other."""
    progress("coding what the camera sends")
    rows = []
    with camera(FULL_HD) as playing:
        for name, (hinder, is_halt) in TRIALS.items():
            progress(name.replace("_", " "))
            rows += _rows(name, outcome(hinder, is_halt=is_halt, playing=playing), progress)
    return rows


def _rows(name: str, seen: Outcome, progress: Progress) -> list[Row]:
    for at_s, state, reason in seen.states:
        progress(f"  {at_s:.1f} s: {state} {reason or ''}")
    terms = {"oldest_true_s": seen.oldest_s, "answers": float(len(seen.ages_s))}
    return [
        at_most(f"age_error_{name}", seen.worst_error_s, 1.0, unit="s", terms=terms),
        Row(f"lagging_after_{name}", seen.lagging_after_s, "s"),
        Row(f"in_time_after_{name}", seen.in_time_after_s, "s"),
        Row(f"recovered_after_{name}", seen.recovered_after_s, "s"),
    ]
