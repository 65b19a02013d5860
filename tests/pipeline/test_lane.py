from dataclasses import replace
from threading import Thread

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.lane import Lanes
from pipeline.load import Load
from pipeline.pruner import Pruner
from pipeline.types import Overflow, RecordPlace, Tenure
from tests.fakes import FakeClock, frame_at, picture


def new_lanes() -> Lanes:
    return Lanes(lambda _camera_id: Pruner(), clock=FakeClock())


def test_the_newest_frame_wins_and_carries_the_changes_of_the_dropped_one() -> None:
    lanes = new_lanes()
    lane = lanes.lane("yard", overflow=Overflow.LATEST)
    lane.offer(frame_at(0.0))
    lanes.take()
    first, second = picture(), picture()
    first[:28, :28] = 200
    second[:28, :28] = 200
    second[28:56, :28] = 200
    assert lane.offer(frame_at(1.0, first)) is None
    dropped = lane.offer(frame_at(2.0, second))
    assert dropped is not None
    assert dropped.pts_s == 1.0
    (taken,) = lanes.take()
    assert taken.frame.pts_s == 2.0
    assert np.argwhere(taken.pruned.keep_mask).tolist() == [[0, 0], [1, 0]]
    assert lane.counts.dropped == 1


@given(st.lists(st.sampled_from(["offer", "take"]), max_size=60))
def test_offered_is_taken_plus_dropped_plus_waiting(steps: list[str]) -> None:
    lanes = new_lanes()
    lane = lanes.lane("yard", overflow=Overflow.LATEST)
    times = []
    for index, step in enumerate(steps):
        if step == "offer":
            lane.offer(frame_at(float(index)))
        else:
            times += [sent.frame.pts_s for sent in lanes.take()]
    counts = lane.counts
    assert counts.offered == steps.count("offer")
    assert counts.offered == counts.taken + counts.dropped + counts.waiting
    assert counts.waiting <= 1
    assert times == sorted(times)


def test_under_wait_no_frame_is_lost() -> None:
    lanes = new_lanes()
    lane = lanes.lane("yard", overflow=Overflow.WAIT)
    offered = [float(index) for index in range(50)]
    feeding = Thread(target=lambda: [lane.offer(frame_at(pts_s)) for pts_s in offered])
    feeding.start()
    taken: list[float] = []
    while len(taken) < len(offered):
        lanes.wait(1.0)
        taken += [sent.frame.pts_s for sent in lanes.take()]
    feeding.join(timeout=5)
    assert taken == offered
    assert lane.counts.dropped == 0


def test_closing_frees_a_source_that_waits_and_hands_its_frame_back() -> None:
    lanes = new_lanes()
    lane = lanes.lane("yard", overflow=Overflow.WAIT)
    lane.offer(frame_at(0.0))
    handed_back = []
    feeding = Thread(target=lambda: handed_back.append(lane.offer(frame_at(1.0))))
    feeding.start()
    lanes.close()
    feeding.join(timeout=5)
    assert [frame.pts_s for frame in handed_back if frame] == [1.0]


def test_one_take_brings_one_frame_of_every_camera() -> None:
    lanes = new_lanes()
    for camera_id in ("b", "a", "c"):
        lanes.lane(camera_id, overflow=Overflow.LATEST).offer(frame_at(0.0, camera_id=camera_id))
    assert [sent.frame.camera_id for sent in lanes.take()] == ["a", "b", "c"]
    assert lanes.take() == []


def test_reset_makes_a_waiting_frame_a_refresh() -> None:
    lanes = new_lanes()
    lane = lanes.lane("yard", overflow=Overflow.LATEST)
    lane.offer(frame_at(0.0))
    lanes.take()
    lane.offer(frame_at(1.0))
    lane.reset()
    (taken,) = lanes.take()
    assert taken.pruned.is_refresh


def test_a_camera_whose_frame_is_replaced_keeps_its_place() -> None:
    clock = FakeClock()
    lanes = Lanes(lambda _camera_id: Pruner(), clock=clock)
    for second in range(3):
        clock.seconds = float(second)
        for camera_id in ("a", "b", "c"):
            lane = lanes.lane(camera_id, overflow=Overflow.LATEST)
            lane.offer(frame_at(float(second), camera_id=camera_id))
        (taken,) = lanes.take(1)
        assert taken.frame.camera_id == "abc"[second]


