from collections.abc import Iterator

from model.training.loop import Event, Measured, Progress
from model.training.narration import narrated


class Clock:
    """A clock that the steps move."""

    def __init__(self) -> None:
        self.now_s = 100.0


def steps(clock: Clock, *, num_steps: int, each_s: float, first: int = 1) -> Iterator[Event]:
    clock.now_s += 80.0  # until the first samples are made
    for step in range(first, num_steps + 1):
        clock.now_s += each_s
        yield Progress(step, num_steps, loss=step / 3, parts={"words": 0.123456})


def test_a_line_comes_with_the_first_step_every_five_seconds_and_with_the_last() -> None:
    clock = Clock()
    lines = list(
        narrated(steps(clock, num_steps=8, each_s=2.0), what="stage 1", now_s=lambda: clock.now_s)
    )
    assert [line.split(",")[0] for line in lines] == [
        "stage 1: step 1 of 8",
        "stage 1: step 4 of 8",
        "stage 1: step 7 of 8",
        "stage 1: step 8 of 8",
    ]


def test_the_loss_is_that_of_the_file_and_the_wait_counts_for_no_step() -> None:
    clock = Clock()
    events = steps(clock, num_steps=400, each_s=2.0)
    first, second, *_ = narrated(events, what="stage 1", now_s=lambda: clock.now_s)
    assert first == "stage 1: step 1 of 400, loss 0.333333, words 0.123456"
    assert second == (
        "stage 1: step 4 of 400, loss 1.333333, words 0.123456, mean loss of 3 steps 1.0000, "
        "2.00 s a step, 13 min left"
    )


def test_a_run_that_goes_on_counts_its_own_steps_alone() -> None:
    clock = Clock()
    going_on = steps(clock, num_steps=92, each_s=6.0, first=90)
    _, second, _ = narrated(going_on, what="stage 4", now_s=lambda: clock.now_s)
    assert second.endswith("6.00 s a step, 6 s left")


def test_what_was_measured_is_a_line_of_its_own() -> None:
    events = [Measured(0, 9, {"right": 0.5, "loss": 1.25}), Measured(9, 9, {"right": 1.0})]
    assert list(narrated(events, what="stage 2", now_s=lambda: 0.0)) == [
        "stage 2: held out, before the first step: right 0.5, loss 1.25",
        "stage 2: held out, after step 9: right 1",
    ]
