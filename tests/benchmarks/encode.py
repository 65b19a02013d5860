"""What encoding only the changed patches is worth: `python -m tests.benchmarks encode`.

A full encode and partial ones take turns, so that both terms of a ratio meet the same machine; both
are processor time of all threads, median of the rounds, with the wall time beside. Weights are
random, since time does not depend on them; what `delta` changes in what the model says is measured
on the bundled model, by `vision_drift`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from model.engine.stream_encoder import StreamEncoder
from model.layers.backends import choose_backend
from model.types import PatchGrid, PrunedFrame
from model.videollama3.config import PRESETS, ModelConfig, TextConfig, VisionConfig
from model.videollama3.network import VideoLlama3
from tests.benchmarks.vision_drift import drift_rows
from worker.benchmarks.report import Progress, Row, at_least, at_most

GRID = PatchGrid(rows=9, cols=16)  # 448x252
NUM_THREADS = 2
ROUNDS = 9
NUM_CAMERAS = 4
MAX_RATIO = {0.10: 0.20, 0.05: 0.12}
"""Share of tokens changed -> target for its cost over a full encode's."""

CONFIG = ModelConfig(
    vision=VisionConfig(hidden_size=768, intermediate_size=3072, num_layers=12, num_heads=12),
    text=TextConfig(
        hidden_size=896,
        intermediate_size=4864,
        num_layers=1,  # the decoder is not run
        num_heads=14,
        num_kv_heads=2,
        head_dim=64,
        vocab_size=64,
    ),
    image_token_id=1,
    video_token_id=2,
    eos_token_ids=(3,),
)

GPU_CAMERAS = 16
MIN_RATE_SHARE = 0.35
MATRIX_SIDE = 8192


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one encode, median of the rounds.

    Attributes:
        cpu_ms: processor time, all threads.
        wall_ms: time on the clock.
    """

    cpu_ms: float
    wall_ms: float


def measure(progress: Progress) -> list[Row]:
    """Measure partial encodes over full ones, what `delta` changes, and the rate on a GPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(NUM_THREADS)
    try:
        costs = {}
        for dtype in (torch.float32, torch.bfloat16):
            progress(f"encoding on {NUM_THREADS} threads, {_name(dtype)}")
            costs[dtype] = encode_costs(_network(CONFIG, device="cpu", dtype=dtype))
        faster = min(costs, key=lambda dtype: costs[dtype]["full"].cpu_ms)
        rows = []
        for dtype, found in costs.items():
            rows += cost_rows(found, dtype=_name(dtype), is_faster=dtype == faster)
        return rows + drift_rows(progress) + _gpu_rows(progress)
    finally:
        torch.set_num_threads(threads)


# ---------------------------------------------------------------- processor time


def encode_costs(
    network: VideoLlama3, *, grid: PatchGrid = GRID, rounds: int = ROUNDS
) -> dict[str, Cost]:
    """Time a full encode, partial ones, and several cameras packed and one by one, in turn.

    Returns:
        By name: `full`; `partial_10` for 10 % of the tokens; `packed_10` for several cameras of so
        much in one pass; `apart_10` for the same in a pass each.
    """
    full, delta = StreamEncoder(network, mode="full"), StreamEncoder(network)
    names = [f"camera-{index}" for index in range(NUM_CAMERAS)]
    delta.encode([_frame(name, grid, 1.0) for name in names], [True] * len(names))

    def packed(share: float) -> None:
        delta.encode([_frame(name, grid, share) for name in names], [False] * len(names))

    def apart(share: float) -> None:
        for name in names:
            delta.encode([_frame(name, grid, share)], [False])

    whole = _frame(names[0], grid, 1.0)
    runs: dict[str, Callable[[], object]] = {"full": lambda: full.encode([whole], [True])}
    for share in MAX_RATIO:
        part = _frame(names[0], grid, share)
        percent = round(share * 100)
        runs[f"partial_{percent}"] = lambda part=part: delta.encode([part], [False])  # type: ignore[misc]
        runs[f"packed_{percent}"] = lambda share=share: packed(share)  # type: ignore[misc]
        runs[f"apart_{percent}"] = lambda share=share: apart(share)  # type: ignore[misc]
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for index in range(rounds + 1):
        for name, run in runs.items():
            cpu_s, wall_s = time.process_time(), time.perf_counter()
            run()
            if index:  # the first round warms up
                times[name].append((time.process_time() - cpu_s, time.perf_counter() - wall_s))
    return {
        name: Cost(*(median(column) * 1000 for column in zip(*found, strict=True)))
        for name, found in times.items()
    }


