"""The runner under load, short of memory, and while cameras come and go."""

from collections import Counter
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.metrics import (
    ANSWER_AGE,
    ANSWERS_LATE,
    ENGINE_INCIDENTS,
    EVENTS,
    FRAME_AGE,
    FRAMES,
    FRAMES_REFUSED,
    REFRESHES,
    REPLIES,
    STAGE_SECONDS,
    TICK_OVERRUNS,
    TICK_SECONDS,
    TOKENS,
)
from pipeline.types import Overflow
from tests.pipeline.runner_bench import CAPTION, FIRE, Bench, changing, crowd, scripted


def live(bench: Bench, seconds: int, number: int) -> None:
    """Let cameras send a frame every second while the runner goes by its ticks."""
    end_s = bench.clock.seconds + seconds
    offered_s = dict.fromkeys(range(number), bench.clock.seconds)
    while bench.clock.seconds < end_s:
        for n, at_s in offered_s.items():
            while at_s <= bench.clock.seconds:
                lane = bench.lanes.lane(f"c{n}", overflow=Overflow.LATEST)
                lane.offer(replace(changing(at_s), camera_id=f"c{n}"))
                offered_s[n] = at_s = at_s + bench.load.step.period_ratio
        bench.runner.step()
        bench.clock.seconds += 0.25


def test_overload_is_announced_answered_with_less_and_recovered_from() -> None:
    bench = Bench(CAPTION, FIRE, answers=scripted(0.1))
    bench.engine.clock, bench.engine.cost_s = bench.clock, 0.6
    live(bench, 60, number=4)  # 2.4 s of frames every second
    assert bench.load.level == 3
    assert bench.lanes.lane("c0", overflow=Overflow.LATEST)._pruner.threshold_ratio > 1
    assert bench.data("answer")[0]["degraded"] is False
    assert bench.data("answer")[-1]["degraded"] is True
    bench.engine.cost_s = 0.0
    live(bench, 130, number=4)
    assert bench.load.level == 0
    assert bench.data("answer")[-1]["degraded"] is False
    assert bench.lanes.lane("c0", overflow=Overflow.LATEST)._pruner.threshold_ratio == 1


def test_under_overload_no_camera_goes_without_answers_and_ages_stay_bounded() -> None:
    bench = Bench(FIRE, answers=scripted(0.1))
    bench.engine.clock, bench.engine.cost_s = bench.clock, 0.4
    live(bench, 100, number=5)
    answers = bench.data("answer")
    for n in range(5):
        times = sorted(
            datetime.fromisoformat(str(one["captured_at"]))
            for one in answers
            if one["camera_id"] == f"c{n}"
        )
        gaps_s = [(b - a).total_seconds() for a, b in pairwise(times)]
        assert max(gaps_s) <= 10.0  # asked every 5 s, of frames that come late
    assert max(int(str(one["frame_age_ms"])) for one in answers) < 8000


def test_a_camera_that_does_not_fit_waits_and_the_others_do_not_feel_it() -> None:
    bench = Bench(FIRE, answers=scripted(0.1))
    bench.engine.max_streams = 2
    for second in range(6):
        crowd(bench, float(second), 3)
    assert {one["camera_id"] for one in bench.data("answer")} == {"c0", "c1"}
    assert bench.admission_backlog.why("c2") == "stream c2: needs 110 B, 0 B left"
    assert len(bench.settled) == 18  # a broker need not keep what is not looked at
    bench.engine.remove("c0")
    bench.clock.seconds += 31.0
    crowd(bench, 40.0, 3, first=1)
    assert bench.admission_backlog.why("c2") is None
    refresh = [frame for frame in bench.engine.shown if frame.stream_id == "c2"]
    assert [frame.is_refresh for frame in refresh] == [True]


def test_frames_there_is_no_memory_for_count_as_not_seen() -> None:
    bench = Bench(FIRE, answers=scripted(0.1))
    crowd(bench, 0.0, 4)
    bench.engine.max_batch = 2
    crowd(bench, 1.0, 4)
    assert len(bench.engine.shown) == 4
    bench.clock.seconds += 1.0
    crowd(bench, 2.0, 4)  # two at a time from now on
    bench.runner.step()
    again = bench.engine.shown[4:]
    assert sorted(frame.stream_id for frame in again) == ["c0", "c1", "c2", "c3"]
    assert all(frame.is_refresh for frame in again)


def test_questions_there_is_no_memory_for_are_owed() -> None:
    rich, poor = (Bench(CAPTION, FIRE, answers=scripted(0.1)) for _ in range(2))
    for bench in (rich, poor):
        crowd(bench, 0.0, 4)
        bench.engine.asked.clear()
        bench.engine.max_batch = 4 if bench is poor else None  # frames, and fewer questions
        crowd(bench, 11.0, 4)
    due = Counter(rich.engine.asked)
    assert sum(due.values()) > 4
    assert poor.engine.asked == []
    for second in (12.0, 13.0):  # half of the cameras at a time
        poor.clock.seconds = second
        crowd(poor, second, 4)
    assert due <= Counter(poor.engine.asked)


