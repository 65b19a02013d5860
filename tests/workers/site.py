"""What stands in front of the workers: cameras, what truly happens there, and their pictures."""

import io
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from kafka import KafkaProducer
from numpy.typing import NDArray
from PIL import Image

from model.scenes.scene import Scene, downscaled
from model.scenes.script import Script, Track
from model.types import PatchGrid
from pipeline.sources.broker import Connector
from tests.chaos.scripted_worker import asking, painted
from tests.chaos.truth import QUESTIONS, Span, Truth, Watched
from tests.chaos.worker_process import now_ms
from tests.workers.member import Model

NUM_CAMERAS = 12
CAMERAS = tuple(f"camera-{number}" for number in range(NUM_CAMERAS))
QUESTION = "seen"
WATCHED: Sequence[Watched] = [(camera_id, QUESTION) for camera_id in CAMERAS]
ASKED: Mapping[Model, str] = {
    "scripted": asking(QUESTIONS[0]),
    "nano": "Is the gate open?",
}
PICTURES_A_SECOND: Mapping[Model, int] = {"scripted": 2, "nano": 1}
SHORTEST_MS, LONGEST_MS = 12_000, 25_000
FOR_EVER_MS = 3_600_000
GRID = PatchGrid(rows=4, cols=5)
NUM_PLACES, NOISE_LEVELS = 4, 3

Picture = Callable[[int, bool], bytes]
"""The number of a camera, whether the event is on there -> a JPEG that shows it."""


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
    return _painted() if model == "scripted" else _rendered()


def _painted() -> Picture:
    rng = np.random.default_rng(0)
    return lambda _, is_on: _jpeg(painted([is_on], rng, grid=GRID))


def _rendered() -> Picture:
    """Pictures of empty places, with noise of their own: a picture that comes again is dead."""
    rng = np.random.default_rng(0)
    places = [
        [_place(seed, is_open=is_open) for is_open in (False, True)] for seed in range(NUM_PLACES)
    ]

    def picture(number: int, is_on: bool) -> bytes:  # noqa: FBT001 (one of a kind of callable)
        place = places[number % NUM_PLACES][is_on]
        noise = rng.integers(-NOISE_LEVELS, NOISE_LEVELS + 1, place.shape, dtype=np.int16)
        return _jpeg(np.clip(place + noise, 0, 255).astype(np.uint8))

    return picture


def _place(seed: int, *, is_open: bool) -> NDArray[np.uint8]:
    """A place by day, in which nobody is."""
    nothing = Track((0.0,), (0.0,))
    gate, lights = Track((0.0,), (float(is_open),)), Track((0.0,), (1.0,))
    script = Script(1.0, (), gate, lights, smoke=nothing, fire=nothing)
    return downscaled(Scene(seed, Scene.from_seed(seed).layout, script).frame(0.0), factor=2)


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
            for number, camera_id in enumerate(CAMERAS):
                at_ms = int(now_ms())
                is_on = self._truth.is_on((camera_id, QUESTION), at_ms)
                self._producer.send(
                    self._topic,
                    self._picture(number, is_on),
                    key=camera_id.encode(),
                    headers=[("captured-at", str(at_ms).encode())],
                    partition=number,
                )
                due_s += self._period_s / NUM_CAMERAS
                if stop.wait(max(0.0, due_s - time.monotonic())):
                    break
        self._producer.flush(timeout=60)
        self._producer.close(timeout=10)
