"""The logits of a first answer token beside those of `transformers`, on the same weights."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice, takewhile
from pathlib import Path

import torch

from model import Engine, Question
from model.errors import CheckpointError
from model.types import PrunedFrame
from model.videollama3.config import NATIVE_MODEL_TYPE
from model.videollama3.files import CONFIG, one_line, read_json
from pipeline.pruner import Pruner
from pipeline.types import Frame
from worker.benchmarks.baselines import Transformers
from worker.benchmarks.report import Row

NAME = "first_logits_largest_difference"
STREAM_ID = "first-logits"
MAX_FRAMES = 8
MAX_TOKENS = 2048
ROOM = 1.25
"""What transformers' model is taken to need, over the bytes of its weights."""

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def logits_row(
    engine: Engine,
    pruner: Pruner,
    frames: Sequence[Frame],
    question: Question,
    *,
    period_s: float,
    folder: Path,
) -> Row:
    """Compare an engine that encodes whole frames with `transformers` on one prompt.

    Args:
        engine: asked about a stream of its own, which is not left behind.
        pruner: a new one that keeps tokens by the paper's rule.
        frames: the first ones of a clip; `first_frames` takes them.
        question: what is asked.
        period_s: the engine's sampling period; the frames are taken to be so far apart.
        folder: of the checkpoint that the engine was loaded from.

    Returns:
        The figure; without a value where there is nothing to compare with, and its unit says why.
    """
    if why := why_not(engine, folder):
        return Row(NAME, None, why)
    shown = _pruned(pruner, frames, period_s=period_s)
    for one in shown:
        engine.append([one])
    ours = engine.first_logits(STREAM_ID, question)
    engine.remove(STREAM_ID)
    network = engine.family.network
    try:
        baseline = Transformers.load(folder, dtype=network.dtype, device=network.device)
        theirs = baseline.answer(shown, question).float()
    except CheckpointError as error:
        return Row(NAME, None, one_line(error))
    except torch.OutOfMemoryError:
        return Row(NAME, None, "the device has no memory left for transformers' model")
    terms = {
        "same_token": int(ours.argmax() == theirs.argmax()),
        "largest_logit": float(theirs.abs().max()),
        "frames": len(shown),
        "tokens": sum(one.num_kept for one in shown),
    }
    return Row(NAME, float((ours - theirs).abs().max()), f"logits in {network.dtype}", terms=terms)


def first_frames(
    frames: Sequence[Frame], *, window_periods: int, max_context_tokens: int
) -> list[Frame]:
    """Take as many of the first frames as one prompt of moderate length holds.

    Args:
        frames: of a clip; those of its first size are taken.
        window_periods: sampling periods in a window: a context holds no more frames.
        max_context_tokens: which the frames must not fill.
    """
    grid = frames[0].grid
    fits = min(MAX_TOKENS, max_context_tokens // 2) // grid.num_tokens
    num_frames = max(1, min(MAX_FRAMES, fits, window_periods))
    return list(islice(takewhile(lambda frame: frame.grid == grid, frames), num_frames))


def why_not(engine: Engine, folder: Path) -> str:
    """Say why there is nothing to compare with; nothing where there is."""
    model_type = read_json(folder / CONFIG).get("model_type")
    if model_type != NATIVE_MODEL_TYPE:
        return f"transformers has no class for {model_type}, only for {NATIVE_MODEL_TYPE}"
    needed = int(ROOM * engine.stats.weight_bytes)
    places = {torch.device("cpu"), engine.family.network.device}  # it is read on the CPU first
    for device in places:
        free = available_bytes(device)
        if free is not None and free < needed:
            return (
                f"transformers' model needs about {needed / 1e9:.1f} GB beside this one, "
                f"and {device} has {free / 1e9:.1f} GB left"
            )
    return ""


def available_bytes(device: torch.device) -> int | None:
    """Return what memory a device has left, within this container; None where it cannot be told."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(device)[0]
    known = [one for one in (_free_of_machine(), _free_of_container()) if one is not None]
    return min(known, default=None)


def _free_of_machine() -> int | None:
    if not _MEMINFO.exists():
        return None
    fields = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines() if ":" in line)
    free = fields.get("MemAvailable")
    return int(free.split()[0]) * 1024 if free else None


def _free_of_container() -> int | None:
    """Return what cgroup v2 leaves, the page cache that it can give up among it."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        stat = (_CGROUP / "memory.stat").read_text().splitlines()
    except OSError:
        return None
    if limit == "max":
        return None
    cached = next((int(line.split()[1]) for line in stat if line.startswith("inactive_file ")), 0)
    return int(limit) - used + cached


def _pruned(pruner: Pruner, frames: Sequence[Frame], *, period_s: float) -> list[PrunedFrame]:
    """Prune frames and put them at whole periods, where stamps are as they are written out."""
    shown = []
    for index, frame in enumerate(frames):
        pruned = pruner.prune(replace(frame, camera_id=STREAM_ID))
        pruner.sent(pruned)
        shown.append(replace(pruned, pts_s=index * period_s))
    return shown
