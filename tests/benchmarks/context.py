"""`python -m tests.benchmarks context`: what growing a context is worth over prefilling it anew.

And over keeping none: the last four frames, whole, at every ask.

A tick is what a second of one camera costs: the frame, and five yes/no questions about the window.
All times are processor time of all threads. Ours and the hopping window are medians of ticks that
take turns; transformers answers one request, once, since that takes most of a minute, and its tick
is that times five. Weights are random: time does not depend on them.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

import model
from model import Engine, EngineConfig
from model.engine.last_frames import LastFrames
from model.types import PatchGrid, PrunedFrame, Question
from model.videollama3.checkpoint import load_model
from model.videollama3.config import ModelConfig, TextConfig, VisionConfig
from model.videollama3.family import family_of
from model.videollama3.network import VideoLlama3
from model.videollama3.prompt import NANO_1
from model.videollama3.tokenizer import Tokenizer
from tests.benchmarks.hopping_window import HoppingWindow
from worker.benchmarks.baselines import Transformers
from worker.benchmarks.report import Progress, Row

GRID = PatchGrid(rows=9, cols=16)  # 448x252
CHANGED_SHARE = 0.10
NUM_THREADS = 2
WINDOW_FRAMES = 60
SHORT_FRAMES, LONG_FRAMES = 20, 180
ROUNDS, LAST_ROUNDS = 7, 3
MAX_OVER_TRANSFORMERS = 1 / 100
MAX_OVER_HOPPING = 1 / 4
MAX_GROWTH = 1.5

CONFIG = ModelConfig(
    vision=VisionConfig(hidden_size=768, intermediate_size=3072, num_layers=12, num_heads=12),
    text=TextConfig(
        hidden_size=896,
        intermediate_size=4864,
        num_layers=12,
        num_heads=14,
        num_kv_heads=2,
        head_dim=64,
        vocab_size=32_768,
        has_tied_head=True,
    ),
    image_token_id=1,
    video_token_id=2,
    eos_token_ids=(3,),
)
QUESTIONS = tuple(
    Question("yes_no", text)
    for text in (
        "Is there fire or smoke?",
        "Is there a person at the gate?",
        "Is the door open?",
        "Is a car parked on the left?",
        "Has anything been left behind?",
    )
)


@dataclass(frozen=True, slots=True)
class Tick:
    """Processor time of one tick.

    Attributes:
        append_s: of the frame.
        ask_s: of the questions.
    """

    append_s: float
    ask_s: float

    @property
    def total_s(self) -> float:
        """Of both."""
        return self.append_s + self.ask_s


class Camera:
    """A scene of which a tenth changes from one frame to the next, shown to an engine."""

    def __init__(self, network: VideoLlama3, tokenizer: Tokenizer, *, num_frames: int) -> None:
        """Show so many frames, after which the active context holds all of them."""
        self._rng = np.random.default_rng(0)
        self._count = 0
        self.engine = Engine(
            family_of(network, tokenizer, prompt=NANO_1),  # the words that earlier figures had
            model_name="random",
            config=EngineConfig(window_s=num_frames + 1.0, audit_share=0.0),
        )
        self.shown = [self.next(pts_s=float(second)) for second in range(num_frames)]
        self.engine.append(self.shown)
        self._last_pts_s = num_frames - 1.0

    def next(self, *, pts_s: float | None = None) -> PrunedFrame:
        """Draw the next frame; without a time so soon after the last that no context retires."""
        if pts_s is None:
            self._last_pts_s += 0.05
            pts_s = self._last_pts_s
        shape = (GRID.height_px, GRID.width_px, 3)
        mask = np.zeros(GRID.num_tokens, dtype=np.bool_)
        num_changed = round(CHANGED_SHARE * GRID.num_tokens)
        mask[self._rng.choice(GRID.num_tokens, num_changed, replace=False)] = True
        self._count += 1
        return PrunedFrame(
            "gate",
            self._rng.integers(0, 256, shape, dtype=np.uint8),
            mask.reshape(GRID.rows, GRID.cols),
            pts_s,
            is_refresh=self._count == 1,
        )

    def tick(self, questions: Sequence[Question] = QUESTIONS) -> Tick:
        """Show the next frame and ask."""
        frame = self.next()
        append_s = cpu_s(lambda: self.engine.append([frame]))
        asks = [("gate", question) for question in questions]
        return Tick(append_s, cpu_s(lambda: self.engine.ask(asks)))


def measure(progress: Progress) -> list[Row]:
    """Measure a tick over the naive ways, and how it grows with the window."""
    threads = torch.get_num_threads()
    torch.set_num_threads(NUM_THREADS)
    try:
        return _measure(progress)
    finally:
        torch.set_num_threads(threads)


def _measure(progress: Progress) -> list[Row]:
    tokenizer = bundled_tokenizer()
    dtype = faster_dtype()
    progress(f"making random weights, {dtype}")
    theirs = Transformers.random(CONFIG, tokenizer, dtype=dtype)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save(Path(folder))
        network = load_model(Path(folder), device="cpu", dtype=dtype)
    progress(f"showing {WINDOW_FRAMES} frames")
    camera = Camera(network, tokenizer, num_frames=WINDOW_FRAMES)
    hopping = HoppingWindow(network, tokenizer)
    for frame in camera.shown:
        hopping.append(frame)
    progress("ticks, ours and the hopping window's in turns")
    camera.tick()
    ours, hops = [], []
    for _ in range(ROUNDS):
        ours.append(camera.tick())
        frame = camera.next()
        append_s = cpu_s(lambda frame=frame: hopping.append(frame))  # type: ignore[misc]
        hops.append(Tick(append_s, cpu_s(lambda: hopping.ask(QUESTIONS))))
    hop_s = cpu_s(hopping.hop)
    ours_s = median(tick.total_s for tick in ours)
    hop_tick_s = median(tick.total_s for tick in hops) + hop_s / (WINDOW_FRAMES / 2)
    progress("one request to transformers")
    request_s = cpu_s(lambda: theirs.answer(camera.shown, QUESTIONS[0]))
    rows = [
        _ratio(
            "tick_over_transformers",
            ours_s,
            request_s * len(QUESTIONS),
            MAX_OVER_TRANSFORMERS,
            transformers_request_cpu_s=request_s,
        ),
        _ratio("tick_over_hopping_window", ours_s, hop_tick_s, MAX_OVER_HOPPING, hop_cpu_s=hop_s),
        Row("tick_append", median(tick.append_s for tick in ours), "CPU s"),
        Row("tick_five_questions", median(tick.ask_s for tick in ours), "CPU s"),
        Row("hopping_append", median(tick.append_s for tick in hops), "CPU s"),
        Row("hopping_five_questions", median(tick.ask_s for tick in hops), "CPU s"),
    ]
    rows += last_frames(camera, network, tokenizer, progress=progress)
    return [*rows, _growth(network, tokenizer, progress)]


def last_frames(
    camera: Camera, network: VideoLlama3, tokenizer: Tokenizer, *, progress: Progress
) -> list[Row]:
    """Measure ticks that see the last four frames, whole, in turns with a camera's own."""
    progress("ticks over the last four frames")
    viewer = LastFrames(
        Engine(
            family_of(network, tokenizer, prompt=NANO_1),
            model_name="random",
            config=LastFrames.config_for(EngineConfig()),
        )
    )
    viewer.append(camera.shown[-3:])
    asks = [("gate", question) for question in QUESTIONS]
    ours, last = [], []
    for _ in range(LAST_ROUNDS):
        ours.append(camera.tick().total_s)
        viewer.append([camera.next()])
        last.append(cpu_s(lambda: viewer.ask(asks)))
    ours_s, last_s = median(ours), median(last)
    terms = {"ours_cpu_s": ours_s, "last_four_cpu_s": last_s}
    return [Row("tick_over_last_four_frames", ours_s / last_s, "ratio", terms=terms)]


