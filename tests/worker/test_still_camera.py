"""An hour of a camera before which nothing happens, through a worker with the bundled model."""

from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from pipeline.clock import SystemClock
from pipeline.types import Overflow
from tests.fakes import SMALL, frame_at, picture
from worker.environment import load
from worker.wiring import build

HOUR_S, WINDOW_S = 3600, 60.0
VARIABLES = {
    "VIGIL_CAMERAS__YARD__URL": "yard.mp4",
    "VIGIL_QUESTIONS__FIRE__ASK": "Is there fire?",
    "VIGIL_QUESTIONS__CARS__ASK": "How many cars are there?",
    "VIGIL_QUESTIONS__CARS__KIND": "count",
    "VIGIL_WINDOW": f"{WINDOW_S:g}s",
    "VIGIL_MODEL__PATH": "nano",
    "VIGIL_OUTBOX__PATH": "memory",
    "VIGIL_MODEL__DEVICE": "cpu",
    "VIGIL_MODEL__AUDIT_SHARE": "0",
}


pytestmark = pytest.mark.usefixtures("threads_as_before")


class Counted:
    """An engine whose encoder and asks are counted."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.encoded: list[int] = []  # tokens of each pass of the encoder
        self.asked: list[list[str]] = []
        run, begin = engine._model.vision.run, engine.begin

        def counted_run(rows: Any, positions: Any, **options: Any) -> Any:
            self.encoded.append(len(rows) // 4)
            return run(rows, positions, **options)

        def counted_begin(asks: Any) -> Any:
            self.asked.append(sorted(question.kind for _, question in asks))
            return begin(asks)

        engine._model.vision.run, engine.begin = counted_run, counted_begin


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_a_still_hour_costs_a_whole_frame_and_a_round_of_questions_each_half_window() -> None:
    worker = build(load(VARIABLES), clock=SystemClock())
    runner = worker.new_runner()
    counted = Counted(runner._engine)
    still = picture(90)
    still[28:56, 28:84] = np.random.default_rng(0).integers(0, 256, (28, 56, 3), dtype=np.uint8)
    lane = worker.lanes.lane("yard", overflow=Overflow.WAIT)
    for second in range(HOUR_S + 1):
        lane.offer(frame_at(second + 0.03 * (second % 3), still))
        runner.step()
    told = [stored.message for stored in worker.outbox.pending(100_000)]
    worker.outbox.close()

    num_halves = round(HOUR_S / (WINDOW_S / 2))
    assert counted.encoded == [SMALL.num_tokens] * (num_halves + 1)
    # Contexts take over after one window, and then after each half; captions are due with them.
    assert len(counted.asked) <= 2 * num_halves
    assert sum("yes_no" in kinds for kinds in counted.asked) == num_halves
    assert sum("count" in kinds for kinds in counted.asked) == num_halves
    assert sum("caption" in kinds for kinds in counted.asked) == num_halves

    answers = [message.body["data"] for message in told if message.kind == "answer"]
    assert len(answers) >= 2 * (HOUR_S // 5)
    for said in answers:
        window = said["window"]
        assert window["end"] == said["captured_at"]
        assert at(window["end"]) - at(window["start"]) <= WINDOW_S + 1.0
    starts = sorted({at(said["window"]["start"]) for said in answers})
    assert all(later - earlier <= WINDOW_S / 2 + 1.0 for earlier, later in pairwise(starts))
    assert at(answers[-1]["captured_at"]) - starts[-1] <= WINDOW_S
