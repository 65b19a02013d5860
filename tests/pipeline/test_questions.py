from hypothesis import given
from hypothesis import strategies as st

from model.types import Question
from pipeline.questions import CAPTION_ID, Schedule, StandingQuestion
from pipeline.ticks import AskPhase

CAPTION = StandingQuestion(CAPTION_ID, Question("caption", ""), every_s=10.0)
FIRE = StandingQuestion("fire", Question("yes_no", "Is there fire?"), every_s=5.0)
CARS = StandingQuestion("cars", Question("count", "How many cars?"), every_s=5.0)


SHARES = st.floats(0, 1, exclude_max=True)


@given(SHARES, SHARES)
def test_periods_hold_whatever_the_phase(within: float, among: float) -> None:
    schedule = Schedule("yard", [CAPTION, FIRE, CARS], phase=AskPhase(within, among))
    asked = {second: [one.id for one in schedule.due(float(second))] for second in range(101)}
    assert asked[0] == ["caption", "fire", "cars"]
    assert 19 <= sum("fire" in ids for ids in asked.values()) <= 22
    assert 9 <= sum("caption" in ids for ids in asked.values()) <= 12
    assert all(("fire" in ids) == ("cars" in ids) for ids in asked.values())


@given(st.integers(0, 9), SHARES)
def test_captions_fall_on_the_ticks_of_questions(tenth: int, among: float) -> None:
    schedule = Schedule("yard", [CAPTION, FIRE], phase=AskPhase(tenth / 10, among))
    asked = [[one.id for one in schedule.due(float(second))] for second in range(100)]
    assert all("fire" in ids for ids in asked[20:] if "caption" in ids)


def test_phases_spread_cameras_over_the_seconds() -> None:
    seconds = set()
    for tenth in range(10):
        schedule = Schedule("yard", [CAPTION], phase=AskPhase(within=tenth / 10))
        asked = [second for second in range(60) if schedule.due(float(second))]
        seconds.add(asked[-1] % 10)
    assert len(seconds) == 10


def test_cameras_that_were_all_away_are_not_asked_together() -> None:
    asked: dict[int, int] = {}
    for tenth in range(10):
        schedule = Schedule("yard", [CAPTION], phase=AskPhase(within=tenth / 10))
        for second in [*range(60), *range(90, 150)]:
            if schedule.due(float(second)):
                asked[second] = asked.get(second, 0) + 1
    assert asked[90] == 10  # what was missed, once
    assert max(number for second, number in asked.items() if second > 100) == 1


def test_captions_of_cameras_asked_together_are_spread_over_the_ticks() -> None:
    seconds = set()
    for half in range(2):
        schedule = Schedule("yard", [CAPTION, FIRE], phase=AskPhase(0.4, half / 2))
        asked = [[one.id for one in schedule.due(float(second))] for second in range(60)]
        assert [second for second, ids in enumerate(asked) if "fire" in ids][-2:] == [52, 57]
        seconds.add(max(second for second, ids in enumerate(asked) if "caption" in ids))
    assert seconds == {52, 57}


def test_a_stretched_caption_leaves_the_questions_alone() -> None:
    schedule = Schedule("yard", [CAPTION, FIRE])
    asked = [
        [one.id for one in schedule.due(float(second), caption_stretch=3)] for second in range(61)
    ]
    assert [second for second, ids in enumerate(asked) if "caption" in ids] == [0, 30, 60]
    assert sum("fire" in ids for ids in asked) == 13
