from datetime import datetime, timedelta
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.events import EventMachine, EventRule, Transition
from tests.fakes import EPOCH


def machine(**rule: float) -> EventMachine:
    numbers = count(1)
    return EventMachine(EventRule(**rule), new_id=lambda _record: f"event-{next(numbers)}")  # type: ignore[arg-type]  # the int fields are given whole numbers


def play(
    machine: EventMachine,
    probabilities: list[float | None],
    *,
    every_s: float = 5.0,
    begin: int = 0,
) -> list[tuple[int, Transition]]:
    """Step once per probability; return (index, transition) of what was announced."""
    announced = []
    for index, p in enumerate(probabilities, start=begin):
        at_s = index * every_s
        transition = machine.step(p, EPOCH + timedelta(seconds=at_s), stream_s=at_s)
        if transition is not None:
            announced.append((index, transition))
    return announced


def test_one_flicker_starts_nothing() -> None:
    assert play(machine(), [0.1, 0.9, 0.1, 0.1, 0.9, 0.1]) == []


def test_two_of_three_start_and_two_of_three_end_one_event() -> None:
    (start_at, start), (end_at, end) = play(machine(), [0.1, 0.9, 0.9, 0.9, 0.1, 0.9, 0.1, 0.1])
    assert (start_at, start.phase, start.event_id) == (2, "start", "event-1")
    assert start.started_at == EPOCH + timedelta(seconds=5)  # the first frame that spoke for it
    assert (end_at, end.phase, end.event_id) == (6, "end", "event-1")
    assert end.started_at == start.started_at
    assert end.ended_at == EPOCH + timedelta(seconds=20)


def test_between_exit_and_enter_nothing_changes() -> None:
    m = machine(update_every_s=1e6)
    assert play(m, [0.5] * 50) == []
    play(m, [0.9, 0.9], begin=50)
    assert m.is_active
    assert play(m, [0.5] * 50, begin=52) == []
    assert m.is_active


def test_unknown_freezes_the_state() -> None:
    m = machine()
    play(m, [0.9])
    assert play(m, [None] * 20, begin=1) == []
    assert [phase.phase for _, phase in play(m, [0.9], begin=21)] == ["start"]


def test_cooldown_holds_the_next_start_but_does_not_lose_it() -> None:
    quick = {"confirm_n": 1, "confirm_m": 1, "cooldown_s": 30.0}
    announced = play(machine(**quick), [0.9, 0.1, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9])
    assert [(index, one.phase) for index, one in announced] == [
        (0, "start"),
        (1, "end"),
        (7, "start"),
    ]


def test_an_event_lasts_its_minimum() -> None:
    quick = {"confirm_n": 1, "confirm_m": 1, "min_duration_s": 20.0}
    announced = play(machine(**quick), [0.9, 0.1, 0.1, 0.1, 0.1])
    assert [(index, one.phase) for index, one in announced] == [(0, "start"), (4, "end")]


def test_a_long_event_is_updated_under_one_id() -> None:
    announced = play(machine(), [0.9] * 40)
    assert [one.phase for _, one in announced] == ["start", "update", "update", "update"]
    assert {one.event_id for _, one in announced} == {"event-1"}


def test_a_restart_announces_nothing_twice() -> None:
    before = machine()
    play(before, [0.9, 0.9])
    after = machine()
    after.restore(before.snapshot())
    assert play(after, [0.9, 0.9], begin=2) == []
    ((_, end),) = play(after, [0.1, 0.1], begin=4)
    assert (end.phase, end.event_id) == ("end", "event-1")


def test_a_cooldown_outlives_a_restart() -> None:
    before = machine(cooldown_s=1000.0)
    play(before, [0.9, 0.9, 0.1, 0.1])
    after = machine(cooldown_s=1000.0)
    after.restore(before.snapshot())
    assert play(after, [0.9] * 10, begin=4) == []


