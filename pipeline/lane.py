"""Where a camera's frames wait for the model: the one place where live frames may be dropped."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition, Lock, Semaphore

from pipeline.clock import Clock
from pipeline.pruner import Pruner
from pipeline.types import Frame, Overflow, PrunedSample

PRUNED_AT_ONCE = 2
"""Frames, of all cameras. Pruning is a few large steps of numpy, beside which other threads run,
and many small ones, which need the interpreter. Two threads take turns with it. A hundred, as the
cameras of one tick come together, spent 5 ms a frame on that instead of 0.8, and starved the thread
that infers."""


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
    waiting frame part of that. Both have the pruner to themselves meanwhile, so the keep mask of a
    frame that is taken is always exact, however many frames were dropped before it. Only where a
    newer frame is being pruned does `take` wait for it: another camera's pruning delays nobody.
    """

    def __init__(
        self,
        camera_id: str,
        pruner: Pruner,
        *,
        overflow: Overflow,
        clock: Clock,
        arrived: Condition,
        gate: Semaphore,
        closed: Callable[[], bool],
        burst_s: float,
    ) -> None:
        self.camera_id = camera_id
        self.is_live = overflow is Overflow.LATEST
        # Taken in this order. The last is shared by all lanes too, and held for moments only.
        self._turn = Lock()  # to offer: a thread that was given up may come back beside the next
        self._gate = gate  # shared by all lanes: so many prune at once
        self._pruning = Lock()  # whoever has it uses the pruner, and may change what waits
        self._arrived = arrived
        self._pruner = pruner
        self._clock = clock
        self._closed = closed
        self._burst_s = burst_s
        self._waiting: PrunedSample | None = None
        self._since_s = (
            0.0  # when the oldest frame came that was not taken, dropped ones among them
        )
        self._offered = 0
        self._taken = 0
        self._dropped = 0
        self.num_overdue = 0  # of those dropped: the model had time for them

    def offer(self, frame: Frame) -> Frame | None:
        """Put a frame in; return the one that was dropped for it, or None.

        Under `Overflow.WAIT` this blocks while a frame is waiting, unless another worker has taken
        its record over meanwhile. Once the lanes are closed the frame itself is what is dropped.
        """
        with self._turn:
            with self._arrived:
                while self._is_full() and not self._closed():
                    self._arrived.wait()
                if self._closed():
                    return self._refused(frame)
                arrived_s = self._clock.monotonic_s()
            with self._gate, self._pruning:
                sample = self._pruned(frame, arrived_s)
                with self._arrived:
                    return self._refused(frame) if self._closed() else self._put(sample)

    def take(self) -> PrunedSample | None:
        """Return the waiting frame, which from now on is what the model has seen, or None."""
        with self._pruning:
            with self._arrived:
                sent, self._waiting = self._waiting, None
                if sent is None:
                    return None
                self._taken += 1
                self._arrived.notify_all()
            self._pruner.sent(sent.pruned)
            return sent

    def reset(self) -> None:
        """Make the next frame a refresh; one that waits is pruned again as such."""
        with self._pruning:
            self._pruner.reset()
            self._prune_again()
        with self._arrived:
            self._arrived.notify_all()  # one that waits may be worth nothing any more

    def adopt(self, pruner: Pruner) -> None:
        """Go on with another pruner, and so with another idea of what the model has seen."""
        with self._pruning:
            self._pruner = pruner
            self._prune_again()

    def raise_threshold(self, ratio: float) -> None:
        """Prune the frames to come with so many times the pruner's own threshold."""
        self._pruner.threshold_ratio = ratio  # which is looked at once a frame

    @property
    def waiting(self) -> PrunedSample | None:
        """The frame that waits, or None."""
        return self._waiting

    @property
    def rank(self) -> tuple[float, str]:
        """Where this camera stands in the queue: a newer frame does not send it to the end."""
        return self._since_s, self.camera_id

    @property
    def counts(self) -> LaneCounts:
        """A consistent snapshot."""
        with self._arrived:
            return LaneCounts(
                self._offered, self._taken, self._dropped, int(self._waiting is not None)
            )

    def _is_full(self) -> bool:
        is_worth = self._waiting is not None and not self._waiting.frame.has_moved
        return is_worth and not self.is_live

    def _refused(self, frame: Frame) -> Frame:
        self._offered += 1
        self._dropped += 1
        return frame

    def _put(self, sample: PrunedSample) -> Frame | None:
        """Let a frame wait; return the one it takes the place of."""
        dropped, self._waiting = self._waiting, sample
        self._offered += 1
        if dropped is None:
            self._since_s = sample.arrived_s
        else:
            self._dropped += 1
            self.num_overdue += sample.arrived_s - dropped.arrived_s >= self._burst_s
        self._arrived.notify_all()
        return dropped.frame if dropped else None

    def _prune_again(self) -> None:
        """Compare the frame that waits with what the pruner now takes for seen."""
        if (waiting := self._waiting) is not None:
            self._waiting = self._pruned(waiting.frame, waiting.arrived_s)

    def _pruned(self, frame: Frame, arrived_s: float) -> PrunedSample:
        return PrunedSample(frame, self._pruner.prune(frame), arrived_s, self.is_live)


