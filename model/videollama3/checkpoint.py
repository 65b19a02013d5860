"""Loading weights: every layout of VideoLLaMA3, safetensors only, every tensor accounted for."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from model.errors import CheckpointError
from model.layers.backends import choose_backend
from model.progress import Progress, Tell, untold
from model.videollama3.config import ModelConfig
from model.videollama3.files import (
    CONFIG,
    WEIGHTS,
    WEIGHTS_INDEX,
    check_files,
    one_line,
    read_json,
    read_json_if_there,
    shards,
)
from model.videollama3.network import VideoLlama3

_HEAD = "lm_head.weight"
_EMBEDDING = "language.embed_tokens.weight"

_FLOAT_DTYPES = ("BF16", "F16", "F32", "F64")


def _prefixes(*, vision: str, projector: str, language: str) -> tuple[tuple[str, str], ...]:
    return (
        ("vision.layers.", f"{vision}encoder.layers."),
        ("vision.", vision),
        ("projector.", projector),
        ("language.lm_head.", "lm_head."),
        ("language.", language),
    )


# Our prefix and the checkpoint's, first match first; from the last prefix on the names are equal.
LAYOUTS = {
    "transformers": _prefixes(
        vision="model.vision_model.",
        projector="model.projector.",
        language="model.language_model.",
    ),
    "remote-code": _prefixes(
        vision="model.vision_encoder.", projector="model.mm_projector.", language="model."
    ),
    "training": _prefixes(
        vision="model.vision_encoder.vision_encoder.",
        projector="model.mm_projector.",
        language="model.",
    ),
}


@dataclass(frozen=True, slots=True)
class _Stored:
    """Where a checkpoint keeps a tensor."""

    file: Path
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A checkpoint whose every name and shape was checked, before a weight is read.

    Attributes:
        model: the network, its weights on the meta device.
        stored: where each tensor lies.
        layout: a key of `LAYOUTS`.
    """

    model: VideoLlama3
    stored: Mapping[str, _Stored]
    layout: str


def plan_model(folder: Path, *, device: torch.device | str, dtype: torch.dtype) -> Plan:
    """Build a checkpoint's network without weights, and check the headers of its files.

    Raises:
        CheckpointError: as `load_model`.
    """
    check_files(folder)
    config = read_config(folder)
    stored = _stored_tensors(folder)
    model = model_without_weights(config, device=device, dtype=dtype)
    layout = _layout_of(stored, model)
    if config.text.has_tied_head and _HEAD in stored:
        _drop_head_copy(stored, embedding=_checkpoint_key(_EMBEDDING, layout))
    _require_all(stored, tensor_shapes(model, layout=layout), folder=folder)
    return Plan(model, stored, layout)


def model_without_weights(
    config: ModelConfig, *, device: torch.device | str, dtype: torch.dtype
) -> VideoLlama3:
    """Build a network on the meta device, with the attention it would have on `device`."""
    backend = choose_backend(torch.device(device), dtype, heads=config.text.heads)
    with torch.device("meta"):
        return VideoLlama3(config, backend=backend)


def load_model(
    folder: Path,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
    name: str = "",
    tell: Tell = untold,
) -> VideoLlama3:
    """Build a checkpoint's network and give it its weights, one tensor at a time.

    Every name and shape is checked before the first weight is read.

    Args:
        folder: holds all of the checkpoint's files.
        device: where the weights go.
        dtype: what they are kept in.
        name: what to call the checkpoint when telling how far it is; its folder's without one.
        tell: told when it begins, and after each tensor.

    Raises:
        CheckpointError: the configuration is not supported; a file is missing or damaged; a
            tensor is missing, unexpected, there twice or not of the shape that the configuration
            says. The message names tensor and file.
    """
    device = torch.device(device)
    plan = plan_model(folder, device=device, dtype=dtype)
    model, stored = plan.model, plan.stored
    names = {_checkpoint_key(key, plan.layout): key for key, _ in model.named_parameters()}
    files = {entry.file for entry in stored.values()}
    done_bytes, total_bytes = 0, sum(file.stat().st_size for file in files)
    name = name or folder.name
    tell(Progress("loading", name, 0, total_bytes))
    for file in sorted(files):
        with _opened(file, device=device) as tensors:
            for key in (key for key, entry in stored.items() if entry.file == file):
                module, _, leaf = names[key].rpartition(".")
                tensor = tensors.get_tensor(key)
                weight = nn.Parameter(tensor.to(dtype), requires_grad=False)
                setattr(model.get_submodule(module), leaf, weight)
                done_bytes += tensor.nbytes
                tell(Progress("loaded", name, done_bytes, total_bytes))
    return model


