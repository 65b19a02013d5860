"""What the supervisor runs, whatever classes stand behind it."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.admission_backlog import AdmissionBacklog
from pipeline.clock import Clock
from pipeline.lane import Lanes
from pipeline.load import Load
from pipeline.outbox import Outbox
from pipeline.publishers.base import Publisher
from pipeline.runner import Runner
from pipeline.sources.base import FrameSource
from pipeline.ticks import Ticks
from pipeline.types import Overflow, Settle, Wanted
from worker.metrics import Metrics
from worker.settings import Settings
from worker.status import StatusBoard


@dataclass(frozen=True, slots=True)
class Feed:
    """One source to be kept running: a camera of its own, or a topic of many.

    Attributes:
        name: the camera's id, or the topic's.
        camera_ids: cameras known beforehand.
        overflow: what its lanes do when the model is slower.
        build: makes the next connection.
        is_endless: whether an end is a failure to be retried.
    """

    name: str
    camera_ids: tuple[str, ...]
    overflow: Overflow
    build: Callable[[Wanted], FrameSource]
    is_endless: bool


@dataclass(frozen=True, slots=True)
class Worker:
    """Everything the supervisor runs; `about` says what model it is, for logs and status."""

    settings: Settings
    clock: Clock
    feeds: tuple[Feed, ...]
    lanes: Lanes
    ticks: Ticks
    load: Load
    admission_backlog: AdmissionBacklog
    outbox: Outbox
    status: StatusBoard
    metrics: Metrics
    new_runner: Callable[[Settle], Runner]
    new_publisher: Callable[[], Publisher]
    about: Mapping[str, str]
    rng: random.Random
