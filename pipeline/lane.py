"""Where a camera's frames wait for the model: the one place where live frames may be dropped."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition

from pipeline.pruner import Pruner
from pipeline.types import Frame, Overflow, SentFrame


@dataclass(frozen=True, slots=True)
class LaneCounts:
    """What went through a lane since it was opened; offered = taken + dropped + waiting."""

    offered: int
    taken: int
    dropped: int
    waiting: int


class Lane:
    """One place for one frame between a camera's thread and the inference thread.

    `offer` prunes on the camera's thread, against what the model has really seen; `take` makes the
    waiting frame part of that. Both hold the lane's lock, so the keep mask of a frame that is taken
    is always exact, however many frames were dropped before it.
    """

    def __init__(
        self,
        camera_id: str,
        pruner: Pruner,
        *,
        overflow: Overflow,
        arrived: Condition,
        closed: Callable[[], bool],
    ) -> None:
        self.camera_id = camera_id
        self._pruner = pruner
        self._overflow = overflow
        self._arrived = arrived
        self._closed = closed
        self._waiting: SentFrame | None = None
        self._offered = 0
        self._taken = 0
        self._dropped = 0

    def offer(self, frame: Frame) -> Frame | None:
        """Put a frame in; return the one that was dropped for it, or None.

        Under `Overflow.WAIT` this blocks while a frame is waiting. Once the lanes are closed the
        frame itself is what is dropped.
        """
        with self._arrived:
            while (
                self._overflow is Overflow.WAIT and self._waiting is not None and not self._closed()
            ):
                self._arrived.wait()
            self._offered += 1
            if self._closed():
                self._dropped += 1
                return frame
            dropped = self._waiting
            self._dropped += dropped is not None
            self._waiting = SentFrame(frame, self._pruner.prune(frame))
            self._arrived.notify_all()
            return dropped.frame if dropped else None

    def take(self) -> SentFrame | None:
        """Return the waiting frame, which from now on is what the model has seen, or None."""
        with self._arrived:
            sent, self._waiting = self._waiting, None
            if sent is None:
                return None
            self._taken += 1
            self._pruner.sent(sent.pruned)
            self._arrived.notify_all()
            return sent

    def reset(self) -> None:
        """Make the next frame a refresh; one that waits is pruned again as such."""
        with self._arrived:
            self._pruner.reset()
            if self._waiting is not None:
                frame = self._waiting.frame
                self._waiting = SentFrame(frame, self._pruner.prune(frame))

    @property
    def counts(self) -> LaneCounts:
        """A consistent snapshot."""
        with self._arrived:
            return LaneCounts(
                self._offered, self._taken, self._dropped, int(self._waiting is not None)
            )


class Lanes:
    """Every camera's lane, opened on first sight.

    The lanes share one condition: the inference thread sleeps on all of them at once, and pruning
    takes less than a millisecond, so cameras do not get in each other's way.
    """

    def __init__(self, new_pruner: Callable[[str], Pruner]) -> None:
        self._new_pruner = new_pruner
        self._arrived = Condition()
        self._lanes: dict[str, Lane] = {}
        self._is_closed = False

    def lane(self, camera_id: str, *, overflow: Overflow) -> Lane:
        """Return the camera's lane; the first call opens it with this overflow policy."""
        with self._arrived:
            if camera_id not in self._lanes:
                self._lanes[camera_id] = Lane(
                    camera_id,
                    self._new_pruner(camera_id),
                    overflow=overflow,
                    arrived=self._arrived,
                    closed=lambda: self._is_closed,
                )
            return self._lanes[camera_id]

    def take(self, timeout_s: float) -> list[SentFrame]:
        """Wait for frames, then take at most one of every camera, in camera order."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._is_closed or self._is_waiting(), timeout_s)
            taken = [self._lanes[camera_id].take() for camera_id in sorted(self._lanes)]
        return [sent for sent in taken if sent is not None]

    def counts(self) -> dict[str, LaneCounts]:
        """Counts by camera."""
        with self._arrived:
            return {camera_id: lane.counts for camera_id, lane in self._lanes.items()}

    def close(self) -> None:
        """Let every blocked `offer` and `take` return."""
        with self._arrived:
            self._is_closed = True
            self._arrived.notify_all()

    def _is_waiting(self) -> bool:
        return any(lane.counts.waiting for lane in self._lanes.values())
