import json
from dataclasses import replace
from threading import Event

import numpy as np
import pytest

from model.types import Answer, PatchGrid, Question
from pipeline.event_states import state_name
from pipeline.events import EventRule
from pipeline.metrics import (
    ANSWER_MASS,
    ANSWERS_UNKNOWN,
)
from pipeline.questions import StandingQuestion
from pipeline.rebuilding import LOOK_S
from pipeline.runner import IDLE_S
from pipeline.types import Receipt
from tests.fakes import (
    frame_at,
)
from tests.pipeline.runner_bench import CAPTION, FIRE, Bench, changing, offer, said, scripted


def test_captions_and_answers_come_at_their_periods_of_stream_time() -> None:
    bench = Bench(CAPTION, FIRE, answers=scripted(0.1))
    bench.show(*(changing(float(second)) for second in range(21)))
    assert len(bench.data("caption")) == 3
    assert len(bench.data("answer")) == 5


def test_captions_wait_for_news_where_that_is_asked_for() -> None:
    quiet, busy = (Bench(CAPTION, answers=scripted(0.1), caption_when="news") for _ in range(2))
    large = PatchGrid(4, 8)  # an eighth of it is four tokens
    still = [frame_at(float(second), grid=large) for second in range(31)]
    quiet.show(*still[:12], changing(12.0, grid=large), *still[13:])
    assert quiet.caption_seconds() == [0]
    busy.show(*still[:12], *(changing(float(second), grid=large) for second in range(12, 31)))
    assert busy.caption_seconds() == [0, 15, 19, 29]  # due at 9, 19 and 29 s


def test_captions_come_when_the_model_finds_something_worth_saying() -> None:
    bench = Bench(CAPTION, FIRE, answers=scripted(0.1), caption_when="model")
    worth = {7: 0.9, 8: 0.9, 15: 0.8}

    def found(camera_id: str) -> float:
        return worth.get(int(bench.engine.windows[camera_id][0].end_pts_s), 0.1)

    bench.engine.worth = found
    bench.show(*(changing(float(second)) for second in range(21)))
    assert bench.caption_seconds() == [0, 7, 15]
    assert len(bench.data("answer")) == 5  # as ever


def test_an_answer_stands_without_asking_while_nothing_changes() -> None:
    bench = Bench(CAPTION, FIRE, answers=scripted(0.1))
    bench.show(*(frame_at(float(second)) for second in range(21)))
    assert len(bench.engine.shown) == 1
    assert len(bench.engine.asked) == 2
    assert [answer["reused"] for answer in bench.data("answer")] == [False, True, True, True, True]
    assert len(bench.data("caption")) == 1


def test_an_answer_does_not_outlive_the_context_it_was_given_about() -> None:
    bench = Bench(CAPTION, FIRE, answers=scripted(0.1), window_s=60.0)
    bench.show(*(frame_at(float(second)) for second in range(151)))
    assert [frame.pts_s for frame in bench.engine.shown] == [0.0, 30.0, 60.0, 90.0, 120.0, 150.0]
    # Contexts take over at 60 s, and then every half window; each is asked about once.
    at_s = [n * 5 for n, answer in enumerate(bench.data("answer")) if not answer["reused"]]
    assert at_s == [0, 60, 90, 120, 150]
    assert len(bench.data("caption")) == 5
    assert len(bench.engine.asked) == 10


def test_a_standby_context_that_begins_leaves_answers_as_they_are() -> None:
    bench = Bench(FIRE, answers=scripted(0.1), window_s=60.0)
    bench.show(*(frame_at(float(second)) for second in range(0, 60, 5)))
    assert len(bench.engine.shown) == 2
    assert len(bench.engine.asked) == 1


def test_a_stream_that_starts_again_is_asked_again_though_nothing_changed() -> None:
    bench = Bench(FIRE, answers=scripted(0.1))
    bench.show(frame_at(0.0), frame_at(10.0), frame_at(0.0), frame_at(5.0))
    assert [answer["reused"] for answer in bench.data("answer")] == [False, True, False, True]


def test_cameras_without_news_do_not_feel_that_others_find_no_memory() -> None:
    bench = Bench(FIRE, answers=scripted(0.1), window_s=60.0)
    still, moving = frame_at(0.0, camera_id="still"), changing(0.0)
    offer(bench, still, moving)
    bench.engine.max_batch = 0
    bench.clock.seconds = 5.0
    offer(bench, replace(still, pts_s=5.0), replace(changing(6.0), pts_s=5.0))
    assert [answer["camera_id"] for answer in bench.data("answer")] == ["still", "yard", "still"]
    window = bench.engine.window("still")
    assert window is not None
    assert window.end_pts_s == 5.0


def test_a_context_that_there_is_no_memory_for_begins_later() -> None:
    bench = Bench(FIRE, answers=scripted(0.1), window_s=60.0)
    bench.show(frame_at(0.0))
    bench.engine.max_batch = 0
    bench.show(frame_at(30.0))
    assert len(bench.data("answer")) == 1
    bench.engine.max_batch = None
    bench.show(frame_at(31.0))
    assert [frame.pts_s for frame in bench.engine.shown] == [0.0, 31.0]
    assert [answer["reused"] for answer in bench.data("answer")] == [False, True]


