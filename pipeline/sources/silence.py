"""Which cameras of a topic have stopped sending, of those whose records come to this member."""

from collections.abc import Container, Iterable
from threading import Lock

from pipeline.clock import Clock


class Silence:
    """When each camera's last good picture came, by partition. Safe from any thread.

    It outlives a connection: the next one finds out which partitions have not come back.
    """

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

    def expect(self, partition: int, camera_ids: Iterable[str]) -> None:
        """Wait by a partition for those of these of whom nothing was heard yet."""
        with self._lock:
            known = {one for heard_s in self._heard_s.values() for one in heard_s}
        self.heard(partition, [one for one in camera_ids if one not in known])

    def elsewhere(self, here: Container[int]) -> list[str]:
        """Note that all other partitions are other members'; return who came by those alone."""
        with self._lock:
            others = [one for one in self._heard_s if one not in here]
            gone = {one for other in others for one in self._heard_s.pop(other)}
            return sorted(gone.difference(*self._heard_s.values()))

    def longer_than(self, limit_s: float, *, here: Container[int]) -> frozenset[str]:
        """Return the cameras of whom nothing has come for so long, of those that come by these."""
        since_s = self._clock.monotonic_s() - limit_s
        with self._lock:
            last_s: dict[str, float] = {}
            for partition, heard_s in self._heard_s.items():
                for camera_id, one_s in heard_s.items() if partition in here else ():
                    last_s[camera_id] = max(one_s, last_s.get(camera_id, one_s))
        return frozenset(camera_id for camera_id, one_s in last_s.items() if one_s < since_s)
