"""Answers and events beside the truth; what there is too little of is said."""

from dataclasses import replace

import pytest

from tests.worker.evaluation.labelled.series import ASKED, judged, played, truth
from worker.evaluation.events import Start
from worker.evaluation.labelled.judging import Judged, became
from worker.evaluation.labelled.playing import Told
from worker.evaluation.labelled.report import rows_of

LONG = [0.1] * 12
SEEN = [0.9] * 6


def test_right_answers_and_events_are_worth_all_there_is() -> None:
    spans = [(57.0, 88.0), (147.0, 178.0)]
    events = [Told("person", 60.0, 65.0, 90.0), Told("person", 150.0, 155.0, 180.0)]
    one = judged([*LONG, *SEEN, *LONG, *SEEN, *LONG], spans, events=events)
    assert one.average_precision.value == 1.0
    assert {figure.value for figure in one.answers.values()} == {1.0}
    assert (one.events.f1, one.events.median_delay_s) == (1.0, 8.0)
    assert one.brier == pytest.approx(0.01)
    assert one.unknown_share == 0.0
    assert "2 true event(s)" in one.doubts[-1]


def test_false_late_and_missing_are_counted() -> None:
    spans = [(57.0, 88.0), (147.0, 178.0)]
    events = [Told("person", 20.0, 25.0, 30.0), Told("person", 60.0, 85.0, 90.0)]
    ps = [*LONG, *SEEN, *LONG, *LONG[:6], *LONG]
    one = judged(ps, spans, events=events)
    assert (one.events.precision, one.events.recall) == (0.5, 0.5)
    assert one.events.median_delay_s == 28.0
    assert one.answers["recall"].value == 0.5


def test_a_doubtful_answer_has_its_probability_and_no_answer_has_none() -> None:
    doubtful = judged([0.5, 0.5, 0.2], [(0.0, 8.0)])
    assert doubtful.unknown_share == pytest.approx(2 / 3)
    assert doubtful.average_precision.value == 1.0
    mute = Judged(ASKED, [played([0.9, 0.9, 0.1], mass=0.01)], {"gate": truth((0.0, 8.0))})
    assert mute.unknown_share == 1.0
    assert mute.average_precision.value is None
    assert mute.average_precision.why_none == "no probability to judge"
    assert mute.brier is None


def test_an_event_that_begins_where_nobody_can_tell_belongs_to_the_stretch_that_follows() -> None:
    one = truth((30.0, 60.0), rest="unknown")
    spans = [(30.0, 60.0)]

    def found(start_s: float, announced_s: float) -> list[str]:
        starts = [Start(start_s, announced_s)]
        return [x.what for x in became(starts, one, spans=spans, rule=ASKED.rule, every_s=5.0)]

    assert found(20.0, 25.0) == ["found"]
    assert found(70.0, 75.0) == ["missed"]  # and is not counted as false


@pytest.mark.parametrize(
    ("spans", "words"),
    [
        ([], "gate.csv:2: the labels are never yes: only false alarms can be told"),
        ([(0.0, 300.0)], "gate.csv:2: the labels are always yes: false alarms cannot be told"),
    ],
)
def test_what_cannot_be_told_is_said(spans: list[tuple[float, float]], words: str) -> None:
    one = judged([*LONG, *LONG, *LONG, *LONG, *LONG], spans)
    assert words in "\n".join(one.doubts)
    assert one.average_precision.value is None


def test_labels_that_say_nothing_of_any_answer_are_told() -> None:
    one = judged(LONG, [], rest="unknown")
    assert one.doubts == ["no answer lies where the labels say what is right: nothing can be said"]


def test_a_question_without_events_has_no_figures_of_them() -> None:
    one = judged(LONG, [(0.0, 30.0)], asked=replace(ASKED, has_events=False))
    names = [row.name for row in rows_of(one)]
    assert "person_frame_auc" in names
    assert not [name for name in names if "events" in name]
    assert not [words for words in one.doubts if "event" in words]


@pytest.mark.parametrize(
    ("cooldown_s", "words"), [(60.0, ""), (80.0, "1 of 2 true event(s) begin within COOLDOWN")]
)
def test_a_stretch_too_short_for_an_event_is_not_counted_as_one_within_a_cooldown(
    cooldown_s: float, words: str
) -> None:
    asked = replace(ASKED, rule=replace(ASKED.rule, cooldown_s=cooldown_s))
    one = judged([0.1] * 40, [(0.0, 30.0), (60.0, 64.0), (100.0, 130.0)], asked=asked)
    told = [doubt for doubt in one.doubts if "COOLDOWN" in doubt]
    assert [doubt.startswith(words) for doubt in told] == ([True] if words else [])