def test_a_reply_tells_what_it_was_made_of() -> None:
    bench = Bench(FIRE, answers=scripted(0.1))
    bench.show(changing(0.0), changing(1.0), changing(2.0), changing(5.0))
    reply = bench.data("answer")[-1]
    assert reply["tokens"] == {"kept": 12 + 3, "total": 48, "kept_ratio": pytest.approx(15 / 48)}
    assert reply["frame_age_ms"] == 250
    assert reply["window"] == {
        "start": "2026-01-02T03:04:05.000Z",
        "end": "2026-01-02T03:04:10.000Z",
        "frames": 4,
    }


def test_a_reply_says_so_while_there_are_damaged_frames_in_the_window() -> None:
    bench = Bench(FIRE, answers=scripted(0.9), window_s=10.0)
    for second in range(30):
        bench.show(replace(changing(float(second)), is_damaged=second == 5))
    told = {one["captured_at"]: one["damaged"] for one in bench.data("answer")}
    assert list(told.values()) == [False, True, True, False, False, False]


@pytest.mark.parametrize(
    ("p", "answer"), [(0.1, "no"), (0.39, "no"), (0.4, "unknown"), (0.5, "unknown"), (0.6, "yes")]
)
def test_a_doubtful_yes_or_no_is_published_as_unknown(p: float, answer: str) -> None:
    bench = Bench(FIRE, answers=scripted(p))
    bench.show(changing(0.0))
    assert [(one["answer"], one["p"]) for one in bench.data("answer")] == [(answer, p)]


def test_an_answer_that_the_model_hardly_gives_is_unknown_counted_and_moves_no_event() -> None:
    def answers(_camera_id: str, _question: Question) -> Answer:
        return replace(said("yes_no", "yes", 0.99), mass=0.01)

    bench = Bench(FIRE, answers=answers)
    bench.show(changing(0.0), frame_at(5.0, changing(0.0).pixels), changing(11.0))
    assert [
        (one["answer"], one["p"], one["mass"], one["reason"], one["reused"])
        for one in bench.data("answer")
    ] == [
        ("unknown", None, 0.01, "no_answer", False),
        ("unknown", None, 0.01, "no_answer", True),
        ("unknown", None, 0.01, "no_answer", False),
    ]
    assert bench.data("event") == []
    assert bench.observer.numbers(ANSWER_MASS, kind="yes_no") == [0.01, 0.01], "given, not repeated"
    assert bench.observer.totals(ANSWERS_UNKNOWN, by="reason") == {"no_answer": 3}
    assert bench.observer.totals(ANSWERS_UNKNOWN, by="camera") == {"yard": 3}


def test_an_answer_is_told_with_its_mass_and_no_reason() -> None:
    bench = Bench(FIRE, answers=lambda _c, _q: replace(said("yes_no", "no", 0.1), mass=0.9))
    bench.show(changing(0.0))
    assert [(one["mass"], one["reason"]) for one in bench.data("answer")] == [(0.9, None)]
    assert bench.observer.numbers(ANSWERS_UNKNOWN) == []


def test_text_that_was_cut_says_so() -> None:
    what = StandingQuestion("what", Question("text", "What is there?"), every_s=5.0)
    bench = Bench(
        CAPTION, what, answers=lambda _c, q: replace(said(q.kind, "a yard"), is_truncated=True)
    )
    bench.show(changing(0.0))
    assert [one["truncated"] for one in bench.data("caption") + bench.data("answer")] == [True] * 2
    assert bench.observer.numbers(ANSWER_MASS) == []


def test_every_message_of_an_answer_says_whether_the_model_is_a_demonstration() -> None:
    for is_demo in (True, False):
        bench = Bench(CAPTION, FIRE, answers=scripted(0.9))
        bench.engine.is_demo_model = is_demo
        bench.show(changing(0.0))
        told = {kind: bench.data(kind) for kind in ("caption", "answer", "event")}
        assert {kind: [one["demo_model"] for one in said] for kind, said in told.items()} == {
            kind: [is_demo] for kind in told
        }


def test_an_event_that_ends_says_that_it_was_for_the_answer() -> None:
    numbers = iter([0.9, 0.1])
    bench = Bench(FIRE, answers=lambda _c, _q: said("yes_no", "yes", next(numbers)))
    bench.show(changing(0.0), changing(6.0))
    assert [(one["phase"], one["reason"]) for one in bench.data("event")] == [
        ("start", None),
        ("end", "answer"),
    ]


def test_an_event_starts_with_its_state_in_one_put() -> None:
    bench = Bench(FIRE, answers=scripted(0.9))
    bench.show(changing(0.0))
    (event,) = bench.data("event")
    assert (event["phase"], event["event_id"]) == ("start", "e1")
    assert json.loads(bench.replies.states[state_name("yard", FIRE)])["event_id"] == "e1"


