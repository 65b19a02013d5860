"""How many cameras one worker serves: `vigil bench cameras`.

Pictures are rendered beforehand. Decoding and scaling are left out unless `--decode` asks for them;
`vigil bench ingest` has them alone. Every camera has a history behind it when the clock
starts, of half a window to a whole one, so that the contexts are as long as they are after hours;
where the weights are random, so are its keys, which takes seconds and not minutes. A number of
cameras holds when over the measured time the 95th percentile of the age of the frames behind new
answers and captions, capture to answer, is below the bound, no frame was dropped and nothing was
given up to the load. Beside them stands how many transformers could serve on the same device, a
request at a time.
"""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from model import Engine, EngineConfig
from model.bundled import NANO
from model.engine.made_up_past import EngineWithMadeUpPast
from model.types import PatchGrid, PrunedFrame, Question
from model.videollama3.config import PRESETS
from model.videollama3.family import family_of
from model.videollama3.tokenizer import Tokenizer
from pipeline.clock import SystemClock
from pipeline.errors import ConfigError
from pipeline.pruner import Pruner
from worker.benchmarks.baselines import Transformers
from worker.benchmarks.camera_trial import (
    MEASURED_S,
    QUESTIONS,
    WINDOW_S,
    Trial,
    trial,
)
from worker.benchmarks.camera_video import clip
from worker.benchmarks.random_weights import untrained
from worker.benchmarks.rendered_cameras import Clips, Played, render
from worker.benchmarks.report import Progress, Row
from worker.loading import num_inference_threads

