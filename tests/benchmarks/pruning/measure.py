"""What the pruner is worth: `python -m tests.benchmarks prune`.

While working on the rule, some of it: `--only h264_gop1s_noise5` measures the cells, real clips and
costs (`cost`) whose names hold the word. From Python, `scene_counts(cell, Pruner())` counts one
cell of `CELLS`. Clips are made once and kept in the system's temporary folder.

On rendered scenes the truth is known (`truth`). On real clips the true frame is compared with
what the model last saw: PSNR, and the worst 4x4 px block, by the largest difference of means in any
channel. The first frame, which every rule sends whole, counts nowhere.
"""

import pickle
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import isfinite
from pathlib import Path

import cv2
import numpy as np

from model.videollama3.grid import pin_grid
from pipeline.pruner import Pruner
from pipeline.recorded import sampled
from pipeline.types import Frame
from tests.benchmarks.pruning.fidelity import (
    PAPER_THRESHOLD,
    Fidelity,
    fidelity,
    paper_masks,
    paper_threshold_for,
    pruner_masks,
)
from tests.benchmarks.pruning.labelled import CELLS, Cell, clip, frames_of
from tests.benchmarks.pruning.truth import Counts, scene_counts
from worker.benchmarks.report import Progress, Row, at_least, at_most

NUM_THREADS = 2  # codecs let go of the interpreter
COST_CELL = next(cell for cell in CELLS if cell.name == "h264_gop2s_noise5")
COST_ROUNDS = 15


@dataclass(frozen=True, slots=True)
class RealClip:
    """A clip without known truth.

    Attributes:
        file: its name.
        origin: where it can be had.
        max_tokens: budget of a frame.
        max_kept_ratio: target; None for none.
        max_levels: target for the worst 4x4 px block of the median and of the worst frame.
        max_error_to_paper: target for both, over paper mode's at equal tokens.
    """

    file: str
    origin: str
    max_tokens: int
    max_error_to_paper: float
    max_kept_ratio: float | None = None
    max_levels: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return Path(self.file).stem

    def frames(self, videos: Path | None) -> list[Frame] | None:
        """Sample it through the worker's reader, one a second; None when it is not in `videos`."""
        if videos is None or not (videos / self.file).is_file():
            return None
        grid_of = partial(pin_grid, max_tokens=self.max_tokens)
        return list(sampled(videos / self.file, grid_of=grid_of))


REAL_CLIPS = (
    RealClip(  # 448x336
        "vtest.avi",
        "OpenCV's samples/data (Debian's opencv-doc)",
        192,
        0.5,
        max_kept_ratio=0.20,
        max_levels=(15.0, 30.0),
    ),
    RealClip("car-detection.mp4", "Intel's sample-videos", 144, 0.7),  # 448x252
)


def measure(
    progress: Progress, *, videos: Path | None = None, only: Sequence[str] = ()
) -> list[Row]:
    """Measure the pruner as it is by default.

    Args:
        progress: told what is being done.
        videos: the folder of the real clips; without it they are left open.
        only: measure the cells, real clips and costs (`cost`) whose names hold one of these words;
            everything by default.
    """
    cv2.setNumThreads(1)

    def wanted(name: str) -> bool:
        return not only or any(word in name for word in only)

    rows = scene_rows([cell for cell in CELLS if wanted(cell.name)], progress)
    for real in REAL_CLIPS:
        if wanted(real.name):
            progress(f"{real.file}: fidelity of what the model last saw")
            rows += real_rows(real, videos=videos)
    if wanted("cost"):
        progress("cost of a frame")
        rows += cost_rows(frames_of(COST_CELL, progress))
    return rows


# ---------------------------------------------------------------- scenes of known truth


def scene_rows(cells: Sequence[Cell], progress: Progress) -> list[Row]:
    """Measure the cells, two at a time, and sum them up."""

    def counted(cell: Cell) -> Counts:
        clip(cell, progress)
        return scene_counts(cell, Pruner())

    counts: dict[Cell, Counts] = {}
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        for cell, found in zip(cells, threads.map(counted, cells), strict=True):
            counts[cell] = found
            progress(
                f"{len(counts)}/{len(cells)} {cell.name}: {found.changed_sent} of "
                f"{found.changed} changed tokens sent, {found.sent} sent in all"
            )
    moving = {cell: counts[cell] for cell in cells if cell.moves}
    static = {cell: counts[cell] for cell in cells if not cell.moves}
    return [
        *(_moving_rows(moving) if moving else []),
        *(_static_rows(static) if static else []),
        *(_cell_row(cell, counted) for cell, counted in moving.items()),
    ]


def _moving_rows(counts: dict[Cell, Counts]) -> list[Row]:
    changed = sum(counted.changed for counted in counts.values())
    sent = sum(counted.sent for counted in counts.values())
    changed_sent = sum(counted.changed_sent for counted in counts.values())
    blind = min(counts, key=lambda cell: counts[cell].recall)
    lavish = max(counts, key=lambda cell: counts[cell].sent_per_changed)
    terms = {
        "cells": len(counts),
        "changed_tokens": changed,
        "sent_tokens": sent,
        "changed_sent_tokens": changed_sent,
        "missed_by_6_levels_tokens": sum(counted.missed_plainly for counted in counts.values()),
    }
    return [
        at_least("changed_tokens_sent", changed_sent / changed, 0.995, terms=terms),
        at_least(
            "changed_tokens_sent_worst_cell",
            counts[blind].recall,
            0.98,
            terms={blind.name: counts[blind].recall},
        ),
        at_most("sent_per_changed_token", sent / changed, 1.15, terms=terms),
        at_most(
            "sent_per_changed_token_worst_cell",
            counts[lavish].sent_per_changed,
            1.5,
            terms={lavish.name: counts[lavish].sent_per_changed},
        ),
    ]


