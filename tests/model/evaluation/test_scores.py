"""Scores of hand-made answers, by sums one can do in the head."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import InputError
from model.evaluation.scores import (
    Judged,
    accuracy,
    balanced_accuracy,
    by_topic,
    fact_score,
    mean_iou,
    share_of,
    span_iou,
    span_of,
)


def judged(expected: str, said: str, *, topic: str = "smoke", task: str = "yes_no") -> Judged:
    return Judged(task, topic, expected, said)


def test_always_saying_the_likelier_answer_gains_nothing() -> None:
    answers = [judged("no", "no")] * 9 + [judged("yes", "no")]
    assert accuracy(answers) == 0.9
    assert balanced_accuracy(answers) == 0.5


def test_topics_count_by_how_often_they_were_asked() -> None:
    smoke = [judged("yes", "yes"), judged("no", "no")]
    fire = [judged("yes", "no", topic="fire"), judged("no", "no", topic="fire")] * 3
    assert balanced_accuracy(smoke + fire) == pytest.approx((2 * 1.0 + 6 * 0.5) / 8)
    assert list(by_topic(smoke + fire)) == ["fire", "smoke"]


def test_an_answer_that_was_never_due_does_not_count() -> None:
    assert balanced_accuracy([judged("yes", "yes"), judged("yes", "no")]) == 0.5


def test_the_share_of_yes_is_that_of_the_truth() -> None:
    assert share_of("yes", [judged("yes", "no"), judged("no", "yes"), judged("no", "no")]) == 1 / 3


def test_a_text_is_right_to_the_letter_or_wrong() -> None:
    said = ["a red car", " a red car\n", "A red car", "red car"]
    answers = [judged("a red car", one, task="text") for one in said]
    assert [one.is_right for one in answers] == [True, True, False, False]


def test_no_answers_have_no_score() -> None:
    for score in (accuracy, balanced_accuracy, mean_iou):
        with pytest.raises(InputError, match="expected answers"):
            score([])


RED = ("person", "red")
ENTERS, STOPS = (*RED, "enters from the left"), (*RED, "stops")
OPENS = ("gate", "", "opens")


def caption(said: str, *facts: tuple[str, str, str]) -> Judged:
    return Judged("caption", "caption", "", said, frozenset(facts))


def test_captions_are_worth_the_facts_they_state() -> None:
    score = fact_score(
        [
            caption("A person in red enters from the left and stops.", ENTERS, STOPS),
            caption("A person in blue stops, and the gate opens.", STOPS, OPENS),
            caption("Nothing happens."),
        ]
    )
    assert (score.num_true, score.num_told, score.num_right) == (4, 4, 3)
    assert score.precision == score.recall == score.f1 == 0.75


def test_silence_is_right_where_nothing_happens_and_missing_where_something_does() -> None:
    assert fact_score([caption("Nothing happens.")]).f1 == 1.0
    silent = fact_score([caption("Nothing happens.", OPENS)])
    assert (silent.precision, silent.recall, silent.f1) == (1.0, 0.0, 0.0)


def test_a_caption_that_says_too_much_loses_precision() -> None:
    score = fact_score([caption("The gate opens. A person in red stops.", OPENS)])
    assert (score.precision, score.recall) == (0.5, 1.0)
    assert score.f1 == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("said", "as_written", "by_frames"),
    [
        ("1.0-4.0 s", 1.0, 1.0),
        ("2.0-4.0 s", 2 / 3, 3 / 4),
        ("3.0-6.0 s", 1 / 5, 2 / 6),
        ("4.0-8.0 s", 0.0, 1 / 8),
        ("6.0-8.0 s", 0.0, 0.0),
        ("2.0-2.0 s", 0.0, 1 / 4),
        ("4.0-1.0 s", 0.0, 0.0),
        ("from 1 to 4", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_spans_overlap_as_written_and_by_the_frames_in_them(
    said: str, as_written: float, by_frames: float
) -> None:
    assert span_iou("1.0-4.0 s", said) == pytest.approx(as_written)
    assert span_iou("1.0-4.0 s", said, frame_s=1.0) == pytest.approx(by_frames)


@given(
    st.tuples(*[st.integers(0, 30)] * 4).filter(lambda s: s[0] < s[1] and s[2] <= s[3]),
    st.sampled_from([0.0, 1.0]),
)
def test_an_overlap_is_a_share_and_whole_for_the_same_span_alone(
    ends: tuple[int, ...], frame_s: float
) -> None:
    truth, said = f"{ends[0]:.1f}-{ends[1]:.1f} s", f"{ends[2]:.1f}-{ends[3]:.1f} s"
    share = span_iou(truth, said, frame_s=frame_s)
    assert 0.0 <= share <= 1.0
    assert (share == 1.0) == (truth == said)


def test_a_truth_that_is_no_span_is_refused() -> None:
    with pytest.raises(InputError, match="expected `a-b s`"):
        span_iou("2.0-2.0 s", "2.0-3.0 s")
    assert span_of(" 0.0-12.0 s ") == (0.0, 12.0)
