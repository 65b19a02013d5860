from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from threading import Event, Lock, Thread

import numpy as np
import pytest

from model.types import PrunedFrame
from pipeline.clock import SystemClock
from pipeline.lane import PRUNED_AT_ONCE, Lanes
from pipeline.pruner import Pruner
from pipeline.types import Frame, Overflow
from tests.fakes import FakeClock, frame_at, picture

LONG_S = 60.0  # far beyond what is waited for


class WatchedPruner(Pruner):
    """A pruner that writes down what is asked of it, and refuses to be used by two at once."""

    def __init__(self) -> None:
        super().__init__()
        self._alone = Lock()
        self.steps: list[tuple[str, float]] = []

    @contextmanager
    def _used(self, step: str, pts_s: float) -> Iterator[None]:
        assert self._alone.acquire(blocking=False), "two threads use one camera's pruner"
        try:
            self.steps.append((step, pts_s))
            yield
        finally:
            self._alone.release()

    def prune(self, frame: Frame) -> PrunedFrame:
        with self._used("prune", frame.pts_s):
            return super().prune(frame)

    def sent(self, pruned: PrunedFrame) -> None:
        with self._used("sent", pruned.pts_s):
            super().sent(pruned)

    def reset(self) -> None:
        with self._used("reset", -1.0):
            super().reset()


