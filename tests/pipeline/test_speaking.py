"""Answers that are said word by word: they come later than the others, about their own moment."""

from collections.abc import Callable
from math import inf
from threading import Event

import pytest

from model.types import Answer, Question
from pipeline.control import InEffect
from pipeline.metrics import ANSWER_AGE
from pipeline.questions import StandingQuestion
from pipeline.speaking import LAST_WORDS_S, SAY_WITHIN_S
from pipeline.types import Frame, Overflow, Receipt
from tests.fakes import frame_at
from tests.pipeline.runner_bench import CAPTION, FIRE, Bench, changing, said, scripted

WORDS = 5
OFTEN = StandingQuestion("what", Question("text", "What is there?"), every_s=1.0)


def speaking_bench(*questions: StandingQuestion, words: int = WORDS) -> Bench:
    bench = Bench(*questions, answers=numbered())
    bench.engine.num_words = words
    return bench


def numbered() -> Callable[[str, Question], Answer]:
    """Each text says how often the model was asked."""
    asked: list[Question] = []

    def answer(camera_id: str, question: Question) -> Answer:
        asked.append(question)
        if question.kind == "text":
            return said("text", f"number {len(asked)}")
        return scripted(0.1)(camera_id, question)

    return answer


def show_live(bench: Bench, *frames: Frame) -> None:
    for frame in frames:
        bench.lanes.lane(frame.camera_id, overflow=Overflow.LATEST).offer(frame)
        bench.clock.seconds = frame.pts_s + 0.25
        bench.runner.step()


def kinds(bench: Bench) -> list[str]:
    return [message.kind for message in bench.replies.messages]


def test_what_needs_words_keeps_no_other_answer_waiting_and_is_about_its_own_moment() -> None:
    bench = speaking_bench(CAPTION, FIRE)
    show_live(bench, changing(0.0))
    assert kinds(bench) == ["answer"]
    show_live(bench, changing(1.0))
    bench.clock.seconds = 1.5
    bench.runner._say(inf)
    assert kinds(bench) == ["answer", "caption"]
    [caption], [answer] = bench.data("caption"), bench.data("answer")
    for name in ("captured_at", "window", "tokens"):
        assert caption[name] == answer[name]
    assert str(caption["inferred_at"]) > str(answer["inferred_at"])
    assert caption["text"] == "a yard"


def test_a_frame_is_done_with_once_all_is_said_of_it_and_those_after_it_wait() -> None:
    bench = speaking_bench(CAPTION, FIRE)
    first, second = (frame_at(n / 2, receipt=Receipt(f"record {n}")) for n in range(2))
    show_live(bench, first, second)
    assert bench.settled == []
    bench.runner._say(inf)
    assert kinds(bench)[-1] == "caption"
    bench.runner.step()
    assert [frame.receipt for frame in bench.settled] == [first.receipt, second.receipt]


def test_a_caption_in_the_outbox_must_arrive_before_its_frame_is_done_with() -> None:
    bench = speaking_bench(CAPTION)
    show_live(bench, frame_at(0.0, receipt=Receipt("the first")))
    bench.runner._say(inf)
    bench.replies.first_waiting = lambda: bench.replies.last_row  # type: ignore[method-assign]
    bench.runner.step()
    assert bench.settled == []
    bench.replies.first_waiting = lambda: None  # type: ignore[method-assign]
    bench.runner.step()
    assert len(bench.settled) == 1


def test_a_question_that_is_being_answered_is_owed_and_asked_when_it_is_answered() -> None:
    bench = speaking_bench(OFTEN, words=1_000)
    show_live(bench, changing(0.0), changing(1.0))
    assert len(bench.engine.asked) == 1
    bench.engine.num_words = 2
    bench.runner._say(inf)
    assert [one["answer"] for one in bench.data("answer")] == ["number 1"]
    show_live(bench, changing(2.0))
    bench.runner._say(inf)
    assert [one["answer"] for one in bench.data("answer")] == ["number 1", "number 2"]
    captured = [str(one["captured_at"]) for one in bench.data("answer")]
    assert captured == sorted(captured)


