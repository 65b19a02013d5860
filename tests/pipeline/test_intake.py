from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from pipeline.admission_backlog import AdmissionBacklog
from pipeline.freeze_watch import FreezeWatch
from pipeline.intake import Intake, Settlements, condition_of
from pipeline.lane import Lanes
from pipeline.load import Load
from pipeline.messages import Message
from pipeline.metrics import CAMERA_FAILURES, CAMERA_UP, FRAMES_DROPPED
from pipeline.pruner import Pruner
from pipeline.regions import Region
from pipeline.sampler import Sampler
from pipeline.sources.base import FrameSource
from pipeline.status import StatusBoard
from pipeline.ticks import Ticks
from pipeline.types import Overflow, Receipt, RecordPlace, Tell, Tenure, Wanted
from tests.fakes import FakeClock, Recorder, ScriptedSource, frame_at, picture

FIRST, SECOND = Receipt("first"), Receipt("second")


class Bench:
    """An intake of a live feed, with everything around it."""

    def __init__(self, private: tuple[Region, ...] = ()) -> None:
        self.clock = FakeClock()
        self.said: list[Message] = []
        self.observer = Recorder()
        self.settlements = Settlements()
        self.lanes = Lanes(lambda _camera_id: Pruner(), clock=self.clock)
        self.load = Load(max_age_s=2.0, period_s=1.0, recover_after_s=30.0)
        self.backlog = AdmissionBacklog()
        self.intake = Intake(
            partial(self.lanes.lane, overflow=Overflow.LATEST),
            StatusBoard(self.said.append, clock=self.clock),
            sampler=Sampler(
                1.0,
                is_live=True,
                ticks=Ticks(period_s=1.0, per_period=4),
                load=self.load,
                clock=self.clock,
            ),
            private={"yard": private},
            freeze_watch=FreezeWatch(10.0, clock=self.clock),
            condition_of=partial(condition_of, load=self.load, admission_backlog=self.backlog),
            settlements=self.settlements,
            observer=self.observer,
        )
        self.source = ScriptedSource([])

    @property
    def changes(self) -> list[tuple[str, str, str]]:
        """What became of the cameras: (camera_id, state, reason)."""
        told = [message.body["data"] for message in self.said]
        return [(one["camera_id"], one["state"], one["reason"] or "") for one in told]

    def take(self, at_s: float, *, camera_id: str = "yard", receipt: Receipt | None = None) -> None:
        self.clock.seconds = at_s
        frame = frame_at(at_s, picture(int(at_s)), camera_id=camera_id, receipt=receipt)
        self.intake.take(frame, self.source)


def test_a_frame_goes_to_its_cameras_lane_and_the_camera_is_online() -> None:
    bench = Bench()
    bench.intake.expect(["yard"])
    bench.take(0.0)
    bench.take(0.0, camera_id="gate")
    assert {sent.frame.camera_id for sent in bench.lanes.take()} == {"yard", "gate"}
    assert bench.changes == [
        ("yard", "connecting", ""),
        ("yard", "online", ""),
        ("gate", "online", ""),
    ]
    assert bench.observer.totals(CAMERA_UP, by="camera") == {"yard": 1, "gate": 1}


def test_private_regions_are_black_in_the_lane() -> None:
    bench = Bench(private=(Region(0.0, 0.0, 0.5, 1.0),))
    bench.take(50.0)
    (sent,) = bench.lanes.take()
    half = sent.frame.pixels.shape[1] // 2
    assert not sent.frame.pixels[:, :half].any()
    assert np.all(sent.frame.pixels[:, half:] == 50)


def test_a_dropped_frame_is_counted_and_its_record_settled_at_once() -> None:
    bench = Bench()
    bench.take(1.0, receipt=FIRST)
    bench.take(2.0, receipt=SECOND)
    assert bench.observer.totals(FRAMES_DROPPED, by="camera") == {"yard": 1}
    assert bench.source.settled == [FIRST]
    (sent,) = bench.lanes.take()
    bench.settlements.settle(sent.frame)
    assert bench.source.settled == [FIRST, SECOND]


def test_a_frame_without_a_receipt_settles_nothing() -> None:
    bench = Bench()
    bench.take(1.0)
    bench.settlements.settle(frame_at(1.0))
    bench.settlements.settle(frame_at(1.0, camera_id="never seen", receipt=FIRST))
    assert bench.source.settled == []