class HeldPruner(Pruner):
    """A pruner that begins with a frame, and goes on when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun, self.may_go_on = Event(), Event()

    def prune(self, frame: Frame) -> PrunedFrame:
        self.has_begun.set()
        assert self.may_go_on.wait(LONG_S)
        return super().prune(frame)


@contextmanager
def joined(*threads: Thread) -> Iterator[None]:
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(LONG_S)
        assert not thread.is_alive()


@pytest.mark.parametrize("overflow", [Overflow.LATEST, Overflow.WAIT])
@pytest.mark.parametrize("has_resets", [False, True])
def test_no_frame_is_pruned_twice_or_out_of_order(overflow: Overflow, *, has_resets: bool) -> None:
    num_cameras, num_frames = 6, 25
    pruners: defaultdict[str, WatchedPruner] = defaultdict(WatchedPruner)
    lanes = Lanes(lambda camera_id: pruners[camera_id], clock=SystemClock())
    cameras = [f"camera-{number}" for number in range(num_cameras)]
    taken: defaultdict[str, list[float]] = defaultdict(list)
    dropped: defaultdict[str, list[float]] = defaultdict(list)

    def feed(number: int) -> None:
        camera_id, rng = cameras[number], np.random.default_rng(number)
        lane = lanes.lane(camera_id, overflow=overflow)
        for second in range(num_frames):
            pixels = picture(level=int(rng.integers(256)))
            gone = lane.offer(frame_at(float(second), pixels, camera_id=camera_id))
            if gone is not None:
                dropped[camera_id].append(gone.pts_s)

    feeds = [Thread(target=feed, args=(number,)) for number in range(num_cameras)]
    with joined(*feeds):
        while any(feed.is_alive() for feed in feeds) or lanes.wait(0.0) is not None:
            lanes.wait(0.01)
            for sent in lanes.take(4):
                taken[sent.frame.camera_id].append(sent.frame.pts_s)
            if has_resets:
                lanes.reset(cameras[sum(map(len, taken.values())) % num_cameras])
    for camera_id in cameras:
        steps = pruners[camera_id].steps
        pruned = [pts_s for step, pts_s in steps if step == "prune"]
        assert pruned == sorted(pruned)
        assert has_resets or len(pruned) == len(set(pruned))
        assert [pts_s for step, pts_s in steps if step == "sent"] == taken[camera_id]
        for before, (step, pts_s) in pairwise(steps):
            assert step != "sent" or before == ("prune", pts_s)
        assert sorted(taken[camera_id] + dropped[camera_id]) == list(map(float, range(num_frames)))
        assert taken[camera_id][-1] == num_frames - 1
        counts = lanes.counts()[camera_id]
        assert (counts.offered, counts.waiting) == (num_frames, 0)
        assert (counts.taken, counts.dropped) == (
            len(taken[camera_id]),
            len(dropped[camera_id]),
        )
        assert overflow is Overflow.LATEST or not dropped[camera_id]


def test_a_camera_that_is_being_pruned_holds_up_no_other() -> None:
    slow = HeldPruner()
    lanes = Lanes(lambda camera_id: slow if camera_id == "slow" else Pruner(), clock=SystemClock())
    lane = lanes.lane("slow", overflow=Overflow.LATEST)
    with joined(Thread(target=lane.offer, args=(frame_at(0.0, camera_id="slow"),))):
        assert slow.has_begun.wait(LONG_S)
        lanes.lane("quick", overflow=Overflow.LATEST).offer(frame_at(0.0, camera_id="quick"))
        assert lanes.wait(LONG_S) is not None
        assert [sent.frame.camera_id for sent in lanes.take()] == ["quick"]
        assert lanes.counts()["slow"].offered == 0
        slow.may_go_on.set()
    assert [sent.frame.camera_id for sent in lanes.take()] == ["slow"]


def test_a_frame_that_is_replaced_is_not_taken_in_the_middle_of_it() -> None:
    """The newer one was compared with what the model had seen without the older one."""
    pruner = HeldPruner()
    pruner.may_go_on.set()
    lanes = Lanes(lambda _camera_id: pruner, clock=SystemClock())
    lane = lanes.lane("yard", overflow=Overflow.LATEST)
    lane.offer(frame_at(0.0))
    pruner.may_go_on.clear()
    pruner.has_begun.clear()
    dropped: list[Frame | None] = []
    taken: list[float] = []
    replacing = Thread(target=lambda: dropped.append(lane.offer(frame_at(1.0))))
    taking = Thread(target=lambda: taken.extend(sent.frame.pts_s for sent in lanes.take()))
    with joined(replacing):
        assert pruner.has_begun.wait(LONG_S)
        with joined(taking):
            pruner.may_go_on.set()
    assert taken == [1.0]
    assert [frame.pts_s for frame in dropped if frame] == [0.0]


def test_only_so_many_frames_are_pruned_at_once() -> None:
    pruners: defaultdict[str, HeldPruner] = defaultdict(HeldPruner)
    lanes = Lanes(lambda camera_id: pruners[camera_id], clock=SystemClock())
    cameras = [f"camera-{number}" for number in range(PRUNED_AT_ONCE + 1)]
    opened = [lanes.lane(camera_id, overflow=Overflow.LATEST) for camera_id in cameras]
    threads = [Thread(target=lane.offer, args=(frame_at(0.0),)) for lane in opened]
    with joined(*threads[:-1]):
        for camera_id in cameras[:-1]:
            assert pruners[camera_id].has_begun.wait(LONG_S)
        last = pruners[cameras[-1]]
        last.may_go_on.set()
        with joined(threads[-1]):
            assert not last.has_begun.wait(0.05)
            pruners[cameras[0]].may_go_on.set()
            assert last.has_begun.wait(LONG_S)
        for camera_id in cameras:
            pruners[camera_id].may_go_on.set()


def test_two_threads_of_a_camera_lose_no_frame_that_can_wait() -> None:
    """One that was given up may come back while the next already reads."""
    lanes = Lanes(lambda _camera_id: WatchedPruner(), clock=FakeClock())
    lane = lanes.lane("yard", overflow=Overflow.WAIT)
    dropped: list[Frame | None] = []

    def feed() -> None:
        dropped.extend(lane.offer(frame_at(0.0)) for _ in range(20))

    feeds = [Thread(target=feed), Thread(target=feed)]
    num_taken = 0
    with joined(*feeds):
        while num_taken < 40:
            lanes.wait(1.0)
            num_taken += len(lanes.take())
    assert dropped == [None] * 40
