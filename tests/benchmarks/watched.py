"""What people who watch cost a worker: its processor time with and without them, in turn.

`vigil run` with a model that takes no time, sixteen files in the place of cameras (decoded by the
same code, and small: what decoding takes from minute to minute would hide the rest), a real Redis,
a real console, and four pages of the wall in headless Chromium. The browser gives way to the
worker: on a machine with few cores it would take frames away from it.
"""

import re
import shlex
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Self

import cv2
import numpy as np
from playwright.sync_api import Browser, expect

from pipeline.sources.encoder import encode_clip
from tests.chaos.scripted_worker import asking
from tests.chaos.truth import QUESTIONS
from tests.chaos.worker_process import WorkerProcess
from tests.worker.console.browsing import chromium, chromium_path, logged_in
from tests.worker.console.process import TOKEN, Console
from tests.workers import member
from worker.benchmarks.camera_video import FPS, pictures
from worker.benchmarks.report import Progress, Row, at_most
from worker.demo.embedded_redis import embedded_redis, free_port

NUM_CAMERAS = 16
WIDTH_PX, HEIGHT_PX = 640, 360
NUM_PEOPLE = 4
ROUNDS = 3
SECONDS = 60.0
SETTLE_S = 15.0
SESSION_S = 6.0
MOST = 0.03  # of one core
FRAMES = re.compile(r"^vigil_frames_total\{.*\} (\S+)$", re.M)

QUESTION = "VIGIL_QUESTIONS__SEEN__"
SETTINGS = {
    "VIGIL_MODEL__PATH": "nano",
    "VIGIL_MODEL__DEVICE": "cpu",
    "VIGIL_MODEL__THREADS": "1",
    "VIGIL_OUTBOX__PATH": "memory",
    f"{QUESTION}ASK": asking(QUESTIONS[0]),
    f"{QUESTION}EVERY": "5s",
}


def measure(
    progress: Progress,
    *,
    num_cameras: int = NUM_CAMERAS,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
    settle_s: float = SETTLE_S,
    video: Path | None = None,
) -> list[Row]:
    """Measure a worker while nobody looks and while four people do, as often as asked.

    Returns:
        The share of one core that the watched worker takes more, as the median of all rounds, and
        both shares of each round.

    Raises:
        RuntimeError: there is no Chromium.
    """
    executable = chromium_path()
    if executable is None:
        raise RuntimeError("expected chromium on the PATH, found none")
    cameras = {
        f"VIGIL_CAMERAS__C{number}__{name}": value
        for number in range(num_cameras)
        for name, value in (("URL", str(video or _clip(progress))), ("LOOP", "true"))
    }
    rows, more = [], []
    with ExitStack() as stack:
        worker, console, port = stack.enter_context(_system(cameras))
        gives_way = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "chromium"
        gives_way.write_text(f'#!/bin/sh\nexec nice -n 10 {shlex.quote(executable)} "$@"\n')
        gives_way.chmod(0o755)
        browser = stack.enter_context(chromium(str(gives_way)))
        for number in range(1, rounds + 1):
            time.sleep(settle_s)  # until nobody is taken to look any more
            alone = _Minute.of(worker, port, seconds)
            progress(f"round {number}: nobody looks, {alone}")
            with _people(browser, console, num_cameras):
                watched = _Minute.of(worker, port, seconds)
            progress(f"round {number}: {NUM_PEOPLE} people look, {watched}")
            more.append(watched.cores - alone.cores)
            terms = {
                "alone_cores": alone.cores,
                "watched_cores": watched.cores,
                "alone_frames_a_s": alone.frames_a_s,
                "watched_frames_a_s": watched.frames_a_s,
            }
            rows.append(Row(f"more_in_round_{number}", more[-1], "cores", terms=terms))
    return [at_most("more_while_watched", median(more), MOST, unit="cores"), *rows]


@dataclass(frozen=True, slots=True)
class _Minute:
    """What a worker did in some time.

    Attributes:
        cores: processor seconds a second, of all of its threads.
        frames_a_s: shown to the model, of all cameras.
    """

    cores: float
    frames_a_s: float

    def __str__(self) -> str:
        return f"{self.cores:.4f} of a core, {self.frames_a_s:.1f} frames a second"

    @classmethod
    def of(cls, worker: WorkerProcess, port: int, seconds: float) -> Self:
        spent_s, frames, begun_s = worker.spent_s, _frames(port), time.monotonic()
        time.sleep(seconds)
        took_s = time.monotonic() - begun_s
        return cls((worker.spent_s - spent_s) / took_s, (_frames(port) - frames) / took_s)


def _frames(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        return sum(map(float, FRAMES.findall(page.read().decode())))


@contextmanager
def _system(cameras: Mapping[str, str]) -> Iterator[tuple[WorkerProcess, Console, int]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis_url = stack.enter_context(embedded_redis())
        port = free_port()
        settings = {
            **SETTINGS,
            **cameras,
            "VIGIL_REDIS__URL": redis_url,
            "VIGIL_WORKER_ID": "watched",
            "VIGIL_HEALTH__PORT": str(port),
        }
        worker = WorkerProcess(member.main, SESSION_S, "scripted", settings)
        stack.callback(worker.close)
        worker.start()
        console = Console(folder, redis_url, token=TOKEN)
        stack.callback(console.close)
        yield worker, console, port


def _clip(progress: Progress) -> Path:
    """Return the benchmarks' camera in small, with a key frame a second; make it the first time."""
    path = Path(tempfile.gettempdir()) / "vigil-bench" / f"{WIDTH_PX}x{HEIGHT_PX}-gop1.mp4"
    if not path.exists():
        progress(f"making {path} (once)")
        path.parent.mkdir(exist_ok=True)
        unfinished = path.with_suffix(".part.mp4")
        small = (cv2.resize(one, (WIDTH_PX, HEIGHT_PX)).astype(np.uint8) for one in pictures())
        encode_clip(unfinished, small, fps=FPS, gop_s=1, bits_per_s=500_000)
        unfinished.rename(path)
    return path


@contextmanager
def _people(browser: Browser, console: Console, num_cameras: int) -> Iterator[None]:
    """Let people look at all of the cameras, each with a browser of their own."""
    with ExitStack() as stack:
        for _ in range(NUM_PEOPLE):
            page = stack.enter_context(logged_in(browser, console)).new_page()
            page.goto(console.url())
            expect(page.locator(".tile img[data-at]")).to_have_count(num_cameras)
        yield