def test_receipts_go_to_the_newest_connection_that_brought_the_camera() -> None:
    bench = Bench()
    first = bench.source
    bench.take(1.0, receipt=FIRST)
    (sent,) = bench.lanes.take()
    bench.source = ScriptedSource([])
    bench.take(2.0, receipt=SECOND)
    bench.settlements.settle(sent.frame)  # its own connection is gone
    assert first.settled == []
    assert bench.source.settled == [FIRST]


def test_a_camera_without_receipts_takes_none_from_a_topic_of_the_same_name() -> None:
    bench = Bench()
    topic, camera = bench.source, ScriptedSource([])
    bench.take(1.0, receipt=FIRST)
    (sent,) = bench.lanes.take()
    bench.source = camera
    bench.take(2.0)
    bench.settlements.settle(sent.frame)
    assert (topic.settled, camera.settled) == ([FIRST], [])


def test_identical_frames_are_told_once_as_frozen() -> None:
    bench = Bench()
    for second in range(20):
        bench.clock.seconds = float(second)
        bench.intake.take(frame_at(float(second)), bench.source)
    assert bench.changes == [
        ("yard", "online", ""),
        ("yard", "frozen", "identical_frames"),
    ]


@pytest.mark.parametrize(
    ("worsen", "reason"),
    [
        pytest.param(
            lambda bench: bench.backlog.refuse("yard", "12 MiB", now_s=0.0), "no_memory", id="room"
        ),
        pytest.param(lambda bench: setattr(bench.load, "level", 1), "load_captions", id="load"),
    ],
)
def test_a_camera_that_gets_less_than_was_asked_is_degraded(
    worsen: Callable[[Bench], None], reason: str
) -> None:
    bench = Bench()
    bench.take(1.0)
    worsen(bench)
    bench.take(2.0)
    assert bench.changes[-1] == ("yard", "degraded", reason)


def test_a_lost_connection_is_told_of_every_camera_and_its_next_frame_is_a_refresh() -> None:
    bench = Bench()
    bench.intake.expect(["dock"])
    bench.take(1.0)
    bench.lanes.take()
    bench.intake.lost("stalled", "no packet for 15 s")
    assert bench.changes[-2:] == [
        ("dock", "offline", "stalled"),
        ("yard", "offline", "stalled"),
    ]
    assert bench.observer.numbers(CAMERA_UP, camera="yard") == [1, 0]
    failures = bench.observer.totals(CAMERA_FAILURES, by="camera")
    assert failures == {"dock": 1, "yard": 1}
    bench.take(1.0)
    (sent,) = bench.lanes.take()
    assert sent.pruned.is_refresh


def test_every_connection_is_sampled_anew() -> None:
    bench = Bench()
    asked: list[bool] = []

    def build(wanted: Wanted, _tell: Tell) -> FrameSource:
        asked.extend(wanted("yard", pts_s) for pts_s in (0.0, 0.1))
        return bench.source

    assert bench.intake.connect(build) is bench.source
    bench.intake.connect(build)
    assert asked == [True, False, True, False]


def test_a_feed_has_cameras_once_they_are_expected_or_seen() -> None:
    bench = Bench()
    assert not bench.intake.has_cameras
    bench.take(1.0)
    assert bench.intake.has_cameras


def test_what_a_source_says_of_a_camera_comes_before_the_load_and_is_taken_back() -> None:
    """An hour's backlog on Kafka was worked off as `online`."""
    bench = Bench()
    bench.take(0.0)
    bench.intake.told("yard", "lagging", "its pictures are 3600 s old when they come")
    bench.take(1.0)
    bench.intake.told("yard", "lagging", None)
    bench.take(2.0)
    assert bench.changes == [
        ("yard", "online", ""),
        ("yard", "degraded", "lagging"),
        ("yard", "online", ""),
    ]
    details = [message.body["data"]["detail"] for message in bench.said]
    assert details == [None, "its pictures are 3600 s old when they come", None]


def test_a_camera_that_stops_is_offline_until_its_next_frame() -> None:
    """A Kafka camera that stopped was `online`, its event open, after 120 s."""
    bench = Bench()
    bench.take(0.0)
    bench.intake.told("yard", "stalled", "no readable picture has come for 15 s")
    assert bench.observer.numbers(CAMERA_UP, camera="yard")[-1] == 0
    assert bench.observer.total(CAMERA_FAILURES, camera="yard", reason="stalled") == 1
    bench.intake.told("yard", "stalled", None)
    bench.take(20.0)
    assert bench.changes == [
        ("yard", "online", ""),
        ("yard", "offline", "stalled"),
        ("yard", "online", ""),
    ]
    assert bench.observer.numbers(CAMERA_UP, camera="yard")[-1] == 1


