"""What the supervisor runs, whatever classes stand behind it."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Protocol, TypeVar

from pipeline.clock import Clock
from pipeline.engine import Engine
from pipeline.intake import Intake
from pipeline.lane import LaneCounts, Lanes
from pipeline.load import Load
from pipeline.outbox import Outbox
from pipeline.publishers.base import Publisher, nothing_new
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


class Ways(Protocol):
    """Where the cameras' frames go from their intake: the lanes."""

    def counts(self) -> Mapping[str, LaneCounts]: ...

    def close(self) -> None: ...


class Waiting(Protocol):
    """What waits for delivery: the outbox."""

    @property
    def num_waiting(self) -> int: ...

    @property
    def num_set_aside(self) -> int: ...

    @property
    def trouble(self) -> str: ...

    def close(self) -> None: ...


W_contra = TypeVar("W_contra", bound=Waiting, contravariant=True)


class Delivery(Protocol[W_contra]):
    """One connection to where that goes: a `Publisher` of the outbox."""

    def run(
        self,
        outbox: W_contra,
        stop: Event,
        *,
        fields: Callable[[], Mapping[str, object]] = dict,
        works: Callable[[], bool] = nothing_new,
    ) -> None: ...

    def close(self) -> None: ...


class Middle(Protocol):
    """What lies between: inference, on a thread whose beat says that the process is alive."""

    def run(self, stop: Event, *, beat: Callable[[], None]) -> None: ...


class Served(Engine, Protocol):
    """What a worker asks of a model."""

    @property
    def is_on_cpu(self) -> bool:
        """Whether it runs on the CPU."""
        ...


@dataclass(frozen=True, slots=True)
class Process:
    """Everything the supervisor runs; `about` says what it is, for logs and status.

    `new_runner` is called on the thread that infers, `new_intake` for every thread of a feed;
    `adopt`, where there is one, sends until its stop what workers that are gone have left;
    `serve` has, by the names of their threads, what serves people until told to stop.
    """

    clock: Clock
    feeds: tuple[Feed, ...]
    lanes: Ways
    load: Load
    outbox: Waiting
    status: StatusBoard
    metrics: Metrics
    health: Health
    new_intake: Callable[[Feed], Intake]
    new_runner: Callable[[], Middle]
    new_publisher: Callable[[], Delivery[Any]]
    about: Mapping[str, str | bool]
    rng: random.Random
    adopt: Callable[[Event], None] | None = field(default=None, kw_only=True)
    serve: Mapping[str, Callable[[Event], None]] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True, slots=True)
class Worker(Process):
    """The parts of a process that watches."""

    lanes: Lanes
    outbox: Outbox
    new_runner: Callable[[], Runner]
    new_publisher: Callable[[], Publisher]
