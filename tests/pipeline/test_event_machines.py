import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from model.types import Question
from pipeline.event_machines import Ending, EventMachines
from pipeline.event_states import state_name
from pipeline.events import EventRule, Transition
from pipeline.questions import StandingQuestion
from tests.fakes import EPOCH, FakeClock

RULE = EventRule(confirm_n=1, confirm_m=1, cooldown_s=30.0)
FIRE = StandingQuestion("fire", Question("yes_no", "Is there fire?"), every_s=5.0, rule=RULE)
LIGHT = StandingQuestion(
    "light",
    Question("choice", "Which light?", ("red", "green")),
    every_s=5.0,
    rule=replace(RULE, target="red"),
)


class Bench:
    """Machines whose changes are stored as an outbox would."""

    def __init__(
        self,
        *questions: StandingQuestion,
        states: Mapping[str, str] = {},
        cameras: tuple[str, ...] = ("yard",),
        clock: FakeClock | None = None,
        numbers: Iterator[int] | None = None,
    ) -> None:
        self.clock = clock or FakeClock()
        self.states = dict(states)
        numbers = numbers or count(1)
        self.machines = EventMachines(
            questions,
            states=states,
            may_come=lambda camera_id: camera_id in cameras,
            forget_after_s=600.0,
            clock=self.clock,
            new_id=lambda *_about: f"e{next(numbers)}",
        )
        self.over: set[str] = set()

    def answer(
        self, p: float | None, *, standing: StandingQuestion = FIRE, answer: str = "yes"
    ) -> list[str]:
        """Give a sound answer now; return the phase announced, if any."""
        told = self.machines.step(
            "yard",
            standing,
            p=p,
            answer=answer,
            at=self.clock.now(),
            stream_s=self.clock.seconds,
        )
        self._store()
        return [told.phase] if told else []

    def endings(self) -> list[Ending]:
        found = self.machines.endings(is_over=self.over.__contains__)
        self._store()
        return found

    def after(
        self,
        *questions: StandingQuestion,
        cameras: tuple[str, ...] = ("yard",),
        away_s: float = 20.0,
    ) -> "Bench":
        """The next process, with other settings, so much later."""
        clock = FakeClock()
        clock.seconds = self.clock.seconds + away_s
        return Bench(*questions, states=self.states, cameras=cameras, clock=clock)

    def _store(self) -> None:
        for name, value in self.machines.take_changes().items():
            if value is None:
                self.states.pop(name, None)
            else:
                self.states[name] = value


def opened(standing: StandingQuestion = FIRE) -> Bench:
    """A question whose event began at 0 s and was answered last at 10 s."""
    bench = Bench(standing)
    bench.answer(0.9, standing=standing, answer="red" if standing is LIGHT else "yes")
    bench.clock.seconds = 10.0
    bench.answer(0.9, standing=standing, answer="red" if standing is LIGHT else "yes")
    return bench


CHANGED = [
    (FIRE, replace(FIRE, question=Question("yes_no", "Is anything burning?"))),
    (FIRE, replace(FIRE, question=Question("text", "Is there fire?"))),
    (FIRE, replace(FIRE, rule=replace(RULE, target="no"))),
    (LIGHT, replace(LIGHT, question=Question("choice", "Which light?", ("red", "amber")))),
    (LIGHT, replace(LIGHT, rule=replace(RULE, target="green"))),
]


@pytest.mark.parametrize(("before", "now"), CHANGED)
def test_one_event_id_never_speaks_of_two_questions(
    before: StandingQuestion, now: StandingQuestion
) -> None:
    """The words, kind, options or target of a question changed with an event on."""
    first = opened(before)
    second = first.after(now)
    [ending] = second.endings()
    assert ending.reason == "question_changed"
    assert (ending.asked.question, ending.asked.kind) == (
        before.question.text,
        before.question.kind,
    )
    assert (ending.transition.phase, ending.transition.event_id) == ("end", "e1")
    assert ending.transition.ended_at == ending.captured_at == EPOCH + timedelta(seconds=10)
    assert second.states == {}
    assert second.endings() == []
    assert second.answer(0.9, standing=now) == ["start"]


GONE = [
    ((), ("yard",), "question_removed"),
    ((LIGHT,), ("yard",), "question_removed"),
    ((replace(FIRE, cameras=frozenset({"gate"})),), ("yard", "gate"), "question_removed"),
    ((replace(FIRE, rule=None),), ("yard",), "events_off"),
    ((FIRE,), ("gate",), "camera_removed"),
]


@pytest.mark.parametrize(("questions", "cameras", "reason"), GONE)
def test_an_event_of_what_is_gone_from_the_settings_ends(
    questions: tuple[StandingQuestion, ...], cameras: tuple[str, ...], reason: str
) -> None:
    """frigate#3022, #3473, frigate-hass-integration#738, advanced-camera-card#2536."""
    with capture_logs() as logs:
        after = opened().after(*questions, cameras=cameras)
    [ending] = after.endings()
    assert (ending.reason, ending.answer, ending.asked.question) == (
        reason,
        "yes",
        "Is there fire?",
    )
    assert after.states == {}
    assert [(one["event"], one["event_id"], one["reason"]) for one in logs] == [
        ("event_ended", "e1", reason)
    ]


