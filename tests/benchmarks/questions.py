"""What a further question costs: `python -m tests.benchmarks questions`.

One question and five take turns at a 60-frame window; processor time of all threads, medians.
"""

from statistics import median

import torch

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
from worker.report import Progress, Row

MAX_FIVE_OVER_ONE = 1.6


def measure(progress: Progress) -> list[Row]:
    """Measure a tick with five questions over one with one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(NUM_THREADS)
    try:
        dtype = faster_dtype()
        progress(f"showing {WINDOW_FRAMES} frames, {dtype}")
        camera = Camera(random_network(dtype), bundled_tokenizer(), num_frames=WINDOW_FRAMES)
        camera.tick()
        progress("ticks with one question and with five, in turns")
        ticks = [(camera.tick(QUESTIONS[:1]), camera.tick()) for _ in range(ROUNDS)]
    finally:
        torch.set_num_threads(threads)
    one, five = zip(*ticks, strict=True)
    return rows_of(one, five)


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