def read_config(folder: Path) -> ModelConfig:
    """Read a checkpoint's config.json and, where there is one, generation_config.json.

    Raises:
        CheckpointError: config.json is missing, not JSON or not supported.
    """
    return ModelConfig.from_json(
        read_json(folder / CONFIG), read_json_if_there(folder / "generation_config.json")
    )


def tensor_shapes(model: VideoLlama3, *, layout: str) -> dict[str, tuple[int, ...]]:
    """Give the name and shape of every tensor that a checkpoint of a model must hold.

    Args:
        model: the networks; their weights are not looked at.
        layout: a key of `LAYOUTS`.
    """
    return {
        _checkpoint_key(name, layout): tuple(weight.shape)
        for name, weight in model.named_parameters()
    }


def _checkpoint_key(name: str, layout: str) -> str:
    ours, theirs = next(pair for pair in LAYOUTS[layout] if name.startswith(pair[0]))
    return theirs + name.removeprefix(ours)


def _layout_of(stored: Mapping[str, _Stored], model: VideoLlama3) -> str:
    """The layout that most names fit, so that a wrong name is reported in its own terms."""
    return max(
        LAYOUTS, key=lambda layout: len(stored.keys() & tensor_shapes(model, layout=layout).keys())
    )


def _stored_tensors(folder: Path) -> dict[str, _Stored]:
    """Read the headers of every weight file: no tensor yet."""
    stored: dict[str, _Stored] = {}
    for file in _weight_files(folder):
        with _opened(file) as tensors:
            for key in tensors.keys():  # noqa: SIM118, not a mapping
                if key in stored:
                    raise CheckpointError(
                        f"{file}: {key} is also in {stored[key].file.name}: expected it once"
                    )
                entry = tensors.get_slice(key)
                stored[key] = _Stored(file, tuple(entry.get_shape()), entry.get_dtype())
    return stored


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    index = folder / WEIGHTS_INDEX
    if not index.exists():
        found = ", ".join(sorted(path.name for path in folder.glob("*.bin"))) or "neither"
        raise CheckpointError(
            f"{folder}: expected {WEIGHTS} or {WEIGHTS_INDEX}, got {found}: only safetensors are "
            "read, pickled weights can run code"
        )
    for key, shard in (listed := shards(index)).items():
        if not (folder / shard).exists():
            raise CheckpointError(f"{folder / shard}: this shard is missing; it holds {key}")
    return sorted(folder / shard for shard in set(listed.values()))


def _require_all(
    stored: Mapping[str, _Stored], expected: Mapping[str, tuple[int, ...]], *, folder: Path
) -> None:
    listing = folder / (WEIGHTS if (folder / WEIGHTS).exists() else WEIGHTS_INDEX)
    for key, shape in expected.items():
        if key not in stored:
            raise CheckpointError(f"{listing}: {key}: expected shape {shape}, got no such tensor")
        entry = stored[key]
        if entry.shape != shape:
            raise CheckpointError(f"{entry.file}: {key}: expected shape {shape}, got {entry.shape}")
        if entry.dtype not in _FLOAT_DTYPES:
            raise CheckpointError(
                f"{entry.file}: {key}: expected one of {', '.join(_FLOAT_DTYPES)}, "
                f"got {entry.dtype}"
            )
    extra = sorted(stored.keys() - expected.keys())
    if extra:
        raise CheckpointError(
            f"{stored[extra[0]].file}: {extra[0]}: expected no such tensor, got one of shape "
            f"{stored[extra[0]].shape} ({len(extra)} unexpected in all)"
        )


def _drop_head_copy(stored: dict[str, _Stored], *, embedding: str) -> None:
    """Forget a tied head that was stored all the same, provided it is the embedding."""
    head = stored.pop(_HEAD)
    with _opened(head.file) as tensors:
        copy = tensors.get_tensor(_HEAD)
    if embedding in stored:
        with _opened(stored[embedding].file) as tensors:
            if torch.equal(copy, tensors.get_tensor(embedding)):
                return
    raise CheckpointError(
        f"{head.file}: {_HEAD}: tie_word_embeddings is true: expected no such tensor or a copy of "
        f"{embedding}, got one of shape {head.shape} that differs"
    )


@contextmanager
def _opened(file: Path, *, device: torch.device | None = None) -> Iterator[Any]:
    """Open a safetensors file (an untyped `safe_open`), its errors mapped to ours."""
    try:
        with safe_open(file, framework="pt", device=str(device or "cpu")) as tensors:
            yield tensors
    except (SafetensorError, OSError) as exc:
        raise CheckpointError(
            f"{file}: expected a whole safetensors file, got: {one_line(exc)}"
        ) from exc
