"""`vigil inspect`: what the pruner sends of a video, as a video to look at."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.videollama3.patches import pin_grid
from pipeline.errors import ConfigError, SourceError
from pipeline.overlay import Overlay
from pipeline.pruner import PrunerMode
from pipeline.recorded import sampled
from pipeline.sources.encoder import encode_clip
from pipeline.types import Frame
from worker import environment

CONTAINERS = (".mp4", ".mkv", ".mov")
MAX_FPS = 30.0
PLAYED_FPS = 4
BITS_PER_S = 4_000_000


def inspect(video: str, out: str, *, mode: PrunerMode | None, fps: float) -> int:
    """Write `video` at a frame per sample with the sent tokens outlined, a strip of figures below.

    Args:
        video: a file in any container and codec libav reads.
        out: the file to write, played at 4 frames a second.
        mode: of the pruner; None for the setting's.
        fps: frames sampled per second of `video`.

    Returns:
        0.

    Raises:
        ConfigError: a setting is wrong, the video cannot be read, or the other cannot be written.
    """
    source, target = Path(video), Path(out)
    _check(source, target, fps=fps)
    settings = environment.load()
    from worker.wiring import new_pruner  # it loads torch, which takes seconds

    if mode is not None:
        chosen = settings.pruner.model_copy(update={"mode": mode})
        settings = settings.model_copy(update={"pruner": chosen})
    grid_of = partial(pin_grid, max_tokens=settings.model.max_tokens_per_frame)
    overlay = Overlay(new_pruner(settings), title=f"{source.name}   {settings.pruner.mode}")
    unfinished = target.with_name(f"{target.stem}.part{target.suffix}")
    try:
        encode_clip(
            unfinished,
            _with_progress(overlay, sampled(source, grid_of=grid_of, period_s=1 / fps)),
            fps=PLAYED_FPS,
            gop_s=2,
            bits_per_s=BITS_PER_S,
        )
        unfinished.rename(target)
    except SourceError as error:
        raise ConfigError(f"inspect: {source}: {error}") from error
    except (ValueError, OSError) as error:
        raise ConfigError(f"inspect: {target} cannot be written: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    _say(f"{target}: {overlay.num_frames} frames, {overlay.kept_ratio:.1%} of the tokens sent")
    return 0


def _with_progress(overlay: Overlay, frames: Iterator[Frame]) -> Iterator[NDArray[np.uint8]]:
    for frame in frames:
        yield overlay.drawn(frame)
        if overlay.num_frames % 10 == 0:
            _say(f"{overlay.num_frames} frames, {overlay.kept_ratio:.1%} of the tokens sent")


def _check(source: Path, target: Path, *, fps: float) -> None:
    if not source.is_file():
        raise ConfigError(f"inspect: expected a video file at {source}, found none")
    if target.suffix.lower() not in CONTAINERS:
        raise ConfigError(
            f"inspect: --out: expected a file name ending in {', '.join(CONTAINERS)}, got {target}"
        )
    if not target.parent.is_dir():
        raise ConfigError(f"inspect: --out: expected a folder at {target.parent}, found none")
    if target.exists() and target.samefile(source):
        raise ConfigError("inspect: --out: expected another file than the video itself")
    if not 0 < fps <= MAX_FPS:
        raise ConfigError(
            f"inspect: --fps: expected more than 0 and at most {MAX_FPS:g}, got {fps:g}"
        )


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)  # noqa: T201 (progress)