def test_garbage_is_no_snapshot() -> None:
    on = {"event_id": "e", "started_at": None, "updated_at": None, "last_end": None}
    naive = {**on, "started_at": "2026-01-02T03:04:05"}
    aware = {**on, "started_at": "2026-01-02T03:04:05+00:00"}
    texts: tuple[object, ...] = ({}, [], {"event_id": 1}, on, naive, {**aware, "lasted_s": "nan"})
    for garbage in texts:
        with pytest.raises(ValueError, match="expected an event machine's snapshot"):
            machine().restore(garbage)  # type: ignore[arg-type]  # what a file may hold


# ---------------------------------------------------------------- clocks, gaps, age


JUMPS = pytest.mark.parametrize("jump_s", [-7200.0, -3600.0, 3600.0, 86_400.0 * 365])
"""ex_nvr#404, onvif#172, raspberrypi/linux#1751: a clock is set while an event is on."""


def jumped(at_s: float, jump_s: float) -> datetime:
    """What a camera's clock says `at_s` seconds after the start, once it has been set."""
    return EPOCH + timedelta(seconds=at_s + jump_s)


@JUMPS
def test_an_event_ends_as_soon_as_without_it_when_the_clock_is_set_in_mid_run(
    jump_s: float,
) -> None:
    m = machine(min_duration_s=60.0)
    ((_, start),) = play(m, [0.9, 0.9])
    ends = [
        (n, end)
        for n in range(2, 40)
        if (end := m.step(0.1, jumped(n * 5.0, jump_s), stream_s=n * 5.0)) is not None
    ]
    ((n, end),) = [one for one in ends if one[1].phase == "end"]
    assert n == 12, "60 s after its start"
    assert end.ended_at is not None
    assert start.started_at == end.started_at <= end.ended_at


@JUMPS
def test_an_event_ends_though_the_clock_was_set_over_a_restart(jump_s: float) -> None:
    before = machine(min_duration_s=60.0)
    play(before, [0.9] * 10)
    after = machine(min_duration_s=60.0)
    after.restore(before.snapshot())
    ends = [
        n
        for n in range(40)
        if (end := after.step(0.1, jumped(50.0 + n * 5.0, jump_s), stream_s=n * 5.0)) is not None
        and end.phase == "end"
        and end.ended_at is not None
        and end.ended_at >= end.started_at
    ]
    assert len(ends) == 1
    assert ends[0] <= 3, "it had lasted 45 s before"


@JUMPS
def test_a_cooldown_lasts_as_long_as_it_should_when_the_clock_is_set(jump_s: float) -> None:
    m = machine(cooldown_s=60.0)
    play(m, [0.9, 0.9, 0.1, 0.1])  # ended at 10 s
    starts = [
        (n, start)
        for n in range(4, 40)
        if (start := m.step(0.9, jumped(n * 5.0, jump_s), stream_s=n * 5.0)) is not None
    ]
    n, start = starts[0]
    assert (n, start.phase) == (14, "start")
    assert start.started_at <= jumped(n * 5.0, jump_s), "by the clock as it is now"
    assert start.started_at >= jumped(n * 5.0 - 20.0, jump_s)


@JUMPS
def test_a_cooldown_over_a_restart_is_no_longer_than_it_was_set(jump_s: float) -> None:
    before = machine(cooldown_s=60.0)
    play(before, [0.9, 0.9, 0.1, 0.1])
    after = machine(cooldown_s=60.0)
    after.restore(before.snapshot())
    starts = [
        n for n in range(40) if after.step(0.9, jumped(20.0 + n * 5.0, jump_s), stream_s=n * 5.0)
    ]
    assert starts[0] <= 12


@JUMPS
def test_updates_come_at_their_pace_when_the_clock_is_set(jump_s: float) -> None:
    m = machine()
    play(m, [0.9, 0.9])
    told = [
        n
        for n in range(2, 40)
        if m.step(0.9, jumped(n * 5.0, jump_s if n % 2 else 0.0), stream_s=n * 5.0)
    ]
    assert told == [13, 25, 37]


