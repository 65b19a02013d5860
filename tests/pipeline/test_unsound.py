"""Cameras whose pictures say nothing now, and events that no answer can end, through the runner."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import pytest

from model.types import Answer, Question
from pipeline.events import EventRule
from pipeline.metrics import ANSWERS_UNKNOWN, EVENTS, REPLIES
from pipeline.questions import StandingQuestion
from pipeline.types import CameraState, Frame, StatusReason
from tests.fakes import FakeClock, frame_at
from tests.pipeline.runner_bench import CAPTION, FIRE, Bench, changing, crowd, said, scripted

UNSOUND: list[tuple[CameraState, StatusReason, str]] = [
    ("frozen", "identical_frames", "frozen"),
    ("degraded", "damaged", "damaged"),
    ("degraded", "no_memory", "no_memory"),
    ("offline", "stalled", "stalled"),
    ("offline", "unreachable", "stalled"),
    ("offline", "auth_failed", "stalled"),
]
SOUND: list[tuple[CameraState, StatusReason | None]] = [
    ("online", None),
    ("degraded", "load_captions"),
    ("degraded", "outbox"),
    ("degraded", "lagging"),
    ("connecting", None),
]


def idle(bench: Bench, seconds: float) -> None:
    """Let the inference thread look for frames every half second, in vain."""
    end_s = bench.clock.seconds + seconds
    while bench.clock.seconds < end_s:
        bench.clock.seconds += 0.5
        bench.runner.step()


@pytest.mark.parametrize(("state", "reason", "told"), UNSOUND)
def test_answers_about_a_camera_that_shows_nothing_are_unknown_though_no_frame_comes(
    state: CameraState, reason: StatusReason, told: str
) -> None:
    """Seen on the product: a frozen camera's 94 answers in 46 s looked fresh."""
    bench = Bench(CAPTION, FIRE, answers=scripted(0.9))
    bench.show(changing(0.0), changing(5.0))
    bench.status.set("yard", state, reason=reason)
    num_asked = len(bench.engine.asked)
    idle(bench, 46.0)
    assert len(bench.engine.asked) == num_asked, "the model is not asked"
    answers = bench.data("answer")[2:]
    assert len(answers) == 9
    assert {(one["answer"], one["p"], one["mass"], one["reason"]) for one in answers} == {
        ("unknown", None, None, told)
    }
    assert {(str(one["captured_at"]), one["damaged"]) for one in answers} == {
        ("2026-01-02T03:04:10.000Z", told == "damaged")
    }
    assert {str(one["window"]) for one in answers} == {str(bench.data("answer")[1]["window"])}
    assert [one["phase"] for one in bench.data("event")] == ["start"]
    assert bench.observer.totals(ANSWERS_UNKNOWN, by="reason") == {told: 9}
    assert bench.observer.total(REPLIES, kind="answer") == 11


@pytest.mark.parametrize(("state", "reason"), SOUND)
def test_other_states_make_no_answer_unknown(
    state: CameraState, reason: StatusReason | None
) -> None:
    bench = Bench(FIRE, answers=scripted(0.9))
    bench.show(changing(0.0))
    bench.status.set("yard", state, reason=reason)
    bench.show(changing(5.0))
    idle(bench, 30.0)
    answers = bench.data("answer")
    assert [one["answer"] for one in answers] == ["yes", "yes"]
    assert [one["degraded"] for one in answers] == [False, state == "degraded"]


@pytest.mark.parametrize(
    ("state", "reason", "told"),
    [("frozen", "identical_frames", "frozen"), ("degraded", "damaged", "damaged")],
)
def test_frames_of_a_camera_that_shows_nothing_are_not_asked_about_and_move_no_event(
    state: CameraState, reason: StatusReason, told: str
) -> None:
    numbers = iter([0.9, 0.1, 0.1])
    bench = Bench(FIRE, answers=lambda _c, q: said(q.kind, "yes", next(numbers)))
    bench.show(changing(0.0))
    bench.status.set("yard", state, reason=reason)
    bench.show(*(changing(float(second)) for second in range(1, 21)))
    answers = bench.data("answer")
    assert [one["reason"] for one in answers] == [None, *[told] * 4]
    assert answers[-1]["captured_at"] == "2026-01-02T03:04:25.000Z", "the last frame's"
    assert [one["phase"] for one in bench.data("event")] == ["start"]
    bench.status.set("yard", "online")
    bench.show(changing(21.0))
    assert [one["phase"] for one in bench.data("event")] == ["start", "end"], "asked at once"


