"""What stands in front of the workers: cameras, what truly happens there, and their pictures."""

import io
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count

import av
import numpy as np
from kafka import KafkaProducer
from numpy.typing import NDArray
from PIL import Image

from model.types import PatchGrid
from pipeline.sources.broker import Connector
from tests.chaos.scripted_worker import asking, painted
from tests.chaos.truth import QUESTIONS, Span, Truth, Watched
from tests.chaos.worker_process import now_ms
from tests.workers.member import Model
from worker.demo.show import SCENE

NUM_CAMERAS = 12
CAMERAS = tuple(f"camera-{number}" for number in range(NUM_CAMERAS))
QUESTION = "seen"
WATCHED: Sequence[Watched] = [(camera_id, QUESTION) for camera_id in CAMERAS]
ASKED: Mapping[Model, str] = {
    "scripted": asking(QUESTIONS[0]),
    "nano": "Is there smoke?",
}
PICTURES_A_SECOND: Mapping[Model, int] = {"scripted": 2, "nano": 1}
SHORTEST_MS, LONGEST_MS = 12_000, 25_000
FOR_EVER_MS = 3_600_000
GRID = PatchGrid(rows=4, cols=5)
SMOKE_S, CLEAR_S = range(49, 58), range(32, 46)  # seconds of the demo's clip

Picture = Callable[[bool], bytes]
"""Whether the event is on -> a JPEG that shows it."""


def scripted(seed: int, *, within: Span) -> Truth:
    """Draw events by far long enough to be seen around a worker's end."""
    return Truth.scripted(
        random.Random(seed),  # noqa: S311 (it is to be repeatable)
        within=within,
        watched=WATCHED,
        length_ms=lambda rng: rng.randint(SHORTEST_MS, LONGEST_MS),
    )


def pictures_for(model: Model) -> Picture:
    """Pictures that a model can read."""
    return _painted() if model == "scripted" else _filmed()


def _painted() -> Picture:
    rng = np.random.default_rng(0)
    return lambda is_on: _jpeg(painted([is_on], rng, grid=GRID))


def _filmed() -> Picture:
    """Pictures of the demo's clip, of seconds with smoke and of such without."""
    with av.open(SCENE) as clip:
        stream = clip.streams.video[0]
        every = round(stream.average_rate or 0)
        seconds = [
            _jpeg(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False))
            for number, frame in enumerate(clip.decode(stream))
            if number % every == 0
        ]
    turns = count()

    def film(is_on: bool) -> bytes:  # noqa: FBT001 (one of a kind of callable)
        among = SMOKE_S if is_on else CLEAR_S
        return seconds[among[next(turns) // NUM_CAMERAS % len(among)]]

    return film


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="JPEG", quality=95)
    return out.getvalue()


class Cameras:
    """Send a picture of each camera, one partition each, again and again; a thread of their own."""

    def __init__(self, bootstrap: str, topic: str, *, truth: Truth, model: Model) -> None:
        self._topic = topic
        self._truth = truth
        self._picture = pictures_for(model)
        self._period_s = 1 / PICTURES_A_SECOND[model]
        connector = Connector({"bootstrap_servers": [bootstrap]}, timeout_s=30.0, secret="")
        self._producer = connector.open(
            KafkaProducer,
            what="connecting",
            acks="all",
            max_in_flight_requests_per_connection=1,  # or what is tried again comes late
            delivery_timeout_ms=FOR_EVER_MS,  # no picture is lost while the broker is away
            max_block_ms=FOR_EVER_MS,
        ).driver
        self.first_ms = 0.0

    def send(self, stop: threading.Event) -> None:
        """Send until `stop`, all of the cameras in turn within each period."""
        due_s = time.monotonic()
        self.first_ms = now_ms()
        while not stop.is_set():
            for partition, camera_id in enumerate(CAMERAS):
                at_ms = int(now_ms())
                self._producer.send(
                    self._topic,
                    self._picture(self._truth.is_on((camera_id, QUESTION), at_ms)),
                    key=camera_id.encode(),
                    headers=[("captured-at", str(at_ms).encode())],
                    partition=partition,
                )
                due_s += self._period_s / NUM_CAMERAS
                if stop.wait(max(0.0, due_s - time.monotonic())):
                    break
        self._producer.flush(timeout=60)
        self._producer.close(timeout=10)
