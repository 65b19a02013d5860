"""Questions and cameras changed while a worker runs, between two ticks; the model is a script."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event, Thread

import pytest

from model.types import Answer, Question
from pipeline.control import Control, InEffect
from pipeline.events import EventRule
from pipeline.questions import Schedule, StandingQuestion
from tests.pipeline.runner_bench import CAPTION, FIRE, Bench, changing, said, scripted

SMOKE = replace(FIRE, question=Question("yes_no", "Is there smoke?"))
PEOPLE = StandingQuestion("people", Question("count", "How many people?"), every_s=5.0)


def bench_of(*questions: StandingQuestion, p: float = 0.9) -> Bench:
    def answer(_camera_id: str, question: Question) -> Answer:
        return said("count", 3, 0.8) if question.kind == "count" else said("yes_no", "yes", p)

    return Bench(*questions, answers=answer)


def in_effect(*questions: StandingQuestion, paused: tuple[str, ...] = ()) -> InEffect:
    return InEffect(questions, frozenset(paused))


def events(bench: Bench) -> list[tuple[object, ...]]:
    return [(one["phase"], one["question"], one["reason"]) for one in bench.data("event")]


def shown_at(bench: Bench) -> list[float]:
    return [one.pts_s for one in bench.engine.shown]


def test_a_question_that_comes_is_asked_of_the_next_frame_and_the_others_keep_their_ticks() -> None:
    bench = bench_of(FIRE)
    bench.show(changing(0.0), changing(1.0))
    bench.control.put(in_effect(FIRE, PEOPLE))
    bench.show(*(changing(float(second)) for second in range(2, 6)))
    asked = [(one["question_id"], str(one["captured_at"])[17:19]) for one in bench.data("answer")]
    assert asked == [("fire", "05"), ("people", "07"), ("fire", "10")]


def test_other_words_end_the_event_of_the_old_ones_and_no_context() -> None:
    bench = bench_of(FIRE)
    bench.show(changing(0.0), changing(5.0))
    window = bench.engine.window("yard")
    bench.control.put(in_effect(SMOKE))
    bench.show(changing(6.0))
    assert events(bench) == [
        ("start", "Is there fire?", None),
        ("end", "Is there fire?", "question_changed"),
        ("start", "Is there smoke?", None),
    ]
    assert len({str(one["event_id"]) for one in bench.data("event")}) == 2
    now = bench.engine.window("yard")
    assert window is not None
    assert now is not None
    assert (now.start_pts_s, now.num_frames) == (window.start_pts_s, window.num_frames + 1)


def test_what_was_answered_to_other_words_is_asked_again_though_nothing_changed() -> None:
    bench = bench_of(FIRE)
    still = changing(0.0)
    bench.show(still)
    bench.control.put(in_effect(SMOKE))
    bench.show(replace(still, pts_s=1.0))
    assert [question.text for _, question in bench.engine.asked] == [
        "Is there fire?",
        "Is there smoke?",
    ]


def test_a_question_that_goes_ends_its_event_and_is_asked_no_more() -> None:
    bench = bench_of(FIRE, PEOPLE)
    bench.show(changing(0.0))
    bench.control.put(in_effect(PEOPLE))
    bench.show(changing(5.0), changing(10.0))
    assert events(bench)[-1] == ("end", "Is there fire?", "question_removed")
    assert [one["question_id"] for one in bench.data("answer")].count("fire") == 1
    assert not any("fire" in name for name in bench.replies.states)


def test_other_thresholds_alone_let_an_event_go_on_by_them() -> None:
    bench = bench_of(FIRE, p=0.9)
    bench.show(changing(0.0))
    rule = EventRule(enter=0.99, exit=0.95, confirm_n=1, confirm_m=1)
    bench.control.put(in_effect(replace(FIRE, rule=rule)))
    bench.show(changing(5.0))
    assert [(phase, reason) for phase, _, reason in events(bench)] == [
        ("start", None),
        ("end", "answer"),
    ]
    assert len({str(one["event_id"]) for one in bench.data("event")}) == 1


def test_a_paused_question_is_not_asked_and_its_event_ends_until_it_is_resumed() -> None:
    bench = bench_of(FIRE)
    bench.show(changing(0.0))
    bench.control.put(in_effect(replace(FIRE, is_paused=True)))
    bench.show(changing(5.0), changing(10.0))
    assert events(bench)[-1] == ("end", "Is there fire?", "events_off")
    assert len(bench.engine.asked) == 1
    bench.control.put(in_effect(FIRE))
    bench.show(changing(11.0))
    assert events(bench)[-1] == ("start", "Is there fire?", None)


def test_a_paused_camera_is_not_shown_to_the_model_and_goes_on_with_a_whole_frame() -> None:
    bench = bench_of(FIRE)
    bench.show(changing(0.0), changing(1.0))
    bench.control.put(in_effect(FIRE, paused=("yard",)))
    bench.show(changing(2.0), changing(3.0))
    assert shown_at(bench) == [0.0, 1.0]
    assert [one.pts_s for one in bench.settled] == [0.0, 1.0, 2.0, 3.0], "its records are done with"
    assert events(bench)[-1] == ("end", "Is there fire?", "events_off")
    bench.control.put(in_effect(FIRE))
    bench.show(changing(4.0))
    assert shown_at(bench) == [0.0, 1.0, 4.0]
    assert bench.engine.shown[-1].is_refresh
    window = bench.engine.window("yard")
    assert window is not None
    assert window.start_pts_s == 0.0, "its context is the same"


def test_of_a_paused_camera_answers_are_unknown() -> None:
    bench = bench_of(FIRE)
    bench.show(changing(0.0))
    bench.control.put(in_effect(FIRE, paused=("yard",)))
    bench.status.set("yard", "degraded", reason="paused")
    bench.show(changing(6.0))
    last = bench.data("answer")[-1]
    assert (last["answer"], last["reason"]) == ("unknown", "stalled")


def test_a_stored_event_of_a_camera_that_is_paused_is_ended_by_the_next_process() -> None:
    bench = bench_of(FIRE)
    bench.show(changing(0.0))
    after = Bench(FIRE, answers=scripted(0.9), states=bench.replies.states, paused=("yard",))
    after.runner.step()
    assert events(after) == [("end", "Is there fire?", "events_off")]


def test_a_refresh_makes_the_next_frame_a_whole_one() -> None:
    bench = bench_of(FIRE)
    bench.show(changing(0.0), changing(1.0))
    bench.control.refresh("yard")
    bench.control.refresh("nobody")
    bench.show(changing(2.0), changing(3.0))
    assert [one.is_refresh for one in bench.engine.shown] == [True, False, True, False]


@contextmanager
def stepping(bench: Bench) -> Iterator[None]:
    stop = Event()

    def step() -> None:
        while not stop.wait(0.005):
            bench.runner.step()

    thread = Thread(target=step)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


def test_the_model_says_between_two_ticks_what_it_cannot_be_asked() -> None:
    bench = bench_of(FIRE)
    bench.engine.refused = {"<image>?"}
    with stepping(bench):
        assert bench.control.why_not([SMOKE.question], timeout_s=10) == ""
        refused = [SMOKE.question, Question("yes_no", "<image>?")]
        why = bench.control.why_not(refused, timeout_s=10)
        assert why == "text: expected other words, got '<image>?'"
    assert bench.control.heeded.is_set()


def test_whoever_proposes_waits_no_longer_than_it_says() -> None:
    control = Control([FIRE])
    assert control.why_not([SMOKE.question], timeout_s=0.01) is None
    control.judge(lambda _question: pytest.fail("it was taken back"))


def test_questions_that_are_asked_as_often_as_before_are_due_when_they_were() -> None:
    schedule = Schedule("yard", [CAPTION, FIRE])
    due = {0.0: ["caption", "fire"], 5.0: ["fire"]}
    for at_s, ids in due.items():
        assert [one.id for one in schedule.due(at_s)] == ids
    schedule.follow([CAPTION, replace(SMOKE, every_s=2.0), PEOPLE])
    assert [one.id for one in schedule.due(6.0)] == ["fire", "people"]
    assert [one.id for one in schedule.due(10.0)] == ["caption", "fire"]
