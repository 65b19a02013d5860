"""Clips onto a real Redis: bounded with the pictures, and lost where it is away."""

from collections.abc import Callable
from threading import Event, Thread

import redis

from pipeline.clock import SystemClock
from pipeline.metrics import EVIDENCE_LOST
from pipeline.publishers.redis_clips import RedisClips
from pipeline.publishers.redis_evidence import Shelf
from pipeline.publishers.redis_keys import evidence_key, evidence_sizes_key
from tests.fakes import Recorder
from tests.pipeline.test_clips import Camera
from tests.worker.supervised import until

KEY = evidence_key("vigil", "yard", "e-1", "clip")
SMALL_BYTES = 100


def cut(camera: Camera, url: str, shelf: Shelf, *, done: Callable[[], object]) -> None:
    """Begin an event, and let its clip be cut and put, until `done`."""
    camera.shows(0, 20)
    assert camera.begins(10.0) is not None
    stop = Event()
    clips = RedisClips(url, prefix="vigil", clock=SystemClock(), clips=camera.clips, shelf=shelf)
    thread = Thread(target=lambda: clips.run(stop))
    thread.start()
    try:
        until(done, limit_s=60.0)
    finally:
        stop.set()
        thread.join()


def test_a_clip_expires_and_is_counted_in_the_bound_of_all(redis_url: str) -> None:
    camera = Camera()
    with redis.Redis.from_url(redis_url) as client:
        cut(camera, redis_url, Shelf(60.0, 1 << 20), done=lambda: client.exists(KEY))
        assert 0 < client.pttl(KEY) <= 60_000
        mp4 = client.get(KEY)
        assert mp4 is not None
        assert client.hget(evidence_sizes_key("vigil"), KEY) == str(len(mp4)).encode()


def test_one_that_is_too_large_is_lost_and_counted(redis_url: str) -> None:
    camera, observer = Camera(), Recorder()
    shelf = Shelf(60.0, SMALL_BYTES, observer)
    cut(camera, redis_url, shelf, done=lambda: observer.total(EVIDENCE_LOST, reason="max_bytes"))
    with redis.Redis.from_url(redis_url) as client:
        assert not client.exists(KEY)


def test_one_that_finds_no_redis_is_lost_and_counted(refused_port: int) -> None:
    camera, observer = Camera(), Recorder()
    shelf = Shelf(60.0, 1 << 20, observer)
    url = f"redis://127.0.0.1:{refused_port}"
    cut(camera, url, shelf, done=lambda: observer.total(EVIDENCE_LOST, reason="unreachable"))
