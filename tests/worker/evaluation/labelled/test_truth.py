"""Labels that say nothing, or too much: told by file and line, and the others are used."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.training.labels import UNKNOWN, Label
from tests.worker.evaluation.labelled.series import clip, truth
from worker.evaluation.labelled.footage import Clip, slug
from worker.evaluation.labelled.truth import Truths, beyond, holds, truths_of
from worker.site_settings import QuestionSettings

QUESTIONS = {
    "person": QuestionSettings(ask="Is a person in view?"),
    "cars": QuestionSettings(ask="How many cars?", kind="count"),
    "light": QuestionSettings(ask="Day or night?", kind="choice", options=("Day", "Night")),
    "words": QuestionSettings(ask="What is there?", kind="text"),
}
BEGAN = datetime(2026, 5, 1, 8, tzinfo=UTC)


def row(
    start: float | datetime | None,
    end: float | datetime | None,
    value: str = "yes",
    *,
    question: str = "person",
    camera: str = "gate",
    line: int = 2,
) -> Label:
    return Label(camera, question, start, end, value, f"labels.csv:{line}")


def read(*rows: Label, began: datetime | None = None) -> Truths:
    return truths_of(rows, [clip(began=began)], QUESTIONS)


def words(truths: Truths) -> str:
    [problem] = truths.problems
    return str(problem)


def test_what_no_row_speaks_of_is_no_unless_a_row_says_no() -> None:
    closed = read(row(5.0, 9.0)).of["gate", "person"]
    assert [closed.value_at(t_s) for t_s in (0.0, 5.0, 8.9, 9.0)] == ["no", "yes", "yes", "no"]
    marked = read(row(5.0, 9.0), row(20.0, 30.0, "no", line=3)).of["gate", "person"]
    assert [marked.value_at(t_s) for t_s in (0.0, 5.0, 25.0)] == [UNKNOWN, "yes", "no"]
    assert marked.open(until_s=40.0) == [(0.0, 5.0), (9.0, 20.0), (30.0, 40.0)]
    told = read(row(5.0, 9.0), row(None, None, "unknown", line=3)).of["gate", "person"]
    assert told.value_at(0.0) == UNKNOWN
    never = read(row(None, None, "no")).of["gate", "person"]
    assert never.spans("yes", until_s=60.0) == []
    assert never.value_at(7.0) == "no"


def test_answers_of_every_kind_are_read_as_they_are_written() -> None:
    truths = read(
        row(0.0, 9.0, "2", question="cars"),
        row(0.0, 9.0, "night", question="light", line=3),
        row(0.0, 9.0, "NO", line=4),
    )
    assert truths.problems == ()
    assert truths.of["gate", "cars"].value_at(50.0) == "0"
    assert truths.of["gate", "light"].value_at(1.0) == "Night"
    assert truths.of["gate", "light"].value_at(50.0) == UNKNOWN
    assert (holds("2", 2), holds("1", 2), holds(UNKNOWN, "yes")) == (True, False, None)


@pytest.mark.parametrize(
    ("label", "told"),
    [
        (row(1.0, 2.0, question="persn"), "expected a question that is asked (cars, light, person"),
        (row(1.0, 2.0, question="words"), "got one of kind text, whose answers no label can judge"),
        (row(1.0, 2.0, "perhaps"), "value: expected one of yes, no or unknown, got 'perhaps'"),
        (row(1.0, 2.0, "two", question="cars"), "value: expected a whole number or unknown"),
        (row(1.0, 2.0, question="cars"), "got 'yes', as an empty value is read"),
        (row(1.0, 2.0, question="light"), "Day, Night or unknown, got 'yes', as an empty value is"),
        (row(1.0, 2.0, camera="yard"), "expected a camera or clip (gate), got 'yard'"),
        (row(BEGAN, BEGAN + timedelta(hours=1)), "nobody knows when the clip began; --began"),
    ],
)
def test_a_row_that_fits_nothing_is_told_and_left_out(label: Label, told: str) -> None:
    truths = read(label, row(5.0, 9.0, line=3))
    assert told in words(truths)
    assert words(truths).startswith("labels.csv:2: ")
    assert truths.of["gate", "person"].spans("yes", until_s=60.0) == [(5.0, 9.0)]


def test_rows_that_overlap_are_joined_or_unknown_where_they_differ() -> None:
    joined = read(row(5.0, 9.0), row(8.0, 12.0, line=3))
    assert joined.of["gate", "person"].spans("yes", until_s=60.0) == [(5.0, 12.0)]
    assert "got 8 to 12 beside 5 to 9 of labels.csv:2: they are joined" in words(joined)
    apart = read(row(5.0, 20.0), row(8.0, 12.0, "no", line=3))
    at = [apart.of["gate", "person"].value_at(t_s) for t_s in (6.0, 9.0, 15.0)]
    assert at == ["yes", UNKNOWN, "yes"]
    assert "where both hold, the answer is unknown" in words(apart)
    twice = read(row(None, None, "no"), row(None, None, "yes", line=3))
    assert "expected one row without times" in words(twice)


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(1, 20), st.sampled_from(["yes", "no", UNKNOWN])),
        min_size=1,
        max_size=8,
    )
)
def test_a_moment_has_the_value_that_all_rows_over_it_agree_on(
    rows: list[tuple[int, int, str]],
) -> None:
    told = [(float(start_s), float(start_s + for_s), value) for start_s, for_s, value in rows]
    truth = read(*(row(*one) for one in told), row(None, None, "no")).of["gate", "person"]
    for half_seconds in range(90):
        t_s = half_seconds / 2
        values = {value for start_s, end_s, value in told if start_s <= t_s < end_s} or {"no"}
        assert truth.value_at(t_s) == (values.pop() if len(values) == 1 else UNKNOWN)
    assert all(one.end_s <= following.start_s for one, following in pairwise(truth.stretches))


def test_what_goes_on_is_one_stretch_and_rows_that_touch_are_two() -> None:
    rows = [row(0.0, 100.0), row(10.0, 20.0, "no", line=3), row(12.0, 15.0, "no", line=4)]
    stretches = read(*rows, row(100.0, 110.0, line=5)).of["gate", "person"].stretches
    assert [(one.start_s, one.end_s, one.value) for one in stretches] == [
        (0.0, 10.0, "yes"),
        (10.0, 20.0, UNKNOWN),
        (20.0, 100.0, "yes"),
        (100.0, 110.0, "yes"),
    ]


@pytest.mark.parametrize(
    ("file", "name"), [("Front Door.mp4", "front door"), ("cam1.main.mp4", "cam1.main")]
)
def test_a_clip_is_called_by_its_files_name(file: str, name: str) -> None:
    clips = [Clip(slug(Path(one).stem), Path(one), "gate") for one in (file, "other.mp4")]
    named = row(1.0, 2.0, camera=name)
    beside = Label("", "person", 3.0, 4.0, "yes", f"{Path(file).stem}.csv:2")
    truths = truths_of([named, beside], clips, QUESTIONS)
    assert truths.problems == ()
    [truth] = truths.of.values()
    assert truth.spans("yes", until_s=60.0) == [(1.0, 2.0), (3.0, 4.0)]


def test_times_of_day_are_put_where_the_clip_has_them() -> None:
    label = row(BEGAN + timedelta(seconds=30), BEGAN + timedelta(seconds=40))
    truths = read(label, began=BEGAN)
    assert truths.of["gate", "person"].spans("yes", until_s=60.0) == [(30.0, 40.0)]
    early = row(BEGAN - timedelta(seconds=40), BEGAN - timedelta(seconds=30))
    assert "expected times after a clip's beginning" in words(read(early, began=BEGAN))


def test_a_label_over_two_clips_of_a_camera_is_in_both() -> None:
    clips = [
        clip("gate-1", began=BEGAN),
        clip("gate-2", began=BEGAN + timedelta(seconds=60)),
    ]
    clips = [type(one)(one.name, one.path, "gate", one.began) for one in clips]
    label = row(BEGAN + timedelta(seconds=50), BEGAN + timedelta(seconds=70))
    of = truths_of([label], clips, QUESTIONS).of
    assert of["gate-1", "person"].spans("yes", until_s=60.0) == [(50.0, 60.0)]
    assert of["gate-2", "person"].spans("yes", until_s=60.0) == [(0.0, 10.0)]
    seconds = truths_of([row(1.0, 2.0)], clips, QUESTIONS)
    assert "expected the name of one clip for times in seconds (gate-1, gate-2)" in words(seconds)


def test_times_that_a_clip_does_not_have_are_told() -> None:
    truths = read(row(5.0, 80.0), row(200.0, 300.0, line=3), row(400.0, 500.0, line=4))
    problems = [str(one) for one in beyond(truths, clip(), until_s=60.0)]
    assert problems[0].startswith("labels.csv:3: expected times within the clip, got 200 to 300; ")
    assert problems[2].endswith("gate.mp4 lasts 60.0 s: what is beyond it is left out")
    assert "2 of 3 labels lie beyond it" in problems[3]
    assert "a copy at another speed" in problems[3]
    assert beyond(read(row(5.0, 60.5)), clip(), until_s=60.0) == []


def test_answers_close_to_a_change_do_not_count() -> None:
    one = truth((10.0, 20.0))
    assert [one.judged_at(t_s) for t_s in (9.0, 9.5, 10.0, 11.0, 19.5)] == [
        *("no", UNKNOWN, UNKNOWN, "yes", UNKNOWN)
    ]
    assert one.known_from(15.0) == 20.0
    rows = [row(float(t_s), t_s + 1.0, "yes" if t_s < 3 else "no", line=t_s) for t_s in range(6)]
    apart = read(*rows).of["gate", "person"]
    told = [apart.judged_at(float(t_s)) for t_s in range(6)]
    assert told == ["yes", "yes", "yes", UNKNOWN, "no", "no"]
