import json
from collections.abc import Callable
from datetime import timedelta
from itertools import count

import numpy as np
import pytest

from model.types import Answer, Question
from pipeline.events import EventMachine, EventRule
from pipeline.lane import Lanes
from pipeline.pruner import Pruner
from pipeline.questions import CAPTION_ID, StandingQuestion
from pipeline.runner import Runner
from pipeline.types import Frame, Overflow, Receipt
from tests.fakes import EPOCH, FakeClock, ListReplies, NoObserver, ScriptedEngine, frame_at, picture

CAPTION = StandingQuestion(CAPTION_ID, Question("caption", "Describe."), every_s=10.0)
FIRE = StandingQuestion(
    "fire",
    Question("yes_no", "Is there fire?"),
    every_s=5.0,
    rule=EventRule(confirm_n=1, confirm_m=1),
)


def said(kind: str, text: str, p: float | None = None) -> Answer:
    return Answer(kind, text, p, 1)  # type: ignore[arg-type]  # a kind by parameter


class Bench:
    """A runner with everything around it in reach."""

    def __init__(
        self,
        *questions: StandingQuestion,
        answers: Callable[[str, Question], Answer],
        restored: EventMachine | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.lanes = Lanes(lambda _camera_id: Pruner())
        self.engine = ScriptedEngine(answers)
        self.replies = ListReplies()
        self.settled: list[Frame] = []
        numbers = count(1)

        def new_machine(_camera_id: str, standing: StandingQuestion) -> EventMachine | None:
            if standing.rule is None:
                return None
            return restored or EventMachine(standing.rule, new_id=lambda: f"e{next(numbers)}")

        self.runner = Runner(
            self.lanes,
            self.engine,
            questions=questions,
            replies=self.replies,
            settle=self.settled.append,
            clock=self.clock,
            observer=NoObserver(),
            new_machine=new_machine,
        )

    def show(self, *frames: Frame) -> None:
        for frame in frames:
            self.lanes.lane(frame.camera_id, overflow=Overflow.WAIT).offer(frame)
            self.clock.seconds = frame.pts_s + 0.25
            self.runner.step(timeout_s=0.0)

    def data(self, kind: str) -> list[dict[str, object]]:
        return [message.body["data"] for message in self.replies.messages if message.kind == kind]


def changing(pts_s: float) -> Frame:
    """A frame of which one token differs from the second before's."""
    pixels = picture()
    pixels[:28, :28] = 40 + 40 * (int(pts_s) % 5)
    return frame_at(pts_s, pixels)


def scripted(p: float) -> Callable[[str, Question], Answer]:
    def answer(_camera_id: str, question: Question) -> Answer:
        if question.kind == "caption":
            return said("caption", "a yard")
        return said("yes_no", "yes" if p >= 0.5 else "no", p)

    return answer


def test_captions_and_answers_come_at_their_periods_of_stream_time() -> None:
    bench = Bench(CAPTION, FIRE, answers=scripted(0.1))
    bench.show(*(changing(float(second)) for second in range(21)))
    assert len(bench.data("caption")) == 3
    assert len(bench.data("answer")) == 5


def test_an_answer_stands_without_asking_while_nothing_changes() -> None:
    bench = Bench(CAPTION, FIRE, answers=scripted(0.1))
    bench.show(*(frame_at(float(second)) for second in range(21)))
    assert len(bench.engine.shown) == 1
    assert len(bench.engine.asked) == 2
    assert [answer["reused"] for answer in bench.data("answer")] == [False, True, True, True, True]
    assert len(bench.data("caption")) == 1


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


@pytest.mark.parametrize(
    ("p", "answer"), [(0.1, "no"), (0.39, "no"), (0.4, "unknown"), (0.5, "unknown"), (0.6, "yes")]
)
def test_a_doubtful_yes_or_no_is_published_as_unknown(p: float, answer: str) -> None:
    bench = Bench(FIRE, answers=scripted(p))
    bench.show(changing(0.0))
    assert [(one["answer"], one["p"]) for one in bench.data("answer")] == [(answer, p)]


def test_an_event_starts_with_its_state_in_one_put() -> None:
    bench = Bench(FIRE, answers=scripted(0.9))
    bench.show(changing(0.0))
    (event,) = bench.data("event")
    assert (event["phase"], event["event_id"]) == ("start", "e1")
    assert json.loads(bench.replies.states["yard/fire"])["event_id"] == "e1"


def test_an_event_that_was_on_before_a_restart_is_not_announced_again() -> None:
    before = EventMachine(EventRule(confirm_n=1, confirm_m=1), new_id=lambda: "old")
    before.step(0.9, EPOCH - timedelta(seconds=10))
    bench = Bench(FIRE, answers=scripted(0.9), restored=before)
    bench.show(changing(0.0))
    assert bench.data("event") == []


def test_records_are_settled_only_after_their_replies_are_stored() -> None:
    bench = Bench(FIRE, answers=scripted(0.1))
    order: list[str] = []
    put = bench.replies.put
    bench.replies.put = lambda *a, **k: (order.append("put"), put(*a, **k))[1]  # type: ignore[method-assign, func-returns-value]  # listening in
    bench.runner._settle = lambda frame: order.append(f"settle {frame.receipt}")
    receipt = Receipt("frames", 0, 7)
    bench.show(frame_at(0.0, receipt=receipt))
    assert order == ["put", f"settle {receipt}"]


def test_counts_and_options_raise_events_where_they_are_told_to() -> None:
    cars = StandingQuestion(
        "cars",
        Question("count", "How many cars?"),
        every_s=1.0,
        rule=EventRule(confirm_n=1, confirm_m=1),
        event_on=2,
    )
    numbers = iter(["0", "1", "2", "3", "0"])
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
