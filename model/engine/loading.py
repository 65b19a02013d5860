"""From a path to a loaded family, on the device and in the dtype that were asked for."""

from pathlib import Path

import torch

from model.errors import InputError
from model.family import Family
from model.progress import Tell, untold
from model.videollama3.family import load, sketch

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def load_family(
    path: str, *, device: str, dtype: str, revision: str | None = None, tell: Tell = untold
) -> Family:
    """Load a checkpoint and prove its attention backend; the arguments are `Engine.load`'s.

    Raises:
        CheckpointError: the folder is not a whole checkpoint.
        BackendError: attention on this device is not what the formula says.
        InputError: the device or the dtype cannot be had.
    """
    target = device_of(device)
    kept_in = _dtype(dtype, target)
    return load(path, device=target, dtype=kept_in, revision=revision, tell=tell)


def sketch_family(
    path: str, *, device: str, dtype: str, revision: str | None = None
) -> tuple[Family, int]:
    """Judge a checkpoint without its weights; return it and the bytes that are not here yet.

    Raises:
        CheckpointError, InputError: as `load_family`.
    """
    target = device_of(device)
    return sketch(path, device=target, dtype=_dtype(dtype, target), revision=revision)


def name_of(path: str) -> str:
    """Return what a checkpoint is called in messages."""
    return Path(path).resolve().name if Path(path).is_dir() else path


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        name = "bfloat16" if device.type == "cuda" else "float32"
    if name not in DTYPES:
        raise InputError(f"dtype: expected auto or one of {', '.join(DTYPES)}; got {name}")
    return DTYPES[name]


def device_of(name: str) -> torch.device:
    """Give the device of that name, where the machine has it; `auto` takes CUDA if it can.

    Raises:
        InputError: it is none, or this machine has none of its kind.
    """
    has_cuda = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if has_cuda else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as exc:
        raise InputError(f"device: expected auto, cpu or cuda, got {name}") from exc
    if device.type == "cuda" and not has_cuda:
        raise InputError(
            f"device: expected one this machine has, got {name}, and CUDA is not there"
        )
    return device
