"""What reading contexts in their pages is worth on a GPU: `python -m tests.benchmarks in_pages`.

Each figure stands twice, over pages and over copies of them: the same network with and without its
kernels for pages. And what is said must be the same: of the bundled model every answer and every
text; with random weights, in bfloat16, what follows a question wherever its two likeliest tokens
are not next to each other.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from statistics import median

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from model import Engine, EngineConfig
from model.bundled import NANO
from model.engine.decoding import MAX_COPIES
from model.engine.made_up_past import EngineWithMadeUpPast
from model.evaluation.evaluate import ask_clip
from model.layers.attention import Backend
from model.types import PatchGrid, PrunedFrame, Question
from model.videollama3.config import PRESETS
from model.videollama3.family import family_of
from model.videollama3.network import VideoLlama3
from model.videollama3.tokenizer import Tokenizer
from tests.benchmarks.decode import copied_bytes_per_s, share_row
from worker.benchmarks.random_weights import untrained
from worker.benchmarks.report import Progress, Row, at_least, at_most
from worker.evaluation.clips import clips

GRID = PatchGrid(rows=9, cols=16)  # 448x252
KEPT_TOKENS = 31  # of 144: a fifth
NUM_CAMERAS, NUM_ASKED = 40, 16
PAST_S = 135  # of a window of 180: an active context and a standby
MAX_APPEND_MS = 38.0
DECODE_SHARES = {16: 0.54, 32: 0.62, 64: 0.70}
MIN_GAP = 0.25  # between a token's logit and the next one's, for them to be told apart in bfloat16
NUM_CLIPS, FIRST_SEED = 20, 10_000_000
QUESTIONS = tuple(
    Question("yes_no", f"Is there {what}?")
    for what in ("fire or smoke", "a person", "an open door")
)


def measure(progress: Progress) -> list[Row]:
    """Measure the 2B shape over pages and over copies, and compare what is said."""
    if not torch.cuda.is_available():
        return [
            Row("append_40_frames_in_pages", None, "not measured: no CUDA device", MAX_APPEND_MS)
        ]
    device = torch.device("cuda")
    rows = [equal_answers_row(dtype, progress) for dtype in ("float32", "bfloat16")]
    copy_rate = copied_bytes_per_s(device)
    network = untrained(PRESETS["2b"], device=device, dtype=torch.bfloat16)
    if network.language.backend.paged is None:
        return [*rows, Row("append_40_frames_in_pages", None, "no kernels here", MAX_APPEND_MS)]
    rows.append(equal_tokens_row(network, progress))
    for way, backend in ways(network.language.backend):
        progress(f"2b shape, {way}")
        with attending(network, backend):
            rows += pass_rows(network, way)
            for num, share in DECODE_SHARES.items():
                if way == "copied" and num > MAX_COPIES:
                    continue
                name = f"decode_share_of_bandwidth_{num}_{way}"
                row = share_row(name, network, copy_rate=copy_rate, num_captions=num)
                is_met = (row.value or 0.0) >= share
                rows.append(_aimed(replace(row, target=share, holds=is_met), way))
    return rows


def ways(backend: Backend) -> tuple[tuple[str, Backend], ...]:
    """Give a backend with its kernels for pages, and without."""
    return ("in_pages", backend), ("copied", replace(backend, paged=None))


@contextmanager
def attending(network: VideoLlama3, backend: Backend) -> Iterator[None]:
    """Let a network's decoder attend so."""
    before = network.language.backend
    network.language.backend = backend
    try:
        yield
    finally:
        network.language.backend = before


class Cameras:
    """Cameras with a past, on an engine of random weights."""

    def __init__(self, network: VideoLlama3, *, number: int, past_s: int, grid: PatchGrid) -> None:
        """Make the pasts up, and encode each camera's picture once."""
        self._rng = np.random.default_rng(0)
        self._grid = grid
        self._pts_s = float(past_s)
        self.names = [f"camera-{n}" for n in range(number)]
        self.engine = EngineWithMadeUpPast(
            family_of(network, Tokenizer.load(NANO)),
            model_name="random",
            config=EngineConfig(window_s=180.0, audit_share=0.0),
        )
        for second in range(past_s):
            self.engine.live_through([self._frame(name, float(second)) for name in self.names])
        self.engine.append([self._frame(name, self._pts_s, is_whole=True) for name in self.names])

    def append(self) -> None:
        """Show a frame of each, of which a fifth has changed, so soon that no context retires."""
        self._pts_s += 0.05
        self.engine.append([self._frame(name, self._pts_s) for name in self.names])

    def ask(self) -> None:
        """Ask some of them what needs no decoding."""
        asked = self.names[:NUM_ASKED]
        self.engine.ask([(name, question) for name in asked for question in QUESTIONS])

    def _frame(self, name: str, pts_s: float, *, is_whole: bool = False) -> PrunedFrame:
        grid = self._grid
        mask = np.zeros(grid.num_tokens, dtype=np.bool_)
        mask[self._rng.permutation(grid.num_tokens)[:KEPT_TOKENS]] = True
        shape = (grid.height_px, grid.width_px, 3)
        pixels = np.full(shape, self._rng.integers(256), dtype=np.uint8)
        pixels[::3] = self._rng.integers(256)
        is_first = is_whole or pts_s == 0
        return PrunedFrame(name, pixels, mask.reshape(grid.rows, grid.cols), pts_s, is_first)