class Lanes:
    """Every camera's lane, opened on first sight.

    The lanes share one condition, on which the inference thread sleeps. Nothing is pruned under it,
    so a camera that is pruned holds up neither that thread nor other cameras' frames.
    """

    def __init__(
        self,
        new_pruner: Callable[[str], Pruner],
        *,
        clock: Clock,
        burst_s: float = 0.0,
        is_held: Callable[[str], bool] = lambda _camera_id: False,
    ) -> None:
        """Begin without a lane.

        Args:
            new_pruner: makes a camera's, by its id.
            clock: for arrivals.
            burst_s: a frame that gave way to one that came sooner than this after it was part of a
                burst of its camera's own, as after a reconnection, and no sign of load.
            is_held: whether a camera's frame is not to be taken yet; `wake` after it was not.
        """
        self._new_pruner = new_pruner
        self._clock = clock
        self._burst_s = burst_s
        self._is_held = is_held
        self._arrived = Condition()
        self._gate = Semaphore(PRUNED_AT_ONCE)
        self._lanes: dict[str, Lane] = {}
        self._threshold_ratio = 1.0
        self._is_closed = False

    def lane(self, camera_id: str, *, overflow: Overflow) -> Lane:
        """Return the camera's lane; the first call opens it with this overflow policy."""
        with self._arrived:
            if camera_id not in self._lanes:
                self._lanes[camera_id] = Lane(
                    camera_id,
                    self.new_pruner(camera_id),
                    overflow=overflow,
                    clock=self._clock,
                    arrived=self._arrived,
                    gate=self._gate,
                    closed=lambda: self._is_closed,
                    burst_s=self._burst_s,
                )
            return self._lanes[camera_id]

    def wait(self, timeout_s: float) -> PrunedSample | None:
        """Wait for a frame; return the one that should go first, without taking it, or None.

        A frame whose source is held back goes before all live ones, and an older one before a
        newer one.
        """
        with self._arrived:
            self._arrived.wait_for(lambda: self._is_closed or self._queue(), timeout_s)
            queue = self._queue()
            return min(queue, key=lambda lane: lane.is_live).waiting if queue else None

    def take(self, max_frames: int | None = None) -> list[PrunedSample]:
        """Take at most one frame of every camera, who waited longest first; all where None."""
        with self._arrived:
            queue = self._queue()[:max_frames]
        taken = [lane.take() for lane in queue]
        return [sent for sent in taken if sent is not None]

    def wake(self) -> None:
        """Look again at which cameras are held."""
        with self._arrived:
            self._arrived.notify_all()

    def reset(self, camera_id: str) -> None:
        """Make a camera's next frame a refresh."""
        with self._arrived:
            lane = self._lanes.get(camera_id)
        if lane is not None:
            lane.reset()

    def new_pruner(self, camera_id: str) -> Pruner:
        """Make a pruner as the camera's lane has one."""
        with self._arrived:
            pruner = self._new_pruner(camera_id)
            pruner.threshold_ratio = self._threshold_ratio
            return pruner

    def adopt(self, camera_id: str, pruner: Pruner) -> None:
        """Let a camera's lane go on with another pruner; one that waits is pruned again."""
        with self._arrived:
            pruner.threshold_ratio = self._threshold_ratio
            lane = self._lanes[camera_id]
        lane.adopt(pruner)

    def raise_threshold(self, ratio: float) -> None:
        """Prune all cameras' frames to come with so many times the threshold."""
        with self._arrived:
            self._threshold_ratio = ratio
            for lane in self._lanes.values():
                lane.raise_threshold(ratio)

    def is_waiting(self, camera_id: str) -> bool:
        """Say whether a frame of a camera waits."""
        with self._arrived:
            return camera_id in self._lanes and self._lanes[camera_id].waiting is not None

    def counts(self) -> dict[str, LaneCounts]:
        """Counts by camera."""
        with self._arrived:
            return {camera_id: lane.counts for camera_id, lane in self._lanes.items()}

    @property
    def num_overdue(self) -> int:
        """Live frames, of all cameras, that gave way to newer ones because the model was slow."""
        with self._arrived:
            return sum(lane.num_overdue for lane in self._lanes.values() if lane.is_live)

    def close(self) -> None:
        """Let every blocked `offer` and `wait` return."""
        with self._arrived:
            self._is_closed = True
            self._arrived.notify_all()

    def _queue(self) -> list[Lane]:
        waiting = [
            lane
            for lane in self._lanes.values()
            if lane.waiting is not None and not self._is_held(lane.camera_id)
        ]
        return sorted(waiting, key=lambda lane: lane.rank)
