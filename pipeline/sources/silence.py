"""Which cameras of a topic have stopped sending, of those whose records come to this member."""

from collections.abc import Iterable
from threading import Lock

from pipeline.clock import Clock


class Silence:
    """When each camera's last good picture came, by partition. Safe from any thread."""

    def __init__(self, clock: Clock) -> None:
        """Begin without a camera."""
        self._clock = clock
        self._lock = Lock()
        self._heard_s: dict[int, dict[str, float]] = {}

    def heard(self, partition: int, camera_ids: Iterable[str]) -> None:
        """Note that good pictures of these came, or were to come, by a partition just now."""
        now_s = self._clock.monotonic_s()
        with self._lock:
            heard_s = self._heard_s.setdefault(partition, {})
            heard_s.update(dict.fromkeys(camera_ids, now_s))

    def held_back(self, partition: int) -> None:
        """Note that a partition is not read on: what waits in it is not its cameras' fault."""
        with self._lock:
            known = list(self._heard_s.get(partition, ()))
        self.heard(partition, known)

    def gone(self, partition: int) -> list[str]:
        """Note that a partition is another member's now; return whose records came by it."""
        with self._lock:
            return list(self._heard_s.pop(partition, ()))

    def knows(self, camera_id: str) -> bool:
        """Say whether anything was heard of the camera, or is waited for."""
        with self._lock:
            return any(camera_id in heard_s for heard_s in self._heard_s.values())

    def longer_than(self, limit_s: float) -> frozenset[str]:
        """Return the cameras of whom nothing has come for so long."""
        since_s = self._clock.monotonic_s() - limit_s
        with self._lock:
            last_s: dict[str, float] = {}
            for heard_s in self._heard_s.values():
                for camera_id, one_s in heard_s.items():
                    last_s[camera_id] = max(one_s, last_s.get(camera_id, one_s))
        return frozenset(camera_id for camera_id, one_s in last_s.items() if one_s < since_s)
