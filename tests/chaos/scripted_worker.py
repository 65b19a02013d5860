"""`vigil run` with cameras that show the truth and a model that reads it off their pictures.

Everything else is the worker's own: supervisor, intake, pruner, runner, outbox, publisher.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.types import Answer, PatchGrid, PrunedFrame, Question
from pipeline.clock import Clock
from pipeline.errors import SourceError
from pipeline.sources.base import FrameSource
from pipeline.types import Frame, Overflow, Receipt, Tell, Wanted
from tests.chaos.truth import ANSWERS, QUESTIONS, Truth
from tests.fakes import SMALL, ScriptedEngine, picture
from worker import feeds, supervisor, wiring  # noqa: F401 (loaded before a life begins)
from worker.commands.run import run
from worker.parts import Feed

BRIGHT, DARK, NOISE = 200, 60, 2
SURE = 0.97
LOOK_EVERY_S = 0.05


def asking(question_id: str) -> str:
    """The words of a question, by which the model knows where to look."""
    return f"Is {question_id} in view?"


def painted(
    states: Sequence[bool], rng: np.random.Generator, *, grid: PatchGrid = SMALL
) -> NDArray[np.uint8]:
    """Return a picture in which each question has a token, bright for "on", with noise."""
    pixels = picture(100, grid)
    for place, is_on in enumerate(states):
        pixels[_token(place)] = BRIGHT if is_on else DARK
    return pixels + rng.integers(0, NOISE, pixels.shape, dtype=np.uint8)


class PaintedCamera:
    """One connection to a camera in whose picture each question has a token, bright for "on"."""

    def __init__(
        self, camera_id: str, truth: Truth, *, gone: Path, wanted: Wanted, clock: Clock
    ) -> None:
        self._camera_id = camera_id
        self._truth = truth
        self._gone = gone / camera_id
        self._wanted = wanted
        self._clock = clock
        self._closed = Event()
        self._rng = np.random.default_rng()

    def frames(self) -> Iterator[Frame]:
        begun_s = self._clock.monotonic_s()
        while not self._closed.is_set():
            if self._gone.exists():
                raise SourceError("unreachable", "the camera is away")
            pts_s = self._clock.monotonic_s() - begun_s
            if self._wanted(self._camera_id, pts_s):
                yield self._frame(pts_s)
            self._clock.wait(LOOK_EVERY_S, self._closed)

    def settle(self, receipt: Receipt) -> None: ...

    def close(self) -> None:
        self._closed.set()

    def _frame(self, pts_s: float) -> Frame:
        at = self._clock.now()
        at = at.replace(microsecond=at.microsecond // 1000 * 1000)  # as messages say it
        at_ms = round(1000 * at.timestamp())
        states = [self._truth.is_on((self._camera_id, one), at_ms) for one in QUESTIONS]
        return Frame(self._camera_id, painted(states, self._rng), SMALL, pts_s, at)


class ReadingEngine(ScriptedEngine):
    """Knows of each camera what it was sent, token by token, and answers by that."""

    is_on_cpu = True

    def __init__(self) -> None:
        super().__init__(self._read)
        self.num_words = 5  # captions are said between the ticks
        self._seen: dict[str, np.ndarray[Any, np.dtype[np.uint8]]] = {}

    def check(self, question: Question) -> None:
        """Any question can be put."""

    def append(self, frames: Sequence[PrunedFrame], *, may_shed: bool = True) -> None:
        super().append(frames, may_shed=may_shed)
        self.shown.clear()  # an hour of it would not fit
        for frame in frames:
            seen = self._seen.setdefault(frame.stream_id, frame.pixels.copy())
            keep = frame.keep_mask.repeat(SMALL.token_px, 0).repeat(SMALL.token_px, 1)
            seen[keep] = frame.pixels[keep]

    def ask(self, asks: Sequence[tuple[str, Question]]) -> list[Answer]:
        answers = super().ask(asks)
        self.asked.clear()
        return answers

    def _read(self, stream_id: str, question: Question) -> Answer:
        for place, question_id in enumerate(QUESTIONS):
            if question.text == asking(question_id):
                is_on = float(self._seen[stream_id][_token(place)].mean()) > (BRIGHT + DARK) / 2
                value = ANSWERS[question_id][is_on]
                if question.kind == "count":
                    shares = tuple(SURE if n == value else (1 - SURE) / 9 for n in range(10))
                    return Answer("count", value, SURE, 0, mass=SURE, shares=shares)
                p = SURE if value == "yes" else 1 - SURE
                return Answer(question.kind, value, p, 0, mass=SURE)
        return Answer(question.kind, "four painted tokens", None, 4)


def _token(place: int) -> tuple[slice, slice]:
    """Where the token of a question lies in a picture."""
    return slice(0, SMALL.token_px), slice(place * SMALL.token_px, (place + 1) * SMALL.token_px)


def feed_of(truth: Truth, gone: Path) -> Callable[..., Feed]:
    def painted(given: Any, camera_id: str, _camera: object) -> Feed:
        def build(wanted: Wanted, _tell: Tell) -> FrameSource:
            return PaintedCamera(camera_id, truth, gone=gone, wanted=wanted, clock=given.clock)

        return Feed(
            name=camera_id,
            camera_ids=(camera_id,),
            overflow=Overflow.LATEST,
            build=build,
            is_endless=True,
            retry=given.retry,
            stuck_after_s=given.stuck_after_s,
        )

    return painted


def be_a_process(variables: Mapping[str, str], stderr: Connection) -> None:
    """Have these settings and no others, and log there."""
    os.dup2(stderr.fileno(), sys.stderr.fileno())
    stderr.close()
    for name in [name for name in os.environ if name.startswith("VIGIL_")]:
        del os.environ[name]
    os.environ.update(variables)


def main(truth: Path, gone: Path, variables: Mapping[str, str], stderr: Connection) -> None:
    """Be the worker, in a process of its own.

    Args:
        truth: what its cameras show.
        gone: a camera is away while a file of its name lies in this folder.
        variables: its settings.
        stderr: where its log goes.
    """
    be_a_process(variables, stderr)
    feeds._CAMERA_FEEDS["rtsp"] = feed_of(Truth.load(truth), gone)  # type: ignore[index]
    wiring.loaded = lambda *_, **__: ReadingEngine()  # type: ignore[attr-defined, assignment]
    sys.exit(run(argparse.Namespace()))