def test_a_camera_silent_for_long_frees_its_memory_and_comes_back_whole() -> None:
    bench = Bench(FIRE, answers=scripted(0.1))
    crowd(bench, 0.0, 2)
    bench.clock.seconds = 601.0
    bench.show(replace(changing(601.0), camera_id="c0"))
    assert set(bench.engine.held) == {"c0"}
    crowd(bench, 602.0, 2)
    assert set(bench.engine.held) == {"c0", "c1"}
    assert [f.is_refresh for f in bench.engine.shown if f.stream_id == "c1"] == [True]


def test_the_loop_takes_a_frame_at_the_tick_after_its_arrival() -> None:
    bench = Bench(FIRE, answers=scripted(0.1))
    lane = bench.lanes.lane("yard", overflow=Overflow.LATEST)
    bench.clock.seconds = 10.1
    lane.offer(changing(10.0))
    stop = Event()
    bench.runner.run(stop, beat=stop.set)
    assert bench.clock.seconds == pytest.approx(10.25)
    assert len(bench.engine.shown) == 1


def test_a_source_that_is_held_back_waits_for_no_tick() -> None:
    bench = Bench(FIRE, answers=scripted(0.1))
    lane = bench.lanes.lane("yard", overflow=Overflow.WAIT)
    bench.clock.seconds = 10.1
    lane.offer(changing(10.0))
    stop = Event()
    bench.runner.run(stop, beat=stop.set)
    assert bench.clock.seconds == pytest.approx(10.1)
    assert len(bench.engine.shown) == 1


def test_frames_answers_and_events_are_counted() -> None:
    bench = Bench(CAPTION, FIRE, answers=scripted(0.9))
    bench.show(changing(0.0), changing(1.0), changing(7.0))
    seen = bench.observer
    assert seen.total(FRAMES, camera="yard") == 3
    assert seen.total(REFRESHES, camera="yard") == 1
    assert seen.totals(TOKENS, by="kind") == {"kept": 12 + 1 + 1, "pruned": 11 + 11}
    assert seen.numbers(FRAME_AGE) == [0.25] * 3
    assert seen.numbers(ANSWER_AGE) == [0.25, 0.25, 6.0]  # from arrival to the end of its step
    assert seen.totals(REPLIES, by="kind") == {"caption": 1, "answer": 2, "event": 1}
    assert seen.numbers(EVENTS, camera="yard", question="fire", phase="start") == [1]
    assert seen.numbers(STAGE_SECONDS, stage="append") == [0.0] * 3
    assert seen.numbers(STAGE_SECONDS, stage="ask") == [0.0] * 2
    assert not seen.numbers(FRAMES_REFUSED)


def test_late_ticks_and_frames_without_memory_are_counted() -> None:
    bench = Bench(FIRE, answers=scripted(0.1))
    bench.engine.clock, bench.engine.cost_s = bench.clock, 3.0
    crowd(bench, 0.0, 1)
    bench.engine.max_batch = 0
    crowd(bench, 11.0, 1)
    seen = bench.observer
    assert seen.total(TICK_OVERRUNS) == 2
    assert seen.numbers(TICK_SECONDS) == [6.0, 3.0]
    assert seen.total(ANSWERS_LATE) == 1
    assert seen.totals(FRAMES_REFUSED, by="reason") == {"out_of_memory": 1}
    assert seen.total(ENGINE_INCIDENTS, kind="out_of_memory") == 1


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_cameras_killed_at_random_disturb_no_other(data: st.DataObject) -> None:
    bench = Bench(CAPTION, FIRE, answers=scripted(0.1))
    bench.engine.max_batch = data.draw(st.sampled_from([None, 2, 5]))
    offered = 0
    for second in range(16):
        here = data.draw(st.sets(st.integers(0, 5)), label=f"cameras at {second} s") | {9}
        for n in here:
            lane = bench.lanes.lane(f"c{n}", overflow=Overflow.LATEST)
            lane.offer(replace(changing(float(second)), camera_id=f"c{n}"))
            offered += 1
        if data.draw(st.booleans()):
            bench.lanes.reset(f"c{data.draw(st.integers(0, 5))}")
        bench.clock.seconds = second + 0.25
        bench.runner.step()
    bench.engine.max_batch = None
    bench.clock.seconds += 1000.0  # all widths are back
    for _ in range(10):
        bench.runner.step()
    counts = bench.lanes.counts().values()
    assert offered == sum(one.taken + one.dropped + one.waiting for one in counts)
    assert sum(one.waiting for one in counts) == 0
    assert len(bench.settled) == sum(one.taken for one in counts)
    if bench.engine.num_out_of_memory == 0:
        mine = [one for one in bench.data("answer") if one["camera_id"] == "c9"]
        assert len(mine) in (3, 4)
