import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import count, pairwise
from math import inf
from threading import Event

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.types import Answer, PatchGrid, Question
from pipeline.admission_backlog import AdmissionBacklog
from pipeline.caption_gate import When
from pipeline.control import Control
from pipeline.event_machines import EventMachines
from pipeline.event_states import state_name
from pipeline.events import EventRule
from pipeline.evidence import Evidence
from pipeline.lane import Lanes
from pipeline.load import Load
from pipeline.metrics import (
    ANSWER_AGE,
    ANSWER_MASS,
    ANSWERS_LATE,
    ANSWERS_UNKNOWN,
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
from pipeline.pruner import Pruner
from pipeline.questions import CAPTION_ID, StandingQuestion
from pipeline.rebuilding import LOOK_S, Rebuilding
from pipeline.runner import IDLE_S, Runner
from pipeline.sources.base import NO_PAST, Past
from pipeline.status import StatusBoard
from pipeline.tenures import Tenures
from pipeline.ticks import Ticks
from pipeline.types import Frame, Overflow, Receipt
from pipeline.visits import Visits
from tests.fakes import (
    EPOCH,
    SMALL,
    FakeClock,
    ListReplies,
    Recorder,
    ScriptedEngine,
    frame_at,
    picture,
)

CAPTION = StandingQuestion(CAPTION_ID, Question("caption", "Describe."), every_s=10.0)
FIRE = StandingQuestion(
    "fire",
    Question("yes_no", "Is there fire?"),
    every_s=5.0,
    rule=EventRule(confirm_n=1, confirm_m=1),
)


def said(kind: str, value: str | int, p: float | None = None) -> Answer:
    return Answer(kind, value, p, 1)


class Bench:
    """A runner with everything around it in reach."""

    def __init__(
        self,
        *questions: StandingQuestion,
        answers: Callable[[str, Question], Answer],
        states: Mapping[str, str] = {},
        window_s: float = 180.0,
        clock: FakeClock | None = None,
        past: Past = NO_PAST,
        caption_when: When = "periodic",
        evidence: Evidence | None = None,
        paused: tuple[str, ...] = (),
    ) -> None:
        self.clock = clock or FakeClock()
        self.lanes = Lanes(
            lambda _camera_id: Pruner(mode="last_seen", max_staleness_s=inf), clock=self.clock
        )
        self.ticks = Ticks(period_s=1.0, per_period=4)
        self.load = Load(max_age_s=2.0, period_s=1.0, recover_after_s=30.0)
        self.admission_backlog = AdmissionBacklog()
        self.engine = ScriptedEngine(answers, window_s)
        self.replies = ListReplies()
        self.observer = Recorder()
        self.settled: list[Frame] = []
        self.status = StatusBoard(lambda _message: None, clock=self.clock)
        self.visits = Visits(clock=self.clock)
        self.control = Control(questions)
        numbers = count(1)
        self.runner = Runner(
            self.lanes,
            self.engine,
            questions=questions,
            replies=self.replies,
            settle=self.settled.append,
            clock=self.clock,
            observer=self.observer,
            machines=EventMachines(
                questions,
                states=states,
                may_come=lambda camera_id: not camera_id.startswith("gone"),
                forget_after_s=600.0,
                clock=self.clock,
                paused=paused,
                new_id=lambda *_about: f"e{next(numbers)}",
            ),
            status=self.status,
            ticks=self.ticks,
            load=self.load,
            admission_backlog=self.admission_backlog,
            tenures=Tenures(clock=self.clock),
            forget_after_s=600.0,
            rebuilding=Rebuilding(
                self.engine,
                self.lanes,
                past,
                window_s=window_s,
                together=1,
                clock=self.clock,
                observer=self.observer,
            ),
            visits=self.visits,
            evidence=evidence,
            caption_when=caption_when,
            control=self.control,
        )

    def show(self, *frames: Frame) -> None:
        for frame in frames:
            self.lanes.lane(frame.camera_id, overflow=Overflow.WAIT).offer(frame)
            self.clock.seconds = frame.pts_s + 0.25
            self.runner.step()

    def caption_seconds(self) -> list[int]:
        """When the frames were taken that captions are about, in seconds of the stream."""
        taken = [datetime.fromisoformat(str(one["captured_at"])) for one in self.data("caption")]
        return [round((at - EPOCH).total_seconds()) for at in taken]

    def data(self, kind: str) -> list[dict[str, object]]:
        return [message.body["data"] for message in self.replies.messages if message.kind == kind]


def changing(pts_s: float, *, grid: PatchGrid = SMALL) -> Frame:
    """A frame of which one token differs from the second before's."""
    pixels = picture(grid=grid)
    pixels[:28, :28] = 40 + 40 * (int(pts_s) % 5)
    return frame_at(pts_s, pixels, grid=grid)


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


def offer(bench: Bench, *frames: Frame) -> None:
    """Offer frames, live, and step once."""
    for frame in frames:
        bench.lanes.lane(frame.camera_id, overflow=Overflow.LATEST).offer(frame)
    bench.runner.step()


# ---------------------------------------------------------------- load, memory, cameras that go


def crowd(bench: Bench, pts_s: float, number: int, *, first: int = 0) -> None:
    """Offer a frame of each of so many cameras, live, and step."""
    for n in range(first, number):
        lane = bench.lanes.lane(f"c{n}", overflow=Overflow.LATEST)
        lane.offer(replace(changing(pts_s), camera_id=f"c{n}"))
    bench.runner.step()


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
