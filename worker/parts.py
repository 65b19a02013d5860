"""What the supervisor runs, whatever classes stand behind it."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.clock import Clock
from pipeline.intake import Intake
from pipeline.lane import Lanes
from pipeline.load import Load
from pipeline.outbox import Outbox
from pipeline.publishers.base import Publisher
from pipeline.runner import Runner
from pipeline.sources.base import FrameSource
from pipeline.status import StatusBoard
from pipeline.types import Overflow, Tell, Wanted
from worker.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Retry:
    """The first and the longest pause before a feed connects again."""

    base_s: float
    cap_s: float


@dataclass(frozen=True, slots=True)
class Feed:
    """One source to be kept running: a camera of its own, or a topic of many.

    Attributes:
        name: the camera's id, or the topic's name, for people.
        camera_ids: cameras known beforehand.
        overflow: what its lanes do when the model is slower.
        build: makes the next connection, given what it asks of each picture and whom it tells.
        is_endless: whether an end is a failure to be retried.
        retry: pauses before the next connection.
        stuck_after_s: a thread that waits in its driver for so long is given up and replaced; None
            where a source may wait for ever.
    """

    name: str
    camera_ids: tuple[str, ...]
    overflow: Overflow
    build: Callable[[Wanted, Tell], FrameSource]
    is_endless: bool
    retry: Retry
    stuck_after_s: float | None


@dataclass(frozen=True, slots=True)
class Health:
    """The worker's own HTTP port, and how it knows that its model hangs.

    Attributes:
        bind: address to listen on.
        port: 0 picks a free one.
        stall_after_s: an inference thread silent for so long ends the process.
    """

    bind: str
    port: int
    stall_after_s: float


@dataclass(frozen=True, slots=True)
class Worker:
    """Everything the supervisor runs; `about` says what model it is, for logs and status.

    `new_runner` is called on the thread that infers, `new_intake` for every thread of a feed.
    """

    clock: Clock
    feeds: tuple[Feed, ...]
    lanes: Lanes
    load: Load
    outbox: Outbox
    status: StatusBoard
    metrics: Metrics
    health: Health
    new_intake: Callable[[Feed], Intake]
    new_runner: Callable[[], Runner]
    new_publisher: Callable[[], Publisher]
    about: Mapping[str, str | bool]
    rng: random.Random