def pass_rows(
    network: VideoLlama3,
    way: str,
    *,
    number: int = NUM_CAMERAS,
    past_s: int = PAST_S,
    grid: PatchGrid = GRID,
) -> list[Row]:
    """Time appends and asks: what the GPU was busy for, and what passed."""
    cameras = Cameras(network, number=number, past_s=past_s, grid=grid)
    busy_ms, wall_ms = times_ms(cameras.append)
    asked_ms, asked_wall_ms = times_ms(cameras.ask)
    name, terms = f"append_{number}_frames_{way}", {"wall_ms": wall_ms}
    return [
        _aimed(at_most(name, busy_ms, MAX_APPEND_MS, unit="ms of GPU", terms=terms), way),
        Row(
            f"ask_{min(number, NUM_ASKED)}_cameras_{way}",
            asked_ms,
            "ms of GPU",
            terms={"wall_ms": asked_wall_ms},
        ),
    ]


def times_ms(work: Callable[[], object], *, rounds: int = 5) -> tuple[float, float]:
    """Give how long the GPU is busy with some work, and how long it takes: medians."""
    walls, busy = [], []
    for _ in range(rounds + 1):
        _wait()
        begun_s = time.perf_counter()
        work()
        _wait()
        walls.append(1e3 * (time.perf_counter() - begun_s))
    for _ in range(rounds):
        with profile(activities=[_profiled()]) as profiled:
            work()
            _wait()
        busy.append(sum(one.self_device_time_total for one in profiled.key_averages()) / 1e3)
    return median(busy), median(walls[1:])


def equal_tokens_row(
    network: VideoLlama3,
    progress: Progress,
    *,
    number: int = NUM_ASKED,
    past_s: int = PAST_S,
    grid: PatchGrid = GRID,
) -> Row:
    """Compare the likeliest tokens where random weights can tell the two likeliest apart."""
    progress("tokens over pages and over copies, random weights")
    cameras = Cameras(network, number=number, past_s=past_s, grid=grid)

    def logits() -> torch.Tensor:
        asks = [(name, question) for name in cameras.names for question in QUESTIONS]
        return torch.stack([cameras.engine.first_logits(*ask) for ask in asks])

    found = []
    for _, backend in ways(network.language.backend):
        with attending(network, backend):
            found.append(logits())
    in_pages, copied = found
    best = copied.topk(2, dim=-1).values
    is_clear = best[:, 0] - best[:, 1] > MIN_GAP
    is_equal = in_pages.argmax(-1) == copied.argmax(-1)
    return at_least(
        "first_tokens_equal_random_weights",
        float(is_equal[is_clear].float().mean()) if is_clear.any() else 1.0,
        1.0,
        terms={
            "clear": int(is_clear.sum()),
            "all": len(is_equal),
            "equal_of_all": float(is_equal.float().mean()),
            "largest_logit_difference": float((in_pages - copied).abs().max()),
        },
    )


def equal_answers_row(
    dtype: str, progress: Progress, *, device: str = "cuda", num_clips: int = NUM_CLIPS
) -> Row:
    """Compare the bundled model's answers and texts, question by question."""
    progress(f"answers over pages and over copies, bundled model, {dtype}")
    engine = Engine.load("nano", device=device, dtype=dtype, config=EngineConfig(audit_share=0.0))
    network = engine.family.network
    if not isinstance(network, VideoLlama3):
        raise TypeError(network)
    said: list[list[str]] = []
    for _, backend in ways(network.language.backend):
        with attending(network, backend):
            judged = [
                one
                for clip in clips(FIRST_SEED, num_clips)
                for one in ask_clip(engine, clip.scene, clip.frames, clip.moments)
            ]
        said.append([one.said for one in judged])
    num_equal = sum(one == other for one, other in zip(*said, strict=True))
    terms = {"equal": num_equal, "asked": len(said[0])}
    return at_least(f"answers_equal_nano_{dtype}", num_equal / len(said[0]), 1.0, terms=terms)


def _aimed(row: Row, way: str) -> Row:
    """Leave the target out of what is only there to be compared with."""
    return row if way == "in_pages" else replace(row, target=None, holds=None)


def _profiled() -> ProfilerActivity:
    return ProfilerActivity.CUDA if torch.cuda.is_available() else ProfilerActivity.CPU


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