@given(
    jumps_s=st.lists(st.floats(-1e8, 1e8), min_size=1, max_size=30),
    pauses_s=st.lists(st.floats(0.0, 600.0), min_size=1, max_size=30),
    min_duration_s=st.floats(0.0, 300.0),
    n=st.integers(1, 3),
    extra=st.integers(0, 2),
    data=st.data(),
)
def test_whatever_clocks_do_a_start_ends_after_n_answers_of_no_and_its_minimum(
    jumps_s: list[float],
    pauses_s: list[float],
    min_duration_s: float,
    n: int,
    extra: int,
    data: st.DataObject,
) -> None:
    m = machine(
        confirm_n=n,
        confirm_m=n + extra,
        min_duration_s=min_duration_s,
        evidence_s=5.0 * (n + extra + 1),
    )
    stream_s = started_s = 0.0
    start: Transition | None = None
    num_no = 0
    for turn in range(n + 200):
        stream_s += pauses_s[turn % len(pauses_s)]
        at = EPOCH + timedelta(seconds=stream_s + jumps_s[turn % len(jumps_s)])
        told = m.step(0.9 if start is None else 0.1, at, stream_s=stream_s)
        if told is not None and told.phase == "start":
            start, started_s = told, stream_s
            assert told.started_at <= at
        elif told is not None and told.phase == "end":
            assert start is not None
            assert told.ended_at is not None
            assert told.ended_at >= told.started_at == start.started_at
            return
        elif start is not None:
            num_no += 1
            assert num_no < n or stream_s - started_s < min_duration_s
            if data.draw(st.booleans(), label="a gap"):
                m.gap()
    assert start is None or stream_s - started_s < min_duration_s


def test_evidence_has_an_age() -> None:
    m = machine(evidence_s=20.0)
    play(m, [0.1, 0.9])
    assert play(m, [None] * 20, begin=2) == []
    assert play(m, [0.9], begin=22) == [], "the other one is 105 s old"
    ((_, start),) = play(m, [0.9], begin=23)
    assert start.started_at == EPOCH + timedelta(seconds=22 * 5)


def test_evidence_of_a_camera_that_is_seen_rarely_may_be_older() -> None:
    m = machine(evidence_s=20.0)
    announced = play(m, [0.9, 0.9, 0.9, 0.1, 0.1, 0.1], every_s=60.0)
    assert [one.phase for _, one in announced] == ["start", "update", "update", "end"]


def test_evidence_does_not_outlive_a_gap() -> None:
    m = machine(confirm_n=3, confirm_m=5)
    play(m, [0.9])
    m.gap()  # frigate#4563: 25 s without the camera
    assert play(m, [0.9, 0.9], begin=6) == []
    ((_, start),) = play(m, [0.9], begin=8)
    assert start.started_at == EPOCH + timedelta(seconds=30), "not before the gap"


def test_a_camera_that_comes_and_goes_cannot_keep_an_event() -> None:
    m = machine()
    play(m, [0.9, 0.9])
    m.gap()
    assert play(m, [0.1], begin=5) == []
    m.gap()
    ((_, end),) = play(m, [0.1], begin=50)
    assert (end.phase, end.ended_at) == ("end", EPOCH + timedelta(seconds=250))


def test_an_event_that_no_answer_ends_ends_at_its_last_sound_one() -> None:
    m = machine()
    assert m.end() is None
    play(m, [0.9, 0.9, 0.9, None])
    end = m.end()
    assert end is not None
    assert (end.phase, end.p, end.event_id) == ("end", None, "event-1")
    assert (end.started_at, end.ended_at) == (EPOCH, EPOCH + timedelta(seconds=15))
    assert not m.is_active


@given(
    st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=80),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(0, 80),
)
def test_phases_alternate_and_survive_a_restart_anywhere(
    probabilities: list[float | None], n: int, extra: int, cut: int
) -> None:
    def new() -> EventMachine:
        return machine(confirm_n=n, confirm_m=n + extra, cooldown_s=15.0)

    m = new()
    announced = play(m, probabilities[:cut])
    resumed = new()
    resumed._new_id = m._new_id
    resumed.restore(m.snapshot())
    announced += play(resumed, probabilities[cut:], begin=cut)
    phases = [one.phase for _, one in announced if one.phase != "update"]
    assert phases == (["start", "end"] * len(phases))[: len(phases)]
    ids = [one.event_id for _, one in announced if one.phase == "start"]
    assert len(ids) == len(set(ids))
    for _, one in announced:
        assert one.ended_at is None or one.ended_at > one.started_at
