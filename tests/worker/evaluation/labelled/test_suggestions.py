"""Thresholds are chosen on some blocks of time and are as good, or better, on the others."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tests.worker.evaluation.labelled.series import ASKED, EVERY_S, judged
from worker.evaluation.events import counted
from worker.evaluation.labelled.judging import Judged
from worker.evaluation.labelled.playing import Told
from worker.evaluation.labelled.suggestions import Candidate, simulated, suggest
from worker.evaluation.labelled.truth import Stretch

NUM = 240  # answers: twenty minutes
SPAN_S = [(60.0 * at + 12, 60.0 * at + 42) for at in range(0, 20, 2)]


def answers(high: float, low: float, *, noise: float = 0.02, seed: int = 0) -> list[float]:
    """Probabilities that lie at one level while it is so, and at another while it is not."""
    rng = np.random.default_rng(seed)
    times_s = [index * EVERY_S for index in range(NUM)]
    return [
        float(np.clip(level + rng.normal(0, noise), 0, 1))
        for t_s in times_s
        for level in [high if any(a <= t_s < b for a, b in SPAN_S) else low]
    ]


def as_the_worker(ps: Sequence[float]) -> Judged:
    """The same answers with the events that the present settings make of them."""
    bare = judged(ps, SPAN_S)
    present = Candidate(ASKED.rule, ASKED.doubt.band)
    [(_, found)] = simulated(bare, present)
    events = [
        Told("person", one.at_s, one.at_s + (one.delay_s or 0.0))
        for one in found
        if one.what != "missed"
    ]
    return judged(ps, SPAN_S, events=events)


def test_where_the_present_settings_are_wrong_others_are_found() -> None:
    one = as_the_worker(answers(0.55, 0.2))
    assert one.events.num_found == 0  # 0.55 is below ENTER, and published as unknown
    found = suggest(one)
    assert found.suggested is not None
    assert (found.suggested.f1, found.present.f1) == (1.0, 0.0)
    lines = dict(line.removeprefix("VIGIL_QUESTIONS__PERSON__").split("=") for line in found.lines)
    assert 0.25 < float(lines["ENTER"]) < 0.5
    low, high = (float(edge) for edge in lines["UNKNOWN"].split("-"))
    assert high <= float(lines["ENTER"])
    assert low <= high
    assert "F1 1.00 (10 of 10 found, 0 false" in found.why


def test_where_they_are_right_they_stay() -> None:
    found = suggest(as_the_worker(answers(0.95, 0.05)))
    assert found.lines == ()
    assert "the present settings stay" in found.why
    assert found.suggested == found.present


@pytest.mark.parametrize("seed", range(3))
def test_what_is_suggested_is_never_worse_on_blocks_that_had_no_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    high, low = rng.uniform(0.4, 0.9), rng.uniform(0.05, 0.4)
    found = suggest(as_the_worker(answers(high, low, noise=0.15, seed=seed)))
    assert found.suggested is not None
    assert (found.suggested.f1 or 0.0) >= (found.present.f1 or 0.0) - 0.01
    # and on another day of the same camera, of which nothing was known
    other = judged(answers(high, low, noise=0.15, seed=seed + 100), SPAN_S)
    present = Candidate(ASKED.rule, ASKED.doubt.band)
    f1 = [
        counted(x for _, mine in simulated(other, one) for x in mine).f1 or 0.0
        for one in (found.chosen or present, present)
    ]
    assert f1[0] >= f1[1] - 0.01


def test_flicker_is_confirmed_away() -> None:
    ps = answers(0.95, 0.05, noise=0.0)
    for start, offset in zip(
        range(0, NUM, 24), (16, 21, 18, 17, 20, 19, 21, 16, 18, 17), strict=True
    ):
        ps[start + offset] = 0.97  # single false answers
    asked = replace(ASKED, rule=replace(ASKED.rule, confirm_n=1, confirm_m=1))
    bare = judged(ps, SPAN_S, asked=asked)
    [(_, outcomes)] = simulated(bare, Candidate(asked.rule, asked.doubt.band))
    assert sum(one.what == "false" for one in outcomes) >= 5
    found = suggest(bare)
    assert any("CONFIRM=2/" in line for line in found.lines)
    assert found.suggested is not None
    assert (found.suggested.f1 or 0) > (found.present.f1 or 0) + 0.1


def test_a_stretch_does_not_cease_to_count_where_others_would_need_it_longer() -> None:
    short = [(60.0 * at, 60.0 * at + 2 * EVERY_S) for at in range(1, 9)]
    times_s = [index * EVERY_S for index in range(NUM)]
    bare = judged([0.95 if any(a <= t_s < b for a, b in short) else 0.05 for t_s in times_s], short)
    for confirm_n, confirm_m, what in ((2, 3, "found"), (3, 4, "missed")):
        rule = replace(ASKED.rule, confirm_n=confirm_n, confirm_m=confirm_m)
        [(_, outcomes)] = simulated(bare, Candidate(rule, ASKED.doubt.band))
        assert [one.what for one in outcomes] == [what] * len(short)


def test_an_event_about_no_has_its_thresholds_the_other_way_round() -> None:
    rule = replace(ASKED.rule, target="no")
    asked = replace(ASKED, target="no", rule=rule)
    ps = [1.0 - p for p in answers(0.55, 0.2)]
    one = judged(ps, [], asked=asked)
    truth = replace(one.truths["gate"], stretches=tuple(_no_spans()), rest="yes")
    one = Judged(asked, one.played, {"gate": truth})
    found = suggest(one)
    lines = dict(line.removeprefix("VIGIL_QUESTIONS__PERSON__").split("=") for line in found.lines)
    assert 0.25 < float(lines["ENTER"]) < 0.5
    low, _ = (float(edge) for edge in lines["UNKNOWN"].split("-"))
    assert low >= 1 - float(lines["ENTER"])


def _no_spans() -> list[Stretch]:
    return [Stretch(*span, "no", "gate.csv:2") for span in SPAN_S]


def test_too_little_is_said() -> None:
    few = suggest(judged([0.1] * 40, SPAN_S[:1]))
    assert few.lines == ()
    assert "1 true event(s) are too few to choose by" in few.why
    silent = suggest(judged([0.1] * NUM, SPAN_S, asked=replace(ASKED, has_events=False)))
    assert silent.why == "it has no events"