def _static_rows(counts: dict[Cell, Counts]) -> list[Row]:
    ratios = {cell: counted.quiet_sent_ratio for cell, counted in counts.items()}
    worst = max(ratios, key=lambda cell: ratios[cell])
    terms = {worst.name: ratios[worst], "all_cells": sum(ratios.values()) / len(ratios)}
    return [at_most("static_scene_sent_worst_cell", ratios[worst], 0.003, terms=terms)]


def _cell_row(cell: Cell, counted: Counts) -> Row:
    terms = {
        "sent_per_changed": counted.sent_per_changed,
        "changed_tokens": counted.changed,
        "sent_tokens": counted.sent,
        "missed_by_6_levels_tokens": counted.missed_plainly,
    }
    return Row(f"changed_tokens_sent_{cell.name}", counted.recall, "ratio", terms=terms)


# ---------------------------------------------------------------- real clips


def real_rows(real: RealClip, *, videos: Path | None) -> list[Row]:
    """Measure a real clip beside paper mode; one row that says so where it is not there."""
    name = real.name.replace("-", "_")
    frames = real.frames(videos)
    if frames is None:
        how = f"unmeasured: give a folder with {real.file}, from {real.origin}, as --videos"
        return [Row(f"{name}_kept_ratio", None, how)]
    ours = fidelity(frames, pruner_masks(frames, Pruner()))
    equal = paper_threshold_for(frames, ours.kept_ratio)
    paper = fidelity(frames, paper_masks(frames, equal))
    stock = fidelity(frames, paper_masks(frames, PAPER_THRESHOLD))
    return [
        *_our_rows(name, ours, paper, real=real),
        Row(f"{name}_paper_threshold_at_equal_tokens", equal, "normalised x 255"),
        *_fidelity_rows(f"{name}_paper_at_equal_tokens", paper),
        *_fidelity_rows(f"{name}_paper_at_{PAPER_THRESHOLD:g}", stock),
    ]


def _our_rows(name: str, ours: Fidelity, paper: Fidelity, *, real: RealClip) -> list[Row]:
    kept, median, worst, psnr = _fidelity_rows(name, ours)
    if real.max_kept_ratio is not None and real.max_levels is not None:
        kept = at_most(kept.name, ours.kept_ratio, real.max_kept_ratio)
        median = at_most(median.name, ours.median_block_levels, real.max_levels[0], unit="levels")
        worst = at_most(worst.name, ours.worst_block_levels, real.max_levels[1], unit="levels")
        if isfinite(ours.psnr_db) and isfinite(paper.psnr_db):
            psnr = at_least(psnr.name, ours.psnr_db, paper.psnr_db, unit="dB")
    ratios = {
        "median_frame": (ours.median_block_levels, paper.median_block_levels),
        "worst_frame": (ours.worst_block_levels, paper.worst_block_levels),
    }
    return [kept, median, worst, psnr] + [
        at_most(
            f"{name}_worst_block_to_paper_{which}",
            mine / theirs if theirs else float(mine > 0),
            real.max_error_to_paper,
            terms={"ours_levels": mine, "paper_levels": theirs},
        )
        for which, (mine, theirs) in ratios.items()
    ]


def _fidelity_rows(name: str, found: Fidelity) -> list[Row]:
    psnr_db = found.psnr_db if isfinite(found.psnr_db) else None
    return [
        Row(f"{name}_kept_ratio", found.kept_ratio, "ratio"),
        Row(f"{name}_worst_block_median_frame", found.median_block_levels, "levels"),
        Row(f"{name}_worst_block_worst_frame", found.worst_block_levels, "levels"),
        Row(f"{name}_psnr", psnr_db, "dB" if psnr_db is not None else "dB: no error at all"),
    ]


# ---------------------------------------------------------------- cost


def cost_rows(frames: Sequence[Frame]) -> list[Row]:
    """Time `prune` and `sent` over a camera's frames, and weigh what is kept of it."""
    rounds = [_frame_times_s(frames) for _ in range(COST_ROUNDS)]
    best_s = min(float(np.mean(times_s)) for times_s in rounds)
    pruner = Pruner()
    pruner_masks(frames, pruner)
    terms = {
        "median_frame_ms": float(np.median(rounds)) * 1000,
        "slowest_frame_ms": float(np.median(rounds, axis=0).max()) * 1000,
        "width_px": frames[0].grid.width_px,
        "height_px": frames[0].grid.height_px,
    }
    # Pickled, so that whatever the pruner holds is counted, and once.
    state_bytes = len(pickle.dumps(pruner, protocol=pickle.HIGHEST_PROTOCOL))
    return [
        at_most("cost_of_a_frame", best_s * 1000, 1.0, unit="ms", terms=terms),
        at_most("state_of_a_camera", state_bytes / 1e6, 2.0, unit="MB"),
    ]


def _frame_times_s(frames: Sequence[Frame]) -> list[float]:
    pruner = Pruner()
    stamps_s = [time.perf_counter()]
    for frame in frames:
        pruner.sent(pruner.prune(frame))
        stamps_s.append(time.perf_counter())
    return [end_s - start_s for start_s, end_s in pairwise(stamps_s)]
