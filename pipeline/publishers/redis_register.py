"""The register: one hash that names every camera, the worker that has it, and what is asked of it.

A reader finds there what it would else have to scan for. A worker that stops leaves its entries,
which then say `offline`; one that was killed leaves them as they were. Whether an owner lives is
told by its heartbeat.
"""

import json
from collections.abc import Mapping
from typing import Any

import redis

from pipeline.publishers import redis_scripts as scripts
from pipeline.publishers.base import Cameras
from pipeline.publishers.redis_keys import cameras_key, heartbeat_key


class Register:
    """Keeps a worker's entries as they should be."""

    def __init__(self, prefix: str, worker_id: str, *, lives_ms: int, cameras: Cameras) -> None:
        """Note whose.

        Args:
            prefix: of the keys.
            worker_id: the worker; it takes away and overwrites no living worker's entries.
            lives_ms: the hash expires so long after a worker last wrote to it.
            cameras: what the worker knows of its cameras.
        """
        self._prefix = prefix
        self._worker_id = worker_id
        self._lives_ms = lives_ms
        self._cameras = cameras

    def write(self, client: redis.Redis) -> list[Any]:
        """Write what is known now, and take away what is gone, in one round trip.

        Returns:
            For each camera 1 where its entry is as it should be, 0 where it is another worker's, or
            the server's refusal.

        Raises:
            RedisError, OSError: the server cannot be reached.
        """
        entries = self._cameras.entries()
        pipe = client.pipeline(transaction=False)
        for camera_id, entry in entries.items():
            told = {"owner": self._worker_id, "term": 0, **entry}
            value = json.dumps(told, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
            pipe.eval(scripts.ENTER, 1, *self._about(camera_id, value, term=told["term"]))
        for camera_id, questions in self._cameras.questions().items():
            if questions is None and camera_id not in entries:
                pipe.eval(scripts.LEAVE, 1, *self._about(camera_id, b"", term=0))
        return pipe.execute(raise_on_error=False)

    def _about(self, camera_id: str, value: bytes, *, term: object) -> tuple[Any, ...]:
        return (
            cameras_key(self._prefix),
            camera_id,
            self._worker_id,
            value,
            str(term),
            heartbeat_key(self._prefix, ""),
            self._lives_ms,
        )


def camera_of(entry: bytes | str) -> Mapping[str, Any] | None:
    """Read an entry of the register; None where it is none."""
    try:
        found = json.loads(entry)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("owner"), str) else None