def test_a_frame_that_came_before_its_camera_was_lost_is_still_answered() -> None:
    """The last frame of a file is taken after the file has ended."""
    bench = Bench(FIRE, answers=scripted(0.9))
    bench.show(changing(0.0))
    bench.status.set("yard", "offline", reason="ended")
    bench.show(changing(5.0))
    assert [one["reason"] for one in bench.data("answer")] == [None, None]


def test_a_camera_without_memory_is_unknown_once_its_frames_have_come() -> None:
    bench = Bench(FIRE, answers=scripted(0.9))
    bench.engine.max_streams = 0
    bench.status.set("c0", "connecting")
    idle(bench, 20.0)
    assert bench.data("answer") == [], "a camera that was never seen has no answers"
    for second in range(20, 31):
        crowd(bench, float(second), 1)
        bench.status.set("c0", "degraded", reason="no_memory")
        bench.clock.seconds += 1.0
    answers = bench.data("answer")
    assert [one["reason"] for one in answers] == ["no_memory"] * 2
    assert answers[0]["tokens"] == {"kept": 0, "total": 0, "kept_ratio": 0.0}
    window = answers[0]["window"]
    assert isinstance(window, Mapping)
    assert (window["frames"], window["start"]) == (0, answers[0]["captured_at"])


def test_a_camera_away_for_long_is_told_of_no_more() -> None:
    bench = Bench(FIRE, answers=scripted(0.9))
    bench.show(changing(0.0))
    bench.status.set("yard", "offline", reason="unreachable")
    idle(bench, 605.0)
    (start, end) = bench.data("event")
    assert (end["phase"], end["reason"], end["answer"], end["p"]) == (
        "end",
        "camera_lost",
        "yes",
        None,
    )
    assert (end["ended_at"], end["event_id"]) == (start["captured_at"], start["event_id"])
    assert bench.observer.total(EVENTS, phase="end", reason="camera_lost") == 1
    assert bench.observer.total(EVENTS, phase="start", reason="") == 1
    num_told = len(bench.data("answer"))
    assert bench.data("answer")[-1]["reason"] == "stalled"
    idle(bench, 100.0)
    assert len(bench.data("answer")) == num_told


def test_a_frozen_camera_is_lost_after_the_same_time() -> None:
    bench = Bench(FIRE, answers=scripted(0.9))
    bench.show(changing(0.0))
    bench.status.set("yard", "frozen", reason="identical_frames")
    bench.show(*(frame_at(float(second), changing(0.0).pixels) for second in range(1, 610)))
    assert [(one["phase"], one["reason"]) for one in bench.data("event")] == [
        ("start", None),
        ("end", "camera_lost"),
    ]
    assert bench.data("answer")[-1]["reason"] == "frozen", "its frames come: it is here"


def test_a_model_that_no_longer_answers_cannot_keep_an_event() -> None:
    def answers() -> Iterator[Answer]:
        yield said("yes_no", "yes", 0.9)
        while True:
            yield replace(said("yes_no", "yes", 0.9), mass=0.01)

    given = answers()
    bench = Bench(FIRE, answers=lambda _c, _q: next(given))
    bench.show(*(changing(float(second)) for second in range(610)))
    assert [one["reason"] for one in bench.data("event")] == [None, "camera_lost"]


def test_answers_in_doubt_keep_an_event_open() -> None:
    numbers = iter([0.9])
    bench = Bench(FIRE, answers=lambda _c, _q: said("yes_no", "yes", next(numbers, 0.5)))
    bench.show(*(changing(float(second)) for second in range(1300)))
    assert [one["phase"] for one in bench.data("event")] == ["start"]


def test_a_file_that_has_ended_ends_its_events_with_it() -> None:
    bench = Bench(FIRE, answers=scripted(0.9))
    bench.show(changing(0.0))
    bench.status.set("yard", "offline", reason="ended", is_over=True)
    idle(bench, 0.5)
    assert [one["reason"] for one in bench.data("event")] == [None, "camera_lost"]