def _growth(network: VideoLlama3, tokenizer: Tokenizer, progress: Progress) -> Row:
    """Compare ticks at the end of a long window and of a short one, where they cost most."""
    cameras = []
    for num_frames in (SHORT_FRAMES, LONG_FRAMES):
        progress(f"showing {num_frames} frames")
        cameras.append(Camera(network, tokenizer, num_frames=num_frames))
        cameras[-1].tick()
    ticks = [[camera.tick().total_s for camera in cameras] for _ in range(ROUNDS)]
    short_s, long_s = (median(column) for column in zip(*ticks, strict=True))
    growth = long_s / short_s
    return Row(
        f"growth_of_a_tick_{SHORT_FRAMES}s_to_{LONG_FRAMES}s",
        growth,
        "ratio",
        MAX_GROWTH,
        growth <= MAX_GROWTH,
        {"long_cpu_s": long_s, "short_cpu_s": short_s},
    )


def _ratio(name: str, ours_s: float, theirs_s: float, target: float, **terms: float) -> Row:
    ratio = ours_s / theirs_s
    both = {"ours_cpu_s": ours_s, "theirs_cpu_s": theirs_s}
    return Row(name, ratio, "ratio", target, ratio <= target, both | terms)


def cpu_s(work: Callable[[], object]) -> float:
    """Return the processor time of some work, all threads."""
    begun_s = time.process_time()
    work()
    return time.process_time() - begun_s


def bundled_tokenizer() -> Tokenizer:
    """Return the bundled model's tokenizer; its ids are within the random model's vocabulary."""
    return Tokenizer.load(Path(model.__file__).parent / "nano")


def faster_dtype() -> torch.dtype:
    """Return what this machine multiplies faster."""
    times = {}
    for dtype in (torch.float32, torch.bfloat16):
        x, w = torch.ones(64, 896, dtype=dtype), torch.ones(4864, 896, dtype=dtype)
        torch.nn.functional.linear(x, w)
        times[dtype] = min(
            cpu_s(lambda x=x, w=w: torch.nn.functional.linear(x, w))  # type: ignore[misc]
            for _ in range(9)
        )
    return min(times, key=times.__getitem__)


def random_network(dtype: torch.dtype) -> VideoLlama3:
    """Make the benchmark's model with random weights."""
    torch.manual_seed(0)
    return VideoLlama3(CONFIG).to(dtype).eval().requires_grad_(requires_grad=False)
