"""Makes the connections that deliver messages to Redis."""

from collections.abc import Callable
from functools import partial

from pipeline.clock import Clock
from pipeline.publishers.base import NO_CAMERAS, Cameras
from pipeline.publishers.redis import Keeping, RedisPublisher
from worker.settings import Settings


def redis_publishers(
    settings: Settings,
    *,
    clock: Clock,
    worker_id: str = "",
    run_id: str = "",
    cameras: Cameras = NO_CAMERAS,
) -> Callable[[], RedisPublisher]:
    """Return what makes a connection to Redis.

    Args:
        settings: name the server.
        clock: stamps what is published.
        worker_id: stands in for the settings' own.
        run_id: one that starts again with the same may publish at once.
        cameras: what the worker knows of its cameras.
    """
    return partial(
        RedisPublisher,
        settings.redis.address,
        prefix=settings.redis.prefix,
        worker_id=worker_id or settings.worker_id,
        clock=clock,
        run_id=run_id,
        keeping=Keeping(settings.redis.stream_max_len),
        heartbeat_s=settings.redis.heartbeat,
        cameras=cameras,
    )
