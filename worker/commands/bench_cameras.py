"""How many cameras one worker serves: `vigil bench cameras`.

Pictures are rendered beforehand; decoding and scaling are left out, and `vigil bench ingest` has
them. Every camera has a history behind it when the clock starts, of half a window to a whole one,
so that the contexts are as long as they are after hours. A number of cameras holds when over the
measured time the 95th percentile of the age of the frames behind new answers and captions, capture
to answer, is below the bound, no frame was dropped and nothing was given up to the load.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from model.config import PRESETS
from model.engine import Engine
from model.network import VideoLlama3
from model.tokenizer import Tokenizer
from model.types import PatchGrid
from worker.commands.bench import Progress, Row
from worker.commands.bench_context import faster_dtype
from worker.commands.camera_trial import MEASURED_S, WINDOW_S, Trial, trial
from worker.commands.played import Clips, render
from worker.parts import BUNDLED_MODEL

MOST = 1024
NUM_THREADS = 2
GRID = PatchGrid(rows=9, cols=16)  # 448x252
BUNDLED_GRID = PatchGrid(rows=6, cols=11)  # 308x168, the frames that the bundled model knows
MAX_CONTEXT_TOKENS = 16_384


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to measure.

    Attributes:
        name: in the rows.
        engine: makes one that holds no camera.
        start: the first number of cameras tried.
        target: cameras aimed at.
        grid: of its cameras' frames.
    """

    name: str
    engine: Callable[[], Engine]
    start: int
    target: int
    grid: PatchGrid


def measure(progress: Progress) -> list[Row]:
    """Find the most cameras of the bundled model, and of the larger shapes where there is CUDA."""
    rows = []
    for subject in (
        Subject("bundled", bundled_engine, start=16, target=16, grid=BUNDLED_GRID),
        Subject("2b", lambda: random_engine("2b"), start=128, target=150, grid=GRID),
        Subject("7b", lambda: random_engine("7b"), start=48, target=60, grid=GRID),
    ):
        name = f"cameras_{subject.name}"
        if subject.name != "bundled" and not torch.cuda.is_available():
            rows.append(Row(name, None, "unmeasured: needs CUDA", subject.target))
            continue
        clips = render(subject.grid, progress)
        trials: dict[int, Trial] = {}

        def holds(
            number: int,
            subject: Subject = subject,
            trials: dict[int, Trial] = trials,
            clips: Clips = clips,
        ) -> bool:
            trials[number] = trial(number, subject.engine(), clips, progress)
            return trials[number].holds

        most = search(holds, start=subject.start)
        rows.append(_most_row(name, most, trials, target=subject.target))
        rows += [trials[number].row(subject.name) for number in sorted(trials)]
    return rows


def search(holds: Callable[[int], bool], *, start: int) -> int:
    """Return the largest number that holds: by doubling, or halving, and then between the two.

    Numbers are multiples of an eighth of `start`; 0 where not even so many hold.
    """
    step = max(1, start // 8)
    low, high = 0, start
    while high <= MOST and holds(high):
        low, high = high, 2 * high
    while low == 0 and high > step:
        high //= 2
        if holds(high):
            low, high = high, 2 * high
            break
    while high - low > step and low:
        middle = (low + high) // 2 // step * step
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def bundled_engine() -> Engine:
    """Load the bundled model as a worker would on this machine, in the dtype it multiplies faster.

    That is `VIGIL_MODEL__DTYPE=bfloat16` where the processor has products of it.
    """
    torch.set_num_threads(NUM_THREADS)
    return Engine.load(
        str(BUNDLED_MODEL),
        device="cpu",
        dtype=str(faster_dtype()).removeprefix("torch."),
        window_s=WINDOW_S,
        max_context_tokens=MAX_CONTEXT_TOKENS,
        max_caption_tokens=64,
        max_answer_tokens=32,
    )


def random_engine(shape: str) -> Engine:
    """Make a model of a published shape on CUDA, with random weights: time is the same."""
    torch.manual_seed(0)
    with torch.device("cuda"):
        network = VideoLlama3(PRESETS[shape]).to(torch.bfloat16)
    return Engine(
        network.eval().requires_grad_(requires_grad=False),
        Tokenizer.load(BUNDLED_MODEL),
        model_name=f"random-{shape}",
        window_s=WINDOW_S,
        max_context_tokens=MAX_CONTEXT_TOKENS,
        max_caption_tokens=60,
        max_answer_tokens=32,
        audit_share=0.01,
    )


def _most_row(name: str, most: int, trials: dict[int, Trial], *, target: int) -> Row:
    terms = {"seconds_measured": MEASURED_S, "threads": float(torch.get_num_threads())}
    if most:
        terms["frame_age_p95_s"] = trials[most].age_p95_s
    unit = "cameras at 1 fps, 5 questions every 5 s and a caption every 10 s each"
    return Row(name, most, unit, target, most >= target, terms)
