"""Makes the connections that deliver messages to Redis."""

from collections.abc import Callable
from functools import partial

from pipeline.clock import Clock
from pipeline.observer import UNOBSERVED, Observer
from pipeline.publishers.base import NO_CAMERAS, Cameras
from pipeline.publishers.redis import RedisPublisher
from worker.evidence import keeping
from worker.settings import Settings


def redis_publishers(
    settings: Settings,
    *,
    clock: Clock,
    worker_id: str = "",
    run_id: str = "",
    cameras: Cameras = NO_CAMERAS,
    observer: Observer = UNOBSERVED,
) -> Callable[[], RedisPublisher]:
    """Return what makes a connection to Redis.

    Args:
        settings: name the server.
        clock: stamps what is published.
        worker_id: stands in for the settings' own.
        run_id: one that starts again with the same may publish at once.
        cameras: what the worker knows of its cameras.
        observer: told of pictures that Redis does not take.
    """
    return partial(
        RedisPublisher,
        settings.redis.address,
        prefix=settings.redis.prefix,
        worker_id=worker_id or settings.worker_id,
        clock=clock,
        run_id=run_id,
        keeping=keeping(settings, observer),
        heartbeat_s=settings.redis.heartbeat,
        cameras=cameras,
    )