MOST = 1024
GRID = PatchGrid(rows=9, cols=16)  # 448x252
BUNDLED_GRID = PatchGrid(rows=6, cols=11)  # 308x168, the frames that the bundled model knows
MAX_CONTEXT_TOKENS = 16_384
CAPTION_TOKENS = 60


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to measure.

    Attributes:
        name: in the rows.
        engine: makes one that holds no camera, in FP8 or not.
        start: the first number of cameras tried.
        target: cameras aimed at.
        grid: of its cameras' frames.
    """

    name: str
    engine: Callable[[bool], Engine]
    start: int
    target: int
    grid: PatchGrid


SUBJECTS = (
    Subject("bundled", lambda _in_fp8: bundled_engine(), start=16, target=16, grid=BUNDLED_GRID),
    Subject(
        "2b", lambda in_fp8: random_engine("2b", in_fp8=in_fp8), start=128, target=150, grid=GRID
    ),
    Subject(
        "7b", lambda in_fp8: random_engine("7b", in_fp8=in_fp8), start=48, target=60, grid=GRID
    ),
)


def measure(
    progress: Progress,
    *,
    subject: str | None = None,
    cameras: int | None = None,
    seconds: float = MEASURED_S,
    in_fp8: bool = False,
    decode: int | None = None,
) -> list[Row]:
    """Find the most cameras of the bundled model, and of the larger shapes where there is CUDA.

    Args:
        progress: told of what is done.
        subject: a name in `SUBJECTS`, measured alone; None for all.
        cameras: the one number to try; None to search for the most.
        seconds: measured of each trial.
        in_fp8: keep weights and contexts of the larger shapes in FP8.
        decode: how many seconds apart the key frames of a 1080p video are that each camera decodes
            beside; None: decoding is left out.

    Raises:
        ConfigError: no camera, or no time, is asked for.
    """
    if cameras is not None and cameras < 1:
        raise ConfigError(f"bench cameras: --cameras: expected at least 1, got {cameras}")
    if not seconds > 0:
        raise ConfigError(f"bench cameras: --seconds: expected more than 0, got {seconds}")
    rows = []
    for one in SUBJECTS:
        if subject in (None, one.name):
            video = None if decode is None else clip(decode, progress)
            rows += _rows(one, cameras, seconds, video, progress, in_fp8=in_fp8)
    return rows


def _rows(
    one: Subject,
    cameras: int | None,
    seconds: float,
    video: Path | None,
    progress: Progress,
    *,
    in_fp8: bool,
) -> list[Row]:
    """Measure one subject."""
    name = f"cameras_{one.name}"
    is_large = one.name != "bundled"
    if is_large and not torch.cuda.is_available():
        return [Row(name, None, "unmeasured: needs CUDA", one.target)]
    clips = render(one.grid, progress)
    trials: dict[int, Trial] = {}

    def holds(number: int) -> bool:
        gc.collect()  # the engine before this one fills the device
        trials[number] = trial(
            number, one.engine(in_fp8), clips, progress, measured_s=seconds, video=video
        )
        return trials[number].holds

    rows = []
    if cameras is None:
        most = search(holds, start=one.start)
        threads = num_inference_threads(0, is_on_cpu=not is_large)
        terms = {"seconds_measured": seconds, "threads": float(threads), "in_fp8": float(in_fp8)}
        rows.append(_most_row(name, most, trials, target=one.target, terms=terms))
    else:
        holds(cameras)
    rows += [trials[number].row(one.name) for number in sorted(trials)]
    if is_large:
        gc.collect()
        progress(f"{one.name}: transformers")
        theirs = Transformers.random(
            PRESETS[one.name],
            Tokenizer.load(NANO),
            dtype=torch.bfloat16,
            device="cuda",
        )
        rows.append(requests_row(f"{name}_transformers", theirs, clips))
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
    """Load the bundled model as a worker does by itself on a CPU."""
    torch.set_num_threads(1)  # until the thread that infers says how many: see `worker.wiring`
    return Engine.load(
        "nano",
        device="cpu",
        config=EngineConfig(window_s=WINDOW_S, max_context_tokens=MAX_CONTEXT_TOKENS),
    )


def random_engine(shape: str, *, in_fp8: bool = False) -> EngineWithMadeUpPast:
    """Make a model of a published shape on CUDA, with random weights: time is the same."""
    return EngineWithMadeUpPast(
        family_of(
            untrained(PRESETS[shape], device=torch.device("cuda"), dtype=torch.bfloat16),
            Tokenizer.load(NANO),
        ),
        model_name=f"random-{shape}",
        config=EngineConfig(
            window_s=WINDOW_S,
            max_context_tokens=MAX_CONTEXT_TOKENS,
            max_caption_tokens=CAPTION_TOKENS,
            fp8_products=in_fp8,
            fp8_keys=in_fp8,
        ),
    )


def requests_row(
    name: str, theirs: Transformers, clips: Clips, *, window_s: int = int(0.75 * WINDOW_S)
) -> Row:
    """Say how many cameras could be asked the same, a request at a time, on a mean window.

    Each standing question is one request from pixels, and so is a caption.
    """
    frames = _window(clips, window_s)
    question = next(one.question for one in QUESTIONS if one.question.kind == "yes_no")
    question_s = _median_s(lambda: theirs.answer(frames, question))
    caption = Question("caption", "")
    caption_s = _median_s(lambda: theirs.say(frames, caption, num_tokens=CAPTION_TOKENS))
    a_second = sum(
        (caption_s if one.question.kind == "caption" else question_s) / one.every_s
        for one in QUESTIONS
    )
    terms = {"question_s": question_s, "caption_s": caption_s, "frames": window_s}
    unit = "cameras, if nothing waited: requests a second over those of a camera"
    return Row(name, 1 / a_second, unit, terms=terms)


def _window(clips: Clips, window_s: int) -> list[PrunedFrame]:
    """Give what one camera's model is shown in so many seconds."""
    camera, pruner, clock = Played("camera", 0, 0), Pruner(), SystemClock()
    frames = []
    for second in range(window_s):
        pruned = pruner.prune(camera.frame(clips, second, captured_at=clock.now()))
        pruner.sent(pruned)
        frames.append(pruned)
    return frames


def _median_s(request: Callable[[], torch.Tensor]) -> float:
    """Time a request, median of three after one that warms up."""
    times_s = []
    for _ in range(4):
        begun_s = time.perf_counter()
        request().tolist()  # waits for the device
        times_s.append(time.perf_counter() - begun_s)
    return median(times_s[1:])


def _most_row(
    name: str, most: int, trials: dict[int, Trial], *, target: int, terms: dict[str, float]
) -> Row:
    if most:
        terms = {**terms, "frame_age_p95_s": trials[most].age_p95_s}
    unit = "cameras at 1 fps, 5 questions every 5 s and a caption every 10 s each"
    return Row(name, most, unit, target, most >= target, terms)
