"""Keeps the connection for people who look and ask; what fails there is counted, and harms none."""

import random
from collections.abc import Callable
from functools import partial
from threading import Event
from typing import Protocol

import structlog

from pipeline.clock import Clock
from pipeline.errors import PublishError
from pipeline.outbox import Outbox
from pipeline.publishers.redis_visits import RedisVisits
from pipeline.rehearsal import rehearsed
from pipeline.retry import backoff_s
from pipeline.status import StatusBoard
from pipeline.tenures import Tenures
from pipeline.visits import Visits
from worker.settings import Settings

RETRY_BASE_S, RETRY_CAP_S = 0.5, 10.0

log = structlog.get_logger("vigil")


class Named(Protocol):
    """A model, as messages name it."""

    @property
    def model_name(self) -> str: ...

    @property
    def is_demo_model(self) -> bool: ...


def visiting(
    settings: Settings,
    visits: Visits,
    *,
    status: StatusBoard,
    tenures: Tenures,
    outbox: Outbox,
    engine: Named,
    clock: Clock,
) -> Callable[[Event], None]:
    """Return what serves visits until told to stop.

    Args:
        settings: name the Redis and the worker.
        visits: has the pictures, and takes the questions.
        status: knows which cameras there are.
        tenures: know under which term test events go.
        outbox: takes test events.
        engine: says which model it is.
        clock: for all of it.
    """

    def rehearse(camera_id: str) -> str:
        event_id, messages = rehearsed(
            camera_id,
            now=clock.now(),
            model=engine.model_name,
            demo_model=engine.is_demo_model,
        )
        outbox.put([tenures.stamped(message) for message in messages])
        return event_id

    new = partial(
        RedisVisits,
        settings.redis.address,
        prefix=settings.redis.prefix,
        worker_id=settings.worker_id,
        clock=clock,
        visits=visits,
        has_camera=lambda camera_id: status.state(camera_id) is not None,
        rehearse=rehearse,
    )
    rng = random.Random()  # noqa: S311 (jitter needs no secrecy)
    return lambda stop: keep_visiting(new, stop, count=visits.count, clock=clock, rng=rng)


class Connection(Protocol):
    """One connection to Redis, by which people are served."""

    def run(self, stop: Event, *, works: Callable[[], object]) -> None: ...

    def close(self) -> None: ...


def keep_visiting(
    new: Callable[[], Connection],
    stop: Event,
    *,
    count: Callable[[str, str], None],
    clock: Clock,
    rng: random.Random,
    what: str = "visits",
) -> None:
    """Serve people until `stop`, over one connection after the other.

    Args:
        new: makes the next connection.
        stop: ends it.
        count: told of failures.
        what: names them in the log.
        clock: for pauses.
        rng: makes them of random length.
    """
    failures, reason = 0, ""

    def works() -> None:
        nonlocal failures, reason
        failures, reason = 0, ""

    while not stop.is_set():
        connection = new()
        try:
            connection.run(stop, works=works)
        except PublishError as error:
            failures += 1
            count("connection", error.reason)
            if error.reason != reason:
                log.warning("visits_failed", what=what, reason=error.reason, detail=error.detail)
            reason = error.reason
        finally:
            connection.close()
        if not stop.is_set():
            pause_s = backoff_s(failures, base_s=RETRY_BASE_S, cap_s=RETRY_CAP_S, rng=rng)
            clock.wait(pause_s, stop)
