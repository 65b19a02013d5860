from datetime import timedelta
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.events import EventMachine, EventRule, Transition
from tests.fakes import EPOCH


def machine(**rule: float) -> EventMachine:
    numbers = count(1)
    return EventMachine(EventRule(**rule), new_id=lambda: f"event-{next(numbers)}")  # type: ignore[arg-type]  # the int fields are given whole numbers


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
        transition = machine.step(p, EPOCH + timedelta(seconds=index * every_s))
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


def test_a_capture_clock_that_jumps_back_does_not_hold_the_cooldown() -> None:
    m = machine()
    play(m, [0.9, 0.9, 0.1, 0.1], begin=1000)
    assert [one.phase for _, one in play(m, [0.9, 0.9], begin=0)] == ["start"]


def test_garbage_is_no_snapshot() -> None:
    for text in ("", "{}", "[]", '{"event_id": 1, "started_at": "yesterday"}'):
        with pytest.raises(ValueError, match="expected an event machine's snapshot"):
            machine().restore(text)


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
