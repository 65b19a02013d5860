"""One-off questions beside the standing ones: answered in spare time, bounded, never late."""

from datetime import timedelta

import pytest

from model.types import Answer, Question
from pipeline.asks import OneOff, Refused
from pipeline.messages import Message
from pipeline.observer import UNOBSERVED
from pipeline.visits import BURST, MAX_WAITING, PER_S, Reply, Visits
from tests.fakes import EPOCH, FakeClock, frame_at
from tests.pipeline.runner_bench import FIRE, Bench, changing, said, scripted


def ask(
    ask_id: str = "a", *, camera_id: str = "yard", kind: str = "yes_no", at_s: float = 10.0
) -> OneOff:
    options = ("in", "out") if kind == "choice" else ()
    question = Question(kind, "Is it open?", options)
    return OneOff(ask_id, camera_id, question, EPOCH + timedelta(seconds=at_s))


def replies(bench: Bench) -> list[Reply]:
    return [reply for _, reply in bench.visits.replies(0.0)]


def data(reply: Reply) -> dict[str, object]:
    assert isinstance(reply, Message)
    return dict(reply.body["data"])


def test_a_question_is_answered_about_the_window_and_not_published() -> None:
    bench = Bench(FIRE, answers=scripted(0.9))
    bench.show(changing(0.0))
    published = len(bench.replies.messages)
    assert bench.visits.put(ask()) is None
    bench.runner.step()
    [reply] = replies(bench)
    told = data(reply)
    assert (told["answer"], told["p"], told["asked_by"]) == ("yes", 0.9, "ask")
    assert (told["question_id"], told["question"]) == ("ask", "Is it open?")
    assert told["window"] == bench.data("answer")[0]["window"]
    assert len(bench.replies.messages) == published
    assert bench.visits.num_open == 0


@pytest.mark.parametrize(
    ("kind", "answer", "expected"),
    [
        ("count", said("count", 3, 0.8), 3),
        ("choice", said("choice", "in", 0.8), "in"),
        ("text", said("text", "a yard"), "a yard"),
        (
            "when",
            Answer("when", "2 - 3", None, 1, span_s=(2.0, 3.0)),
            "2026-01-02T03:04:07.000Z/2026-01-02T03:04:08.000Z",
        ),
    ],
)
def test_any_kind_may_be_asked(kind: str, answer: Answer, expected: object) -> None:
    bench = Bench(answers=lambda _camera, _question: answer)
    bench.show(changing(0.0), changing(3.0))
    bench.visits.put(ask(kind=kind))
    bench.runner.step()
    assert data(replies(bench)[0])["answer"] == expected


def test_a_late_tick_puts_a_question_off_and_standing_ones_are_asked_all_the_same() -> None:
    bench = Bench(FIRE, answers=scripted(0.1))
    bench.engine.clock, bench.engine.cost_s = bench.clock, 0.2
    bench.visits.put(ask())
    bench.show(changing(0.0))  # a frame and an answer: more than a tick
    assert replies(bench) == []
    assert len(bench.data("answer")) == 1
    bench.runner.step()
    assert len(replies(bench)) == 1


def test_what_is_put_off_until_its_deadline_is_refused_and_not_answered_late() -> None:
    bench = Bench(FIRE, answers=scripted(0.1))
    bench.show(changing(0.0))
    bench.visits.put(ask(at_s=5.0))
    bench.clock.seconds = 6.0
    bench.runner.step()
    [reply] = replies(bench)
    assert isinstance(reply, Refused)
    assert reply.reason == "too_busy"
    assert len(bench.engine.asked) == 1, "the standing one"


def test_one_question_a_tick_in_the_order_in_which_they_came() -> None:
    bench = Bench(answers=scripted(0.1))
    bench.show(changing(0.0))
    for ask_id in "abc":
        bench.visits.put(ask(ask_id))
    answered = []
    for _ in range(3):
        bench.runner.step()
        [(one, _)] = bench.visits.replies(0.0)
        answered.append(one.id)
    assert answered == ["a", "b", "c"]


def test_of_a_camera_that_shows_nothing_the_model_is_not_asked() -> None:
    bench = Bench(answers=scripted(0.9))
    bench.show(changing(0.0))
    bench.status.set("yard", "frozen", reason="identical_frames")
    bench.status.set("hall", "connecting")
    for camera_id in ("yard", "hall"):
        bench.visits.put(ask(camera_id, camera_id=camera_id))
        bench.runner.step()
    told = [data(reply) for reply in replies(bench)]
    assert [(one["answer"], one["reason"]) for one in told] == [
        ("unknown", "frozen"),
        ("unknown", "stalled"),
    ]
    assert bench.engine.asked == []


def test_without_memory_the_answer_is_unknown_and_standing_questions_go_on() -> None:
    bench = Bench(answers=scripted(0.9))
    bench.show(changing(0.0))
    bench.engine.max_batch = 0
    bench.visits.put(ask())
    bench.runner.step()
    assert data(replies(bench)[0])["reason"] == "no_memory"


def test_a_flood_is_refused_by_rate_and_by_number() -> None:
    clock = FakeClock()
    visits = Visits(clock=clock, observer=UNOBSERVED)
    refused = [visits.put(ask()) for _ in range(BURST + 1)]
    assert refused[:BURST] == [None] * BURST
    assert refused[-1] is not None
    assert (refused[-1].reason, refused[-1].id) == ("too_many", "a")
    clock.seconds += 1 / PER_S
    full = visits.put(ask())
    assert full is not None
    assert full.detail == f"expected at most {MAX_WAITING} asks at once"
    visits.answer_one(lambda _one: pytest.fail("it is late"), is_late=True)
    assert visits.num_open == BURST


def test_the_last_picture_is_the_one_that_the_model_was_shown_until_it_is_forgotten() -> None:
    bench = Bench(FIRE, answers=scripted(0.1))
    bench.show(changing(0.0), changing(1.0))
    last = bench.visits.last("yard")
    assert last is not None
    assert last.frame.pts_s == 1.0
    assert last.pruned.num_kept == 1
    assert bench.visits.cameras() == ["yard"]
    bench.show(frame_at(700.0, camera_id="hall"))
    assert bench.visits.cameras() == ["hall"]