def test_what_a_source_tells_of_a_camera_is_its_status_until_it_is_taken_back() -> None:
    """frigate#27: a camera whose pictures are all held back was online."""
    bench = Bench()
    bench.take(1.0)
    for _ in range(2):  # a source says it again and again
        bench.intake.told("yard", "damaged", "packets are lost: 40 pictures held back so far")
    assert bench.changes[-1] == ("yard", "degraded", "damaged")
    assert bench.said[-1].body["data"]["detail"].endswith("40 pictures held back so far")
    bench.intake.told("yard", "damaged", None)
    bench.take(20.0)
    assert bench.changes == [
        ("yard", "online", ""),
        ("yard", "degraded", "damaged"),
        ("yard", "online", ""),
    ]


def test_a_lost_connection_ends_what_its_source_told() -> None:
    bench = Bench()
    bench.take(1.0)
    bench.intake.told("yard", "damaged", "packets are lost")
    bench.intake.lost("ended", "")
    bench.take(2.0)
    assert bench.changes[-2:] == [("yard", "offline", "ended"), ("yard", "online", "")]


def test_a_camera_that_was_judged_frozen_elsewhere_is_frozen_here() -> None:
    bench = Bench()
    bench.take(0.0)
    bench.intake.told("yard", "identical_frames", "as its records say")
    bench.take(1.0)
    assert bench.changes[-1] == ("yard", "frozen", "identical_frames")
    assert bench.observer.numbers(CAMERA_UP, camera="yard")[-1] == 1
    bench.intake.told("yard", "identical_frames", None)
    bench.take(2.0)
    assert bench.changes[-1] == ("yard", "online", "")


def test_a_camera_that_has_moved_is_told_of_once_and_spoken_of_no_more() -> None:
    bench = Bench()
    tenure = Tenure("g", 3)
    place = RecordPlace("frames", 0, 7, tenure)
    bench.intake.take(replace(frame_at(1.0), record=place), bench.source)
    tenure.is_over = True
    bench.intake.told("yard", "moved", "another worker has it")
    bench.intake.take(replace(frame_at(2.0), record=place), bench.source)  # it was on its way
    bench.intake.lost("unreachable", "the broker is away")
    moved = [one for one in bench.changes if one[2] == "moved"]
    assert moved[0] == ("yard", "offline", "moved")
    assert bench.changes[-1] == ("yard", "offline", "moved")
    assert not bench.intake.has_cameras


def test_a_frame_of_a_lost_connection_does_not_say_that_its_camera_has_moved() -> None:
    bench = Bench()
    tenure = Tenure("g", 3)
    place = RecordPlace("frames", 0, 7, tenure)
    bench.intake.take(replace(frame_at(1.0), record=place), bench.source)
    tenure.is_over = True
    bench.intake.take(replace(frame_at(2.0), record=place), bench.source)
    bench.intake.lost("unreachable", "the broker is away")
    assert bench.changes == [("yard", "online", ""), ("yard", "offline", "unreachable")]


def test_a_camera_that_has_moved_is_not_up_and_not_down_here() -> None:
    """An alert on vigil_camera_up == 0 went off for good after every rebalance."""
    bench = Bench()
    bench.take(1.0)
    bench.intake.told("yard", "moved", "another worker has it")
    bench.intake.lost("unreachable", "the broker is away")
    assert bench.observer.numbers(CAMERA_UP, camera="yard") == [1]
    assert bench.observer.forgotten == [{"camera": "yard"}]


def test_the_time_in_which_another_worker_has_a_camera_does_not_make_it_frozen() -> None:
    bench = Bench()
    bench.intake.take(frame_at(0.0), bench.source)
    bench.intake.told("yard", "moved", "another worker has it")
    for second in range(60, 70):
        bench.clock.seconds = float(second)
        bench.intake.take(frame_at(float(second)), bench.source)
    assert bench.changes[-1] == ("yard", "online", "")
    bench.clock.seconds = 70.0
    bench.intake.take(frame_at(70.0), bench.source)
    assert bench.changes[-1] == ("yard", "frozen", "identical_frames")
