from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline.messages import rfc3339
from worker.demo.timeline import Stay, Timeline
from worker.demo.verdict import SUBJECTS, Judge

BEGAN = datetime(2026, 1, 2, 3, 4, 5, 120_000, tzinfo=UTC)
RED = Stay(
    "person in red", "person", "red", 12.0, 19.0, "enters from the left", (), "leaves to the left"
)
CAR = Stay("blue car", "car", "blue", 15.0, 25.0, "enters from the right", (), "leaves to the left")
SMOKE = Stay("smoke", "smoke", "", 30.0, 35.0, "starts", (), "ends")
TIMELINE = Timeline(40.0, (RED, CAR, SMOKE))


@pytest.fixture
def judge() -> Judge:
    judge = Judge(TIMELINE)
    judge.verdict("caption", caption(0.0, 0.0, "Nothing happens."))
    judge.tally.clear()
    return judge


def at(stream_s: float) -> str:
    return rfc3339(BEGAN + timedelta(seconds=stream_s))


def caption(start_s: float, end_s: float, text: str) -> dict[str, Any]:
    return {"captured_at": at(end_s), "window": {"start": at(start_s)}, "text": text}


def answered(stream_s: float, question: str, answer: str | int) -> dict[str, Any]:
    return {"captured_at": at(stream_s), "question": question, "answer": answer, "kind": "yes_no"}


def event(phase: str, question: str, *, started_s: float, at_s: float) -> dict[str, Any]:
    ended_at = at(at_s) if phase == "end" else None
    said = answered(at_s + 2.0, question, "yes")
    return said | {"phase": phase, "started_at": at(started_s), "ended_at": ended_at}


def test_a_captions_facts_are_counted_against_what_its_window_shows(judge: Judge) -> None:
    text = "A person in red enters from the left and leaves to the right. Smoke appears."
    verdict = judge.verdict("caption", caption(8.0, 23.0, text))
    assert verdict is not None
    assert verdict.truth == (
        "8.0 s to 23.0 s: person in red enters from the left, leaves to the left, 12.0-19.0 s; "
        "blue car enters from the right, 15.0-25.0 s"
    )
    assert (verdict.right, verdict.said, verdict.told, verdict.true) == (1, 3, 1, 3)
    assert not verdict.is_right


def test_a_caption_that_tells_all_is_right(judge: Judge) -> None:
    text = "A person in red enters from the left and goes off to the left, and a blue car arrives"
    verdict = judge.verdict("caption", caption(8.0, 23.0, f"{text} from the right."))
    assert verdict is not None
    assert verdict.is_right


@pytest.mark.parametrize(
    ("stream_s", "question", "answer", "is_right"),
    [
        (14.0, "Is a person in view?", "yes", True),
        (14.0, "Is a person in view?", "unknown", False),
        (5.0, "Is a person in view?", "yes", False),
        (40.0 + 14.0, "Is a person in view?", "yes", True),
        (11.5, "Is a person in view?", "yes", True),
        (11.5, "Is a person in view?", "no", True),
        (33.0, "Is there smoke?", "no", False),
        (16.0, "How many people are there?", 1, True),
        (16.0, "How many people are there?", 2, False),
        (17.0, "Who or what is in view?", "a blue car and a person in red", True),
        (17.0, "Who or what is in view?", "a blue car", False),
        (5.0, "Who or what is in view?", "nobody", True),
    ],
)
def test_an_answer_is_held_against_its_moment(
    judge: Judge, stream_s: float, question: str, answer: str | int, *, is_right: bool
) -> None:
    verdict = judge.verdict("answer", answered(stream_s, question, answer))
    assert verdict is not None
    assert verdict.is_right == is_right


def test_the_truth_of_an_answer_names_what_is_there(judge: Judge) -> None:
    verdict = judge.verdict("answer", answered(54.0, "Is a person in view?", "yes"))
    assert verdict is not None
    assert verdict.truth == "14.0 s: yes (person in red 12.0-19.0 s)"


def test_an_event_is_held_against_the_moment_it_names(judge: Judge) -> None:
    person = "Is a person in view?"
    for said in (
        event("start", person, started_s=12.0, at_s=12.0),
        event("update", person, started_s=12.0, at_s=14.0),
        event("end", person, started_s=12.0, at_s=20.0),
        event("start", "Is there smoke?", started_s=3.0, at_s=3.0),
    ):
        judge.verdict("event", said)
    assert judge.in_words() == "events: 3 of 4 right"


def test_a_question_the_timeline_knows_nothing_of_is_not_judged(judge: Judge) -> None:
    assert judge.verdict("answer", answered(3.0, "Is it raining?", "yes")) is None
    assert judge.in_words() == "nothing to judge"


def test_a_camera_that_went_away_begins_its_clip_anew(judge: Judge) -> None:
    judge.verdict("status", {"state": "offline"})
    judge.verdict("answer", answered(7.3, "Is a person in view?", "no"))
    verdict = judge.verdict("answer", answered(7.3 + 13.0, "Is a person in view?", "yes"))
    assert verdict is not None
    assert verdict.truth.startswith("13.0 s: yes")


def test_all_that_was_judged_is_summed_up(judge: Judge) -> None:
    judge.verdict("caption", caption(26.0, 29.0, "Nothing happens."))
    judge.verdict("caption", caption(26.0, 33.0, "Smoke starts, and fire starts."))
    judge.verdict("answer", answered(14.0, "Is there smoke?", "no"))
    assert judge.in_words() == (
        "captions: 1 of 2 stated facts right, 1 of 1 true ones told; answers: 1 of 1 right"
    )


def test_every_question_of_the_demo_has_a_right_answer() -> None:
    answers = [subject.answer([]) for subject in SUBJECTS.values()]
    assert answers == [
        *["no"] * 5,
        "0",
        "0",
        "nobody",
    ]
