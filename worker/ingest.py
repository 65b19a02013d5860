"""Builds the parts of `vigil ingest`; the supervisor runs them as it runs a worker's.

An outlet stands where a worker has a lane, the buffer where it has the outbox, and Kafka where it
has Redis. Of the intake, the samplers and the sources there is one kind.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock

from pipeline.clock import Clock
from pipeline.errors import OutboxError
from pipeline.freeze_watch import FreezeWatch
from pipeline.intake import Condition, Intake, Settlements
from pipeline.lane import LaneCounts
from pipeline.load import Load
from pipeline.messages import Message
from pipeline.sampler import Sampler
from pipeline.sinks.buffer import FrameBuffer
from pipeline.sinks.kafka import KafkaWriter
from pipeline.sinks.outlet import Outlet, OutRecord, encoder
from pipeline.sources.base import FrameSource
from pipeline.sources.kafka import connector_of
from pipeline.status import StatusBoard
from pipeline.ticks import Ticks
from pipeline.types import StatusReason, Tell, Wanted
from worker.feeds import camera_feeds, kafka_config
from worker.metrics import Metrics
from worker.parts import Feed, Health, Process
from worker.settings import Settings


class Outlets:
    """The cameras' outlets, each made when it is first asked for. Safe from any thread."""

    def __init__(self, new: Callable[[str], Outlet]) -> None:
        """Begin without any; `new` makes a camera's, by its id."""
        self._new = new
        self._lock = Lock()
        self._outlets: dict[str, Outlet] = {}

    def of(self, camera_id: str) -> Outlet:
        """Return a camera's."""
        with self._lock:
            if camera_id not in self._outlets:
                self._outlets[camera_id] = self._new(camera_id)
            return self._outlets[camera_id]

    def counts(self) -> dict[str, LaneCounts]:
        """Counts by camera: everything that is offered is taken."""
        with self._lock:
            numbers = {key: one.num_offered for key, one in self._outlets.items()}
        return {key: LaneCounts(number, number, 0, 0) for key, number in numbers.items()}

    def close(self) -> None:
        """Do nothing: what was offered is in the buffer."""


def build(settings: Settings, *, clock: Clock) -> Process:
    """Open the buffer and lay the pipes; nothing is connected yet.

    Raises:
        OutboxError: the buffer cannot be opened.
    """
    metrics = Metrics()
    buffer = _open_buffer(settings, clock=clock, metrics=metrics)
    status = StatusBoard(_tell_nobody, clock=clock)
    outlets = Outlets(partial(_new_outlet, settings, buffer.put, status, metrics, clock))
    period_s = 1.0 / settings.sample_fps
    ticks = Ticks(period_s=period_s, per_period=settings.ticks)
    load = Load(
        max_age_s=settings.load.max_age,
        period_s=period_s,
        recover_after_s=settings.load.recover_after,
    )

    def new_intake(_feed: Feed) -> Intake:
        return Intake(
            outlets.of,
            status,
            sampler=Sampler(period_s, is_live=True, ticks=ticks, load=load, clock=clock),
            private={key: camera.private for key, camera in settings.cameras.items()},
            freeze_watch=FreezeWatch(
                settings.pruner.frozen_after,
                clock=clock,
                ignore={key: camera.ignore for key, camera in settings.cameras.items()},
            ),
            condition_of=lambda _camera_id: Condition(),
            settlements=Settlements(),
            observer=metrics,
        )

    config = kafka_config(settings)
    return Process(
        clock=clock,
        feeds=tuple(
            _telling(feed, outlets)
            for feed in camera_feeds(settings, clock=clock, observer=metrics)
        ),
        lanes=outlets,
        load=load,
        outbox=buffer,
        status=status,
        metrics=metrics,
        health=Health(settings.health.bind, settings.health.port, settings.health.stall),
        new_intake=new_intake,
        new_runner=lambda: buffer,
        new_publisher=lambda: KafkaWriter(
            connector_of(config), topic=config.topic, timeout_s=config.connect_timeout_s
        ),
        about={"role": "ingest", "topic": config.topic},
        rng=random.Random(),  # noqa: S311 (jitter needs no secrecy)
    )


def _open_buffer(settings: Settings, *, clock: Clock, metrics: Metrics) -> FrameBuffer:
    chosen = settings.ingest.buffer
    path = None if chosen.path == "memory" else Path(chosen.path)
    try:
        return FrameBuffer(path, max_bytes=chosen.max_bytes, clock=clock, observer=metrics)
    except OutboxError as error:
        raise OutboxError(f"VIGIL_INGEST__BUFFER__PATH: {error}") from None


def _new_outlet(
    settings: Settings,
    put: Callable[[OutRecord], bool],
    status: StatusBoard,
    metrics: Metrics,
    clock: Clock,
    camera_id: str,
) -> Outlet:
    ingest = settings.ingest
    return Outlet(
        camera_id,
        put,
        encode=encoder(ingest.format, quality=ingest.quality),
        status=status,
        whole_every_s=min(ingest.whole_every, settings.window / 4),
        clock=clock,
        observer=metrics,
    )


def _telling(feed: Feed, outlets: Outlets) -> Feed:
    """Let a feed's outlet hear too what its source tells of the camera."""

    def build_source(wanted: Wanted, tell: Tell) -> FrameSource:
        def told(camera_id: str, reason: StatusReason, detail: str | None) -> None:
            tell(camera_id, reason, detail)
            if detail is not None:
                outlets.of(camera_id).told(reason)

        return feed.build(wanted, told)

    return replace(feed, build=build_source)


def _tell_nobody(_message: Message) -> None:
    """Leave a status to the log and the health port: workers hear of it by the records."""