def cost_rows(costs: dict[str, Cost], *, dtype: str, is_faster: bool) -> list[Row]:
    """Set partial encodes against full ones; the targets are for the faster dtype."""
    rows = []
    full = costs["full"]
    for share, target in MAX_RATIO.items():
        percent = round(share * 100)
        part, packed, apart = (
            costs[f"{what}_{percent}"] for what in ("partial", "packed", "apart")
        )
        name = f"encode_{percent}_percent_changed_{dtype}"
        ratio = part.cpu_ms / full.cpu_ms
        terms = {
            "changed_cpu_ms": part.cpu_ms,
            "full_cpu_ms": full.cpu_ms,
            "changed_wall_ms": part.wall_ms,
            "full_wall_ms": full.wall_ms,
        }
        rows.append(
            at_most(name, ratio, target, terms=terms)
            if is_faster
            else Row(name, ratio, "ratio", terms=terms)
        )
        rows.append(
            Row(
                f"{NUM_CAMERAS}_cameras_packed_{percent}_percent_changed_{dtype}",
                packed.cpu_ms / apart.cpu_ms,
                "ratio",
                terms={
                    "packed_cpu_ms": packed.cpu_ms,
                    "a_pass_each_cpu_ms": apart.cpu_ms,
                    "packed_wall_ms": packed.wall_ms,
                    "a_pass_each_wall_ms": apart.wall_ms,
                },
            )
        )
    return rows


def _frame(stream_id: str, grid: PatchGrid, share: float) -> PrunedFrame:
    """Draw a frame of noise of which that share of the tokens is kept."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (grid.height_px, grid.width_px, 3), dtype=np.uint8)
    keep = rng.permutation(grid.num_tokens) < round(grid.num_tokens * share)
    return PrunedFrame(stream_id, pixels, keep.reshape(grid.rows, grid.cols), 0.0, is_refresh=False)


def _network(config: ModelConfig, *, device: str, dtype: torch.dtype) -> VideoLlama3:
    torch.manual_seed(0)
    target = torch.device(device)
    backend = choose_backend(target, dtype)
    with target:
        network = VideoLlama3(config, backend=backend)
    return network.to(dtype).eval().requires_grad_(requires_grad=False).fuse()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# ---------------------------------------------------------------- a GPU


def _gpu_rows(progress: Progress) -> list[Row]:
    """Set the 2B encoder's rate beside that of a plain matrix product on the same device."""
    names = ["gpu_full_encode_share_of_matrix_rate", "gpu_20_percent_changed_share_of_matrix_rate"]
    if not torch.cuda.is_available():
        return [
            Row(name, None, "not measured: no CUDA device", target)
            for name, target in zip(names, (MIN_RATE_SHARE, None), strict=True)
        ]
    progress("encoding on the GPU, 2B shape, bfloat16")
    network = _network(PRESETS["2b"], device="cuda", dtype=torch.bfloat16)
    square = torch.randn(MATRIX_SIDE, MATRIX_SIDE, device="cuda", dtype=torch.bfloat16)
    matrix_rate = 2 * MATRIX_SIDE**3 / _gpu_s(lambda: square @ square)
    encoder = StreamEncoder(network)
    streams = [f"camera-{index}" for index in range(GPU_CAMERAS)]
    rates = []
    for share in (1.0, 0.2):
        frames = [_frame(name, GRID, share) for name in streams]
        whole = [share == 1.0] * len(frames)
        num_kept = sum(frame.num_kept for frame in frames)
        seconds = _gpu_s(lambda frames=frames, whole=whole: encoder.encode(frames, whole))  # type: ignore[misc]
        rates.append((num_kept * token_flop(PRESETS["2b"].vision, GRID) / seconds, seconds))
    return [
        at_least(name, rate / matrix_rate, target, terms=terms)
        if target
        else Row(name, rate / matrix_rate, "ratio", terms=terms)
        for name, target, rate, terms in (
            (
                name,
                target,
                rate,
                {
                    "tflop_per_s": rate / 1e12,
                    "matrix_tflop_per_s": matrix_rate / 1e12,
                    f"{GPU_CAMERAS}_cameras_ms": seconds * 1000,
                },
            )
            for name, target, (rate, seconds) in zip(
                names, (MIN_RATE_SHARE, None), rates, strict=True
            )
        )
    ]


def token_flop(config: VisionConfig, grid: PatchGrid) -> int:
    """Multiplications and additions to encode one token of a frame, projector left out."""
    width, num_patches = config.hidden_size, grid.num_tokens * 4
    linear = 2 * (4 * width**2 + 2 * width * config.intermediate_size)
    return 4 * config.num_layers * (linear + 4 * num_patches * width)


def _gpu_s(run: Callable[[], object], *, rounds: int = 10) -> float:
    """Time a call, median of the rounds, the queue empty before and after."""
    times_s = []
    for _ in range(rounds + 3):
        torch.cuda.synchronize()
        start_s = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times_s.append(time.perf_counter() - start_s)
    return median(times_s[3:])
