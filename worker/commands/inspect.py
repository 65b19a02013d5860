"""`vigil inspect` shows what the pruner sends of a video, as a video to look at."""

import argparse
from functools import partial
from pathlib import Path
from typing import get_args

from pipeline.errors import ConfigError, SourceError
from pipeline.pruner import PrunerMode
from worker import environment
from worker.benchmarks.report import say

SUMMARY = "write a video that shows which parts of each frame the pruner sends to the model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("video", type=Path, metavar="VIDEO", help="the video file to look at")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the .mp4, .mkv or .mov to write"
    )
    parser.add_argument(
        "--mode",
        choices=get_args(PrunerMode),
        default=None,
        help="how the pruner compares frames (default: the value of VIGIL_PRUNER__MODE)",
    )
    parser.add_argument(
        "--fps",
        type=float,
        default=1.0,
        help="how many frames are taken from each second of the video (default 1)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the video at a frame per sample, the sent tokens outlined, a strip of figures below.

    Raises:
        ConfigError: a setting is wrong, the video cannot be read, or the other cannot be written.
    """
    source, target = arguments.video, arguments.out
    from model.videollama3.grid import pin_grid
    from pipeline.overlay import Overlay, check_files, drawn_by, write_overlay
    from pipeline.recorded import sampled
    from worker.wiring import new_pruner

    check_files(source, target, fps=arguments.fps)
    settings = environment.load()
    mode = arguments.mode or settings.pruner.mode
    chosen = settings.pruner.model_copy(update={"mode": mode})
    pruner = new_pruner(settings.model_copy(update={"pruner": chosen}))
    grid_of = partial(pin_grid, max_tokens=settings.model.max_tokens_per_frame)
    frames = sampled(source, grid_of=grid_of, period_s=1 / arguments.fps)
    overlay = Overlay(title=f"{source.name}   {mode}")
    try:
        write_overlay(target, drawn_by(pruner, frames, overlay), overlay, progress=say)
    except SourceError as error:
        raise ConfigError(f"inspect: {source}: {error}") from error
    return 0