def test_an_answer_about_an_earlier_moment_does_not_stand_for_a_later_one() -> None:
    bench = speaking_bench(OFTEN, words=3)
    later = changing(1.0).pixels
    show_live(bench, changing(0.0), frame_at(0.5, later))
    bench.runner._say(inf)
    show_live(bench, frame_at(1.0, later))  # nothing is new since the last frame, but since then
    bench.runner._say(inf)
    assert [one["reused"] for one in bench.data("answer")] == [False, False]


def test_what_memory_runs_out_for_is_owed() -> None:
    bench = speaking_bench(CAPTION, words=2)
    bench.engine.is_short = True
    show_live(bench, changing(0.0))
    bench.runner._say(inf)
    assert kinds(bench) == []
    bench.engine.is_short = False
    show_live(bench, changing(1.0))
    bench.runner._say(inf)
    assert bench.caption_seconds() == [1]


def test_what_is_late_is_said_before_the_tick_ends() -> None:
    bench = speaking_bench(CAPTION, words=100)
    show_live(bench, changing(0.0))
    assert kinds(bench) == []
    show_live(bench, changing(SAY_WITHIN_S))
    assert bench.caption_seconds() == [0]
    [age_s] = bench.observer.numbers(ANSWER_AGE)
    assert age_s == SAY_WITHIN_S + 0.25
    judged = bench.load._judged
    assert judged is not None
    assert age_s in judged.ages_s, "the load is judged by it"


def test_a_source_that_is_held_back_waits_for_all_that_is_said() -> None:
    bench = speaking_bench(CAPTION, FIRE)
    bench.show(changing(0.0))
    assert sorted(kinds(bench)) == ["answer", "caption"]


def test_questions_change_once_what_they_were_asked_as_is_said() -> None:
    bench = speaking_bench(OFTEN, words=100)
    show_live(bench, changing(0.0))
    bench.control.put(InEffect((FIRE,)))
    show_live(bench, changing(1.0))
    assert [one["question_id"] for one in bench.data("answer")] == ["what", "fire"]


def test_of_a_camera_that_is_forgotten_nothing_more_is_said() -> None:
    bench = speaking_bench(CAPTION, FIRE)
    show_live(bench, frame_at(0.0, receipt=Receipt("the first")))
    bench.runner._release("yard")
    bench.runner._say(inf)
    bench.runner.step()
    assert kinds(bench) == ["answer"]
    assert len(bench.settled) == 1
    assert not bench.runner._speaking.is_going


def test_the_loop_says_what_is_begun_while_no_frame_waits_and_before_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench, stop, turns = speaking_bench(CAPTION, words=3), Event(), list[float]()
    bench.engine.clock, bench.engine.cost_s = bench.clock, 0.02
    lane = bench.lanes.lane("yard", overflow=Overflow.LATEST)
    lane.offer(changing(0.0))
    wait = bench.lanes.wait

    def waiting(timeout_s: float) -> object:
        turns.append(timeout_s)
        return wait(0.0)

    monkeypatch.setattr(bench.lanes, "wait", waiting)
    bench.runner.run(stop, beat=lambda: stop.set() if len(turns) == 2 else None)
    assert turns[1] == 0.0, "it does not sleep while something is to be said"
    assert bench.caption_seconds() == [0]


def test_a_worker_that_ends_has_so_long_for_its_last_words_and_settles_nothing_it_left_unsaid() -> (
    None
):
    bench, stop = speaking_bench(CAPTION, words=1_000), Event()
    bench.engine.clock, bench.engine.cost_s = bench.clock, 0.5
    lane = bench.lanes.lane("yard", overflow=Overflow.LATEST)
    lane.offer(frame_at(0.0, receipt=Receipt("the first")))
    bench.runner.run(stop, beat=stop.set)
    assert bench.clock.seconds < LAST_WORDS_S + 3.0
    assert kinds(bench) == []
    assert bench.settled == []