def test_an_end_without_an_answer_is_logged() -> None:
    bench = opened()
    bench.clock.seconds = 610.0
    with capture_logs() as logs:
        bench.endings()
    assert logs == [
        {
            "event": "event_ended",
            "log_level": "info",
            "camera": "yard",
            "question": "fire",
            "event_id": "e1",
            "reason": "camera_lost",
        }
    ]


def test_thresholds_and_periods_may_change_under_an_event() -> None:
    now = replace(FIRE, every_s=10.0, rule=replace(RULE, enter=0.8, exit=0.2, confirm_m=3))
    after = opened().after(now)
    assert after.endings() == []
    assert after.answer(0.9, standing=now) == []
    assert after.answer(0.1, standing=now, answer="no") == ["end"]


def test_an_event_without_a_sound_answer_for_long_ends_as_lost_and_may_begin_again() -> None:
    """uiprotect#1088, frigate#4510: a camera that is gone for good."""
    bench = opened()
    bench.clock.seconds = 609.0
    assert bench.endings() == []
    bench.clock.seconds = 610.0
    [ending] = bench.endings()
    assert ending.reason == "camera_lost"
    assert ending.transition.ended_at == EPOCH + timedelta(seconds=10), "what is known"
    assert bench.endings() == []
    bench.clock.seconds = 700.0
    assert bench.answer(0.9) == ["start"]


def test_a_door_that_is_open_for_three_days_stays_one_event() -> None:
    bench, told = Bench(FIRE), list[str]()
    for hour in range(3 * 24 * 12):
        bench.clock.seconds = hour * 300.0
        told += bench.answer(None if hour % 3 else 0.9)
        assert bench.endings() == []
    assert told.count("start") == 1
    assert "end" not in told


def test_a_file_that_ended_ends_its_event_at_once() -> None:
    bench = opened()
    bench.over.add("yard")
    assert [one.reason for one in bench.endings()] == ["camera_lost"]


def test_a_question_that_is_asked_rarely_is_not_lost_in_between() -> None:
    hourly = replace(FIRE, every_s=3600.0)
    bench = opened(hourly)
    bench.clock.seconds = 3600.0
    assert bench.endings() == []


@pytest.mark.parametrize("away_s", [700.0, 8 * 7 * 86_400.0])
def test_an_open_state_that_is_old_ends_as_stale_and_a_new_event_begins(away_s: float) -> None:
    """home-assistant#12429: an event that was open eight weeks ago."""
    after = opened().after(FIRE, away_s=away_s)
    assert [one.reason for one in after.endings()] == ["stale"]
    after.clock.seconds += 31.0
    assert after.answer(0.9) == ["start"]


def test_an_open_state_waits_for_a_sound_answer_as_long_as_it_would_have_without_a_restart() -> (
    None
):
    after = opened().after(FIRE, away_s=300.0)
    after.clock.seconds = 609.0
    assert after.endings() == []
    after.clock.seconds = 610.0
    assert [one.reason for one in after.endings()] == ["stale"]


def test_an_event_goes_on_with_the_first_sound_answer_after_a_restart() -> None:
    after = opened().after(FIRE, away_s=300.0)
    assert after.answer(0.9) == ["update"]
    after.clock.seconds += 599.0
    assert after.endings() == []
    assert after.answer(0.1, answer="no") == ["end"]


def test_a_clock_set_back_over_a_restart_keeps_no_state_for_longer_than_a_silence() -> None:
    after = opened().after(FIRE, away_s=-7200.0)
    assert after.endings() == []
    after.clock.seconds += 600.0
    [ending] = after.endings()
    assert ending.transition.ended_at is not None
    assert ending.transition.ended_at >= ending.transition.started_at


def test_a_machine_that_is_off_leaves_nothing_once_its_camera_is_gone() -> None:
    bench = opened()
    bench.answer(0.1, answer="no")
    assert list(bench.states) == [state_name("yard", FIRE)]
    bench.clock.seconds += 600.0
    assert bench.endings() == []
    assert bench.states == {}
    assert bench.machines._kept == {}


def test_a_cooldown_that_is_longer_than_the_silence_is_kept() -> None:
    slow = replace(FIRE, rule=replace(RULE, cooldown_s=3600.0))
    bench = opened(slow)
    bench.answer(0.1, standing=slow, answer="no")
    bench.clock.seconds += 700.0
    assert bench.endings() == []
    assert bench.answer(0.9, standing=slow) == []


def earlier(**fields: str | None) -> dict[str, str]:
    """A state as 0.2.0 stored it."""
    none = dict.fromkeys(("event_id", "started_at", "updated_at", "last_end"))
    return {"yard/fire": json.dumps({**none, **fields})}


def at(seconds: float) -> str:
    return (EPOCH + timedelta(seconds=seconds)).isoformat()


