"""The model: what is still to be downloaded, and how many cameras fit beside it."""

import shutil
from pathlib import Path

from huggingface_hub import constants

from model import Engine
from pipeline.clips import MAX_CAMERA_BYTES
from worker.device_memory import device_memory_bytes
from worker.loading import budget_bytes
from worker.settings import Settings
from worker.trials.found import Found, failed, sized

_SHAPE_PX = (1080, 1920)  # what most cameras send; others take up as much, or a little less


def try_model(settings: Settings, engine: Engine, *, missing_bytes: int) -> Found:
    """Count what a model takes, by the engine's own arithmetic.

    Args:
        settings: the memory that it may use, and the cameras it is for.
        engine: the model, without its weights.
        missing_bytes: of the weights, what is not on this machine yet.
    """
    subject = f"model {engine.model_name}"
    kept_in = f"{str(engine.family.network.dtype).removeprefix('torch.')}"
    weight_bytes = engine.stats.weight_bytes
    grid = engine.pin_grid(*_SHAPE_PX, max_tokens=settings.model.max_tokens_per_frame)
    usual_bytes, most_bytes = engine.bytes_usual(grid), engine.bytes_at_most(grid)
    budget = budget_bytes(settings)
    total_bytes = budget or device_memory_bytes(settings.model.device)
    num_cameras = max(0, total_bytes - weight_bytes) // usual_bytes
    whose = "VIGIL_MODEL__MEMORY_BUDGET" if budget else "the device's memory"
    clips = f"; clips take up to {sized(MAX_CAMERA_BYTES)} of main memory a camera"
    told = (
        f"{_download(missing_bytes)}; {kept_in} weights take {sized(weight_bytes)}, a camera "
        f"usually {sized(usual_bytes)} and at most {sized(most_bytes)}: {num_cameras} usual "
        f"cameras fit into {whose} of {sized(total_bytes)}, its speed apart"
        f"{clips if settings.evidence.clips == 'on' else ''}"
    )
    cache = constants.HF_HUB_CACHE
    free_bytes = _free_bytes(Path(cache))
    if missing_bytes > free_bytes:
        cure = "make room, or name another folder by HF_HOME"
        return failed(subject, f"{told}; {sized(free_bytes)} free in {cache}", cure)
    if num_cameras < max(1, len(settings.cameras)):
        cure = (
            "a smaller VIGIL_MODEL__MAX_CONTEXT_TOKENS or VIGIL_MODEL__MAX_TOKENS_PER_FRAME, or "
            "more memory"
        )
        return failed(subject, f"{told}, fewer than there are", cure)
    return Found(subject, told)


def _download(missing_bytes: int) -> str:
    return f"{sized(missing_bytes)} to download" if missing_bytes else "nothing to download"


def _free_bytes(folder: Path) -> int:
    there = next(one for one in (folder, *folder.parents) if one.exists())
    return shutil.disk_usage(there).free
