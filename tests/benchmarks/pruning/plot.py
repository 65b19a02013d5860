"""The picture of `prune --plot`: tokens sent against what the model last saw."""

from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path

import cv2
import numpy as np

from pipeline.pen import Point
from pipeline.pruner import Pruner
from pipeline.types import Frame
from tests.benchmarks.chart import GREY, Curve, Panel, chart
from tests.benchmarks.pruning.fidelity import Fidelity, fidelity, paper_masks, pruner_masks
from tests.benchmarks.pruning.labelled import CELLS, frames_of
from tests.benchmarks.pruning.measure import REAL_CLIPS
from worker.benchmarks.report import Progress

PAPER_THRESHOLDS = np.geomspace(1.0, 80.0, 48).tolist()
LAST_SEEN_LEVELS = np.geomspace(1.5, 40.0, 24).tolist()
RENDERED = next(cell for cell in CELLS if cell.name == "h264_gop2s_noise5")
MAX_KEPT_RATIO = 0.6
MAX_BLOCK_LEVELS = 90.0
PSNR_RANGE_DB = (24.0, 48.0)
ADAPTIVE = "adaptive, as it is by default"
RED, BLUE, GREEN = (200, 74, 60), (120, 150, 190), (24, 130, 92)

Figure = Callable[[Fidelity], float]


def plot(path: Path, progress: Progress, *, videos: Path | None) -> None:
    """Draw every clip that is there, both figures, every mode.

    Args:
        path: the .png to write.
        progress: told what is being done.
        videos: the folder of the real clips.
    """
    clips: list[tuple[str, list[Frame] | None]] = [
        (real.file, real.frames(videos)) for real in REAL_CLIPS
    ]
    clips.append((f"rendered street, {RENDERED.name.replace('_', ' ')}", frames_of(RENDERED)))
    rows = []
    for name, frames in clips:
        if frames is not None:
            progress(f"sweeping thresholds on {name}")
            rows.append(_row(name, frames))
    picture = chart(
        "Tokens sent, and how true what the model last saw still is",
        "One frame a second, the first left out. Better is further left, and lower in the left "
        "column, higher in the right one. The upper ring of two is the worst frame.",
        rows,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def _row(name: str, frames: Sequence[Frame]) -> list[Panel]:
    paper = [fidelity(frames, paper_masks(frames, threshold)) for threshold in PAPER_THRESHOLDS]
    last_seen = [
        fidelity(frames, pruner_masks(frames, Pruner(mode="last_seen", threshold_levels=levels)))
        for levels in LAST_SEEN_LEVELS
    ]
    adaptive = [fidelity(frames, pruner_masks(frames, Pruner()))]

    def curves(figure: Figure, *, worst: Figure | None = None) -> list[Curve]:
        def points(found: Sequence[Fidelity], of: Figure = figure) -> list[Point]:
            return sorted((one.kept_ratio, of(one)) for one in found if isfinite(of(one)))

        drawn = [
            Curve("paper, its threshold swept", RED, points(paper)),
            Curve("last seen, one threshold for all cameras, swept", BLUE, points(last_seen)),
        ]
        if worst is not None:
            drawn += [
                Curve("", RED, points(paper, worst), is_dashed=True),
                Curve("", BLUE, points(last_seen, worst), is_dashed=True),
                Curve("the worst frame", GREY, (), is_dashed=True),
                Curve(ADAPTIVE, GREEN, points(adaptive, worst), is_ring=True),
            ]
        return [*drawn, Curve(ADAPTIVE, GREEN, points(adaptive), is_ring=True)]

    def panel(what: str, y_range: Point, drawn: list[Curve]) -> Panel:
        return Panel(name, "tokens sent per token", what, (0.0, MAX_KEPT_RATIO), y_range, drawn)

    return [
        panel(
            "worst 4x4 px block, grey levels: median frame, and dashed the worst frame",
            (0.0, MAX_BLOCK_LEVELS),
            curves(lambda one: one.median_block_levels, worst=lambda one: one.worst_block_levels),
        ),
        panel("PSNR, dB", PSNR_RANGE_DB, curves(lambda one: one.psnr_db)),
    ]
