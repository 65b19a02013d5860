"""What a further question costs: `python -m tests.benchmarks questions`.

One question, five, and a count take turns at a 60-frame window; processor time of all threads,
medians.
"""

from statistics import median

import torch

from model.types import Question
from tests.benchmarks.context import (
    NUM_THREADS,
    QUESTIONS,
    ROUNDS,
    WINDOW_FRAMES,
    Camera,
    Tick,
    bundled_tokenizer,
    faster_dtype,
    random_network,
)
from worker.benchmarks.report import Progress, Row

MAX_FIVE_OVER_ONE = 1.6
MAX_COUNT_OVER_YES_NO = 1.5
COUNT = Question("count", "How many people are there?")


def measure(progress: Progress) -> list[Row]:
    """Measure a tick with five questions over one with one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(NUM_THREADS)
    try:
        dtype = faster_dtype()
        progress(f"showing {WINDOW_FRAMES} frames, {dtype}")
        camera = Camera(random_network(dtype), bundled_tokenizer(), num_frames=WINDOW_FRAMES)
        camera.tick()
        progress("ticks with one question, with five and with a count, in turns")
        ticks = [
            (camera.tick(QUESTIONS[:1]), camera.tick(), camera.tick([COUNT])) for _ in range(ROUNDS)
        ]
    finally:
        torch.set_num_threads(threads)
    one, five, count = zip(*ticks, strict=True)
    return [*rows_of(one, five), count_row(one, count)]


def count_row(yes_no: tuple[Tick, ...], count: tuple[Tick, ...]) -> Row:
    """Compare asking a count with asking a yes/no."""
    yes_no_s, count_s = (median(tick.ask_s for tick in ticks) for ticks in (yes_no, count))
    return Row(
        "count_over_yes_no",
        count_s / yes_no_s,
        "ratio",
        MAX_COUNT_OVER_YES_NO,
        count_s / yes_no_s <= MAX_COUNT_OVER_YES_NO,
        {"count_cpu_s": count_s, "yes_no_cpu_s": yes_no_s},
    )


def rows_of(one: tuple[Tick, ...], five: tuple[Tick, ...]) -> list[Row]:
    """Compare ticks with one question and with five."""
    one_s, five_s = (median(tick.total_s for tick in ticks) for ticks in (one, five))
    ask_one_s, ask_five_s = (median(tick.ask_s for tick in ticks) for ticks in (one, five))
    return [
        Row(
            "tick_with_five_questions_over_one",
            five_s / one_s,
            "ratio",
            MAX_FIVE_OVER_ONE,
            five_s / one_s <= MAX_FIVE_OVER_ONE,
            {"five_cpu_s": five_s, "one_cpu_s": one_s},
        ),
        Row(
            "asking_five_questions_over_one",
            ask_five_s / ask_one_s,
            "ratio",
            terms={"five_cpu_s": ask_five_s, "one_cpu_s": ask_one_s},
        ),
    ]
