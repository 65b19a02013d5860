from collections.abc import Iterator

from model.training.loop import Progress
from model.training.narration import narrated


class Clock:
    """A clock that the steps move."""

    def __init__(self) -> None:
        self.now_s = 100.0


def steps(clock: Clock, *, num_steps: int, each_s: float, first: int = 1) -> Iterator[Progress]:
    for step in range(first, num_steps + 1):
        clock.now_s += each_s
        yield Progress(step, num_steps, loss=2.0, parts={"words": 1.0})


def test_a_line_comes_every_five_seconds_and_after_the_last_step() -> None:
    clock = Clock()
    lines = list(
        narrated(steps(clock, num_steps=7, each_s=2.0), what="stage 1", now_s=lambda: clock.now_s)
    )
    assert [line.split(",")[0] for line in lines] == [
        "stage 1: step 3 of 7",
        "stage 1: step 6 of 7",
        "stage 1: step 7 of 7",
    ]
    assert lines[0].endswith("loss 2.0000, words 1.0000, 2.00 s a step, 0.1 min left")


def test_a_run_that_goes_on_counts_its_own_steps_alone() -> None:
    clock = Clock()
    going_on = steps(clock, num_steps=91, each_s=6.0, first=90)
    first, _last = narrated(going_on, what="stage 4", now_s=lambda: clock.now_s)
    assert "6.00 s a step, 0.1 min left" in first