def test_an_event_of_the_version_before_goes_on_and_ends() -> None:
    states = earlier(event_id="old", started_at=at(-100.0), updated_at=at(-20.0))
    bench = Bench(FIRE, states=states)
    assert bench.endings() == []
    assert list(bench.states) == [state_name("yard", FIRE)]
    assert bench.answer(0.1, answer="no") == ["end"]
    assert json.loads(bench.states[state_name("yard", FIRE)])["event_id"] is None


def test_an_event_of_the_version_before_whose_question_is_gone_ends() -> None:
    states = earlier(event_id="old", started_at=at(-100.0), updated_at=at(-20.0))
    bench = Bench(states=states)
    [ending] = bench.endings()
    assert (ending.reason, ending.transition.event_id) == ("question_removed", "old")
    assert (ending.asked.question_id, ending.asked.question, ending.answer) == (
        "fire",
        "",
        "unknown",
    )
    assert bench.states == {}


def test_a_cooldown_of_the_version_before_goes_on() -> None:
    bench = Bench(FIRE, states=earlier(last_end=at(-10.0)))
    assert bench.answer(0.9) == []
    bench.clock.seconds = 21.0
    assert bench.answer(0.9) == ["start"]


@pytest.mark.parametrize("text", ["", "{}", "[1]", "null", '{"event_id": 1}', "\x00"])
def test_a_state_that_cannot_be_read_is_told_and_forgotten(text: str) -> None:
    with capture_logs() as logs:
        bench = Bench(FIRE, states={"yard/fire": text})
    assert [(one["event"], one["state"]) for one in logs] == [
        ("event_state_unreadable", "yard/fire")
    ]
    assert bench.endings() == []
    assert bench.states == {}
    assert bench.answer(0.9) == ["start"]


def test_a_state_of_a_kind_that_is_no_more_still_ends() -> None:
    first = opened()
    name = state_name("yard", FIRE)
    first.states[name] = json.dumps({**json.loads(first.states[name]), "kind": "mood"})
    [ending] = first.after().endings()
    assert (ending.asked.kind, ending.answer) == ("text", "unknown")


# ---------------------------------------------------------------- whatever happens


class SetClock(FakeClock):
    """A clock whose wall side is set now and then."""

    def __init__(self, seconds: float = 0.0, ahead_s: float = 0.0) -> None:
        super().__init__()
        self.seconds, self.ahead_s = seconds, ahead_s

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.seconds + self.ahead_s)


OTHERS = [FIRE, *(now for before, now in CHANGED if before is FIRE), replace(FIRE, rule=None)]


class Life:
    """A question's event machine through processes, settings and clocks; what it announced."""

    def __init__(self) -> None:
        self.clock = SetClock()
        self.standing = FIRE
        self.told: list[tuple[str, str, datetime, datetime | None]] = []
        self._numbers = count(1)
        self.bench = Bench(FIRE, clock=self.clock, numbers=self._numbers)

    def answer(self, p: float | None) -> None:
        self._note(
            self.bench.machines.step(
                "yard",
                self.standing,
                p=p,
                answer="yes" if p else "unknown",
                at=self.clock.now(),
                stream_s=self.clock.seconds,
            )
        )
        self.sweep()

    def restart(self, *questions: StandingQuestion, cameras: tuple[str, ...] = ("yard",)) -> None:
        states, clock = self.bench.states, self.clock
        self.bench = Bench(
            *questions, states=states, cameras=cameras, clock=clock, numbers=self._numbers
        )
        self.sweep()

    def sweep(self) -> None:
        for ending in self.bench.endings():
            self._note(ending.transition)

    def _note(self, one: Transition | None) -> None:
        if one is not None:
            self.told.append((one.phase, one.event_id, one.started_at, one.ended_at))


ANSWERS = {"yes": 0.9, "no": 0.1, "in doubt": None}
STEPS = st.one_of(
    st.sampled_from([*ANSWERS, "gap"]),
    st.tuples(st.just("wait"), st.floats(0.0, 700.0)),
    st.tuples(st.just("set"), st.floats(-1e7, 1e7)),
    st.tuples(st.just("restart"), st.sampled_from(OTHERS)),
)


@given(st.lists(STEPS, max_size=30))
def test_whatever_happens_every_start_has_one_end_and_none_before_it(
    steps: list[str | tuple[str, float | StandingQuestion]],
) -> None:
    life = Life()
    for step in steps:
        match step:
            case "gap":
                life.bench.machines.gap("yard")
            case str(answer):
                life.answer(ANSWERS[answer])
            case "wait", float(seconds):
                life.clock.seconds += seconds
                life.sweep()
            case "set", float(ahead_s):
                life.clock.ahead_s = ahead_s
            case _, StandingQuestion() as standing:
                life.standing = standing
                life.restart(standing)
        life.clock.seconds += 5.0
    life.restart(cameras=())
    assert life.bench.states == {}
    started = [event_id for phase, event_id, *_ in life.told if phase == "start"]
    assert len(set(started)) == len(started)
    for event_id in started:
        phases = [phase for phase, its, *_ in life.told if its == event_id]
        assert phases == ["start", *["update"] * (len(phases) - 2), "end"]
    assert all(ended_at is None or ended_at >= at for _, _, at, ended_at in life.told)