def test_an_event_that_was_on_before_a_restart_is_not_announced_again() -> None:
    before = Bench(FIRE, answers=scripted(0.9))
    before.show(changing(0.0))
    after = Bench(FIRE, answers=scripted(0.9), states=before.replies.states)
    after.show(changing(5.0))
    assert after.data("event") == []


def test_records_are_settled_only_after_their_replies_are_stored() -> None:
    bench = Bench(FIRE, answers=scripted(0.1))
    order: list[str] = []
    put = bench.replies.put
    bench.replies.put = lambda *a, **k: (order.append("put"), put(*a, **k))[1]  # type: ignore[method-assign, func-returns-value]  # listening in
    bench.runner._settling._settle = lambda frame: order.append(f"settle {frame.receipt}")
    receipt = Receipt("the seventh")
    bench.show(frame_at(0.0, receipt=receipt))
    assert order == ["put", f"settle {receipt}"]


def test_it_is_looked_soon_whether_replies_have_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition goes to another worker once they have, and while it waits all cameras do."""
    bench, waits, stop = Bench(FIRE, answers=scripted(0.1)), list[float](), Event()
    monkeypatch.setattr(bench.lanes, "wait", waits.append)
    monkeypatch.setattr(bench.replies, "first_waiting", lambda: 1 if len(waits) < 2 else None)
    bench.show(frame_at(0.0, receipt=Receipt("the first")))
    assert not bench.settled
    bench.runner.run(stop, beat=lambda: stop.set() if len(waits) == 3 else None)
    assert len(bench.settled) == 1
    assert waits == [LOOK_S, LOOK_S, IDLE_S]


def test_counts_and_options_raise_events_where_they_are_told_to() -> None:
    cars = StandingQuestion(
        "cars",
        Question("count", "How many cars?"),
        every_s=1.0,
        rule=EventRule(target=2, confirm_n=1, confirm_m=1),
    )
    numbers = iter([0, 1, 2, 3, 0])
    bench = Bench(cars, answers=lambda _c, _q: said("count", next(numbers), 0.9))
    bench.show(*(changing(float(second)) for second in range(5)))
    assert [answer["answer"] for answer in bench.data("answer")] == [0, 1, 2, 3, 0]
    assert [(one["phase"], one["answer"]) for one in bench.data("event")] == [
        ("start", 2),
        ("end", 0),
    ]


def test_cameras_do_not_share_contexts_answers_or_events() -> None:
    def answers(camera_id: str, _question: Question) -> Answer:
        return said("yes_no", "yes", 0.9) if camera_id == "b" else said("yes_no", "no", 0.1)

    bench = Bench(FIRE, answers=answers)
    bench.show(frame_at(0.0, camera_id="a"), frame_at(0.0, camera_id="b"))
    assert [(one["camera_id"], one["answer"]) for one in bench.data("answer")] == [
        ("a", "no"),
        ("b", "yes"),
    ]
    assert [one["camera_id"] for one in bench.data("event")] == ["b"]


def test_a_question_for_one_camera_is_not_asked_of_others() -> None:
    only_b = StandingQuestion(
        "fire", FIRE.question, every_s=5.0, cameras=frozenset({"b"}), rule=FIRE.rule
    )
    bench = Bench(only_b, answers=scripted(0.1))
    bench.show(frame_at(0.0, camera_id="a"), frame_at(0.0, camera_id="b"))
    assert [camera_id for camera_id, _ in bench.engine.asked] == ["b"]


def test_stream_time_that_jumps_back_keeps_the_ratio_sane() -> None:
    bench = Bench(FIRE, answers=scripted(0.1))
    bench.show(*(changing(float(second)) for second in range(100, 120)))
    bench.show(*(changing(float(second)) for second in range(20)))
    tokens = bench.data("answer")[-1]["tokens"]
    assert isinstance(tokens, dict)
    assert 0 < tokens["kept"] <= tokens["total"]
    assert np.isfinite(tokens["kept_ratio"])


def test_a_stretch_is_published_as_wall_clock_and_stands_there() -> None:
    truck = StandingQuestion("truck", Question("when", "When did it come?"), every_s=5.0)

    def answers(_camera_id: str, question: Question) -> Answer:
        return replace(said(question.kind, "1.0-4.0 s"), span_s=(97.0, 99.5))

    bench = Bench(truck, answers=answers)
    bench.show(*(frame_at(100.0 + second) for second in (0.0, 5.0, 10.0)))
    interval = "2026-01-02T03:05:42.000Z/2026-01-02T03:05:44.500Z"
    told = [(one["answer"], one["p"], one["reused"]) for one in bench.data("answer")]
    assert told == [(interval, None, False), (interval, None, True), (interval, None, True)]
    assert bench.data("event") == []


def test_a_stretch_that_is_none_is_unknown() -> None:
    truck = StandingQuestion("truck", Question("when", "When did it come?"), every_s=5.0)
    bench = Bench(truck, answers=lambda _c, question: said(question.kind, "At noon."))
    bench.show(frame_at(0.0))
    [told] = bench.data("answer")
    assert (told["answer"], told["p"], told["reason"]) == ("unknown", None, "no_answer")
