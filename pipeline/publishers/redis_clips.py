"""Clips of events onto Redis, past the outbox: what Redis does not take is lost, and counted."""

from threading import Event

from redis.exceptions import RedisError

from pipeline.clips import Clips
from pipeline.clock import Clock
from pipeline.publishers.redis_client import connect
from pipeline.publishers.redis_evidence import Shelf

LOOK_S = 0.5  # how long a clip may lie after its time


class RedisClips:
    """Cuts clips and puts them where pictures are, over one connection, from one thread."""

    def __init__(self, url: str, *, prefix: str, clock: Clock, clips: Clips, shelf: Shelf) -> None:
        """Note where; connect with the first clip.

        Args:
            url: as `redis_address` reads it.
            prefix: of the keys.
            clock: says when they expire.
            clips: what to cut.
            shelf: where to put it, and who is told of what is lost.

        Raises:
            ConfigError: the URL cannot be read.
        """
        self._redis = connect(url)
        self._prefix = prefix
        self._clock = clock
        self._clips = clips
        self._shelf = shelf

    def run(self, stop: Event) -> None:
        """Cut until `stop`. A Redis that is away is asked again with the next clip."""
        while not stop.is_set():
            if (found := self._clips.next(LOOK_S)) is not None:
                clip, mp4 = found
                self._put(clip.key, mp4)
        self._redis.close()

    def _put(self, key: str, mp4: bytes) -> None:
        reply: object
        try:
            reply = self._shelf.put_one(
                self._redis, key, data=mp4, prefix=self._prefix, at=self._clock.now()
            )
        except (RedisError, OSError, UnicodeError) as error:
            reply = error
        self._shelf.judge(reply)