def test_evidence_from_before_a_camera_was_lost_starts_no_event() -> None:
    """frigate#4563: one yes, 25 s without the camera, two yes, CONFIRM=3/5."""
    strict = replace(FIRE, rule=EventRule(confirm_n=3, confirm_m=5, evidence_s=30.0))
    bench = Bench(strict, answers=scripted(0.9))
    bench.show(*(changing(float(second)) for second in range(4)))
    bench.status.set("yard", "offline", reason="unreachable")
    bench.clock.seconds = 28.0
    bench.status.set("yard", "online")
    bench.show(*(changing(float(second)) for second in range(29, 37)))
    assert len([one for one in bench.data("answer") if one["answer"] == "yes"]) >= 3
    assert bench.data("event") == []
    bench.show(*(changing(float(second)) for second in range(37, 50)))
    (start,) = bench.data("event")
    window = start["window"]
    assert isinstance(window, Mapping)
    assert str(start["started_at"]) >= "2026-01-02T03:04:34.000Z", "not before the absence"
    assert str(start["started_at"]) >= window["start"]


def test_a_pause_without_a_lost_connection_parts_evidence_too() -> None:
    strict = replace(FIRE, rule=EventRule(confirm_n=2, confirm_m=3))
    bench = Bench(strict, answers=scripted(0.9))
    bench.show(changing(0.0), changing(1.0), changing(26.0))
    assert bench.data("event") == []
    bench.show(changing(27.0), changing(32.0))
    (start,) = bench.data("event")
    assert start["started_at"] == "2026-01-02T03:04:31.000Z"


def test_a_context_that_begins_anew_parts_no_evidence() -> None:
    """The camera had no gap: the model had no memory for it."""
    strict = replace(FIRE, rule=EventRule(confirm_n=2, confirm_m=3))
    bench = Bench(strict, answers=scripted(0.9))
    bench.show(changing(0.0), changing(1.0))
    bench.engine.remove("yard")
    bench.show(changing(5.0))
    assert [one["started_at"] for one in bench.data("event")] == ["2026-01-02T03:04:05.000Z"]


@pytest.mark.parametrize(
    ("window_s", "times_s"),
    [
        pytest.param(1.0, range(20), id="a short window"),
        pytest.param(180.0, range(0, 1000, 200), id="a camera that sends rarely"),
        pytest.param(2.0, (0, 1, 3, 4, 6, 7, 9, 10), id="every other frame"),
    ],
)
def test_a_camera_whose_frames_begin_contexts_has_events(
    window_s: float, times_s: Iterable[int]
) -> None:
    """Each such frame was taken for the first after a gap: 40 times yes, and no event."""
    strict = replace(FIRE, rule=EventRule(confirm_n=2, confirm_m=3))
    bench = Bench(strict, answers=scripted(0.9), window_s=window_s)
    bench.show(*(changing(float(second)) for second in times_s))
    assert [one["phase"] for one in bench.data("event")][:1] == ["start"]


def test_a_camera_whose_frames_begin_contexts_has_gaps_all_the_same() -> None:
    strict = replace(FIRE, rule=EventRule(confirm_n=2, confirm_m=3))
    bench = Bench(strict, answers=scripted(0.9), window_s=1.0)
    bench.show(*(changing(float(second)) for second in range(5)))
    bench.status.set("yard", "offline", reason="unreachable")
    bench.clock.seconds = 5.5
    bench.status.set("yard", "online")
    bench.show(*(changing(float(second)) for second in range(6, 10)))
    assert len(bench.data("answer")) == 2
    assert bench.data("event") == []
    bench.show(*(changing(float(second)) for second in range(10, 15)))
    (start,) = bench.data("event")
    assert str(start["started_at"]) >= "2026-01-02T03:04:11.000Z", "not before the absence"


def restarted(bench: Bench, *questions: StandingQuestion, away_s: float = 5.0) -> Bench:
    """The next process, over the states of this one."""
    clock = FakeClock()
    clock.seconds = bench.clock.seconds + away_s
    return Bench(*questions, answers=scripted(0.9), states=bench.replies.states, clock=clock)