def test_a_source_that_is_held_back_goes_first() -> None:
    clock = FakeClock()
    lanes = Lanes(lambda _camera_id: Pruner(), clock=clock)
    lanes.lane("a", overflow=Overflow.LATEST).offer(frame_at(0.0, camera_id="a"))
    clock.seconds = 1.0
    lanes.lane("b", overflow=Overflow.WAIT).offer(frame_at(0.0, camera_id="b"))
    first = lanes.wait(0.0)
    assert first is not None
    assert (first.frame.camera_id, first.is_live) == ("b", False)


def test_a_frame_whose_record_another_worker_has_holds_no_source_back() -> None:
    """Its camera may come back, and be held, before it is known to be gone."""
    lanes = Lanes(lambda _camera_id: Pruner(), clock=FakeClock(), is_held=lambda _camera_id: True)
    lane = lanes.lane("yard", overflow=Overflow.WAIT)
    tenure = Tenure("g", 1)
    old = replace(frame_at(0.0), record=RecordPlace("frames", 0, 0, tenure))
    assert lane.offer(old) is None
    tenure.is_over = True
    assert lane.offer(frame_at(1.0)) is old


def test_the_threshold_is_raised_for_cameras_that_are_here_and_for_those_to_come() -> None:
    lanes = Lanes(lambda _camera_id: Pruner(mode="last_seen"), clock=FakeClock())
    lanes.lane("a", overflow=Overflow.LATEST)
    lanes.raise_threshold(1.5)
    faint = picture(level=100 + 8)  # more than 6 levels, less than 9
    for camera_id in ("a", "b"):
        lane = lanes.lane(camera_id, overflow=Overflow.LATEST)
        lane.offer(frame_at(0.0, camera_id=camera_id))
        lanes.take()
        lane.offer(frame_at(1.0, faint, camera_id=camera_id))
        assert [sent.pruned.num_kept for sent in lanes.take()] == [0]
    lanes.raise_threshold(1.0)
    lane = lanes.lane("a", overflow=Overflow.LATEST)
    lane.offer(frame_at(2.0, faint, camera_id="a"))
    assert [sent.pruned.num_kept for sent in lanes.take()] == [12]


class Watched:
    """Two live cameras before a model that takes what waits every quarter of a second."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.lanes = Lanes(lambda _camera_id: Pruner(), clock=self.clock, burst_s=0.5)
        self.load = Load(max_age_s=2.0, period_s=1.0, recover_after_s=30.0)
        self.counted = 0  # of the overdue, up to the tick before

    def offer(self, camera_id: str) -> None:
        lane = self.lanes.lane(camera_id, overflow=Overflow.LATEST)
        lane.offer(frame_at(self.clock.seconds, camera_id=camera_id))

    def go(self, seconds: int, *, burst: int, takes: bool = True) -> int:
        """Let seconds pass, with so many frames at once of one camera; return the load's level."""
        for tick in range(4 * seconds):
            if tick % 4 == 0:
                self.offer("neighbour")
                for _ in range(burst):
                    self.offer("flapping")
                    self.clock.seconds += 0.01
            taken = self.lanes.take() if takes else []
            now_s = self.clock.seconds
            self.load.note(
                begun_s=now_s,
                ended_s=now_s,
                ages_s=[now_s - one.arrived_s for one in taken],
                num_dropped=self.lanes.num_overdue - self.counted,
                lags_s={},
            )
            self.counted = self.lanes.num_overdue
            self.load.judge(now_s)
            self.clock.seconds += 0.25
        return self.load.level


def test_one_flapping_cameras_bursts_are_no_load_of_all() -> None:
    """A neighbour was `degraded: load_captions` for 30 s while one camera came and went."""
    watched = Watched()
    assert watched.go(60, burst=4) == 0
    assert watched.lanes.counts()["flapping"].dropped == 180


def test_frames_that_the_model_had_time_for_are_load() -> None:
    watched = Watched()
    assert watched.go(60, burst=1, takes=False) > 0
    assert watched.load.reason == "frames_dropped"
    assert watched.lanes.num_overdue == watched.lanes.counts()["flapping"].dropped * 2