def test_an_event_of_a_question_that_was_changed_ends_in_the_words_it_began_with() -> None:
    """Seen on the product: one event id spoke of two questions."""
    before = Bench(FIRE, answers=scripted(0.9))
    before.show(changing(0.0))
    now = replace(FIRE, question=Question("yes_no", "Is anything burning?"))
    after = restarted(before, now)
    after.runner.step()
    (end,) = after.data("event")
    (start,) = before.data("event")
    assert {name: end[name] for name in ("question", "event_id", "started_at")} == {
        name: start[name] for name in ("question", "event_id", "started_at")
    }
    assert (end["phase"], end["reason"]) == ("end", "question_changed")
    assert (end["captured_at"], end["model"]) == (start["captured_at"], "scripted")
    assert after.replies.states == {}, "forgotten with the message"
    assert after.observer.total(EVENTS, phase="end", reason="question_changed") == 1
    after.show(changing(10.0))
    assert [one["question"] for one in after.data("event")[1:]] == ["Is anything burning?"]


def test_an_event_of_a_camera_that_was_removed_ends_though_it_never_comes() -> None:
    before = Bench(FIRE, answers=scripted(0.9))
    before.show(replace(changing(0.0), camera_id="gone-gate"))
    after = restarted(before, FIRE)
    idle(after, 0.5)
    assert [(one["camera_id"], one["reason"]) for one in after.data("event")] == [
        ("gone-gate", "camera_removed")
    ]


def test_a_camera_of_a_topic_that_does_not_come_again_is_waited_for_and_swept() -> None:
    before = Bench(FIRE, answers=scripted(0.9))
    before.show(changing(0.0))
    after = restarted(before, FIRE)
    idle(after, 590.0)
    assert after.data("event") == []
    idle(after, 10.0)
    assert [one["reason"] for one in after.data("event")] == ["stale"]
    assert after.replies.states == {}


def test_an_uncertain_large_count_ends_no_event() -> None:
    """Seen on the product: three people, p(3) 0.355, EVENT_ON=1: the event ended with answer 3."""
    people = StandingQuestion(
        "people",
        Question("count", "How many people?"),
        every_s=5.0,
        rule=EventRule(target=1, confirm_n=1, confirm_m=1),
    )
    shares = (0.01, 0.1, 0.3, 0.355, 0.235)
    bench = Bench(
        people, answers=lambda _c, _q: replace(said("count", 3, 0.355), mass=0.9, shares=shares)
    )
    bench.show(*(changing(float(second)) for second in range(0, 60, 5)))
    assert [(one["phase"], one["answer"], one["p"]) for one in bench.data("event")] == [
        ("start", 3, 0.99)
    ]


@pytest.mark.parametrize(("p", "phases"), [(0.1, ["start"]), (0.9, [])])
def test_what_is_missing_raises_an_event_on_no(p: float, phases: list[str]) -> None:
    """frigate users: alert when there is NO helmet."""
    helmet = StandingQuestion(
        "helmet",
        Question("yes_no", "Does everybody wear a helmet?"),
        every_s=5.0,
        rule=EventRule(target="no", confirm_n=2, confirm_m=3),
    )
    bench = Bench(helmet, answers=scripted(p))
    bench.show(changing(0.0), changing(5.0), changing(10.0))
    assert [one["phase"] for one in bench.data("event")] == phases
    assert {one["p"] for one in bench.data("event")} <= {0.9}, "of no"


def live_frames(seconds: int) -> Iterator[Frame]:
    yield from (changing(float(second)) for second in range(seconds))


def test_every_event_of_a_run_ends_once_and_under_its_id() -> None:
    numbers = iter([0.9, 0.9, 0.1, 0.1] * 20)
    bench = Bench(
        replace(FIRE, rule=EventRule(confirm_n=1, confirm_m=1, cooldown_s=0.0)),
        answers=lambda _c, _q: said("yes_no", "yes", next(numbers)),
    )
    bench.show(*live_frames(300))
    ids = [(one["event_id"], one["phase"]) for one in bench.data("event")]
    started = [event_id for event_id, phase in ids if phase == "start"]
    assert started == [event_id for event_id, phase in ids if phase == "end"]
    assert len(set(started)) == len(started) == 15
