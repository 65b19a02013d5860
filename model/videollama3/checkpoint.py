"""Loading weights: every layout of VideoLLaMA3, safetensors only, every tensor accounted for."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError, safe_open
from torch import nn

from model.bundled import BUNDLED
from model.errors import CheckpointError
from model.layers.backends import choose_backend
from model.videollama3.config import ModelConfig
from model.videollama3.network import VideoLlama3

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"

_HEAD = "lm_head.weight"
_EMBEDDING = "language.embed_tokens.weight"

_WANTED_FILES = ("*.json", "*.safetensors", "*.txt", "*.jinja")
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


def locate(path_or_repo: str, *, revision: str | None = None) -> Path:
    """Return the folder of a checkpoint: a bundled one, a local one or a snapshot from the hub.

    `nano` is the bundled model, whatever folder of that name there is; `./nano` is the folder.
    Nothing executable is fetched: configuration, tokenizer files and safetensors only.

    Raises:
        CheckpointError: neither a folder nor a repository that can be fetched.
    """
    if path_or_repo in BUNDLED:
        return BUNDLED[path_or_repo]
    folder = Path(path_or_repo).expanduser()
    if folder.is_dir():
        return folder
    if "://" in path_or_repo:  # not repeated in the message: it may carry a credential
        raise CheckpointError("model path: expected a folder or owner/name on the hub, got a URL")
    try:
        snapshot = snapshot_download(
            path_or_repo, revision=revision, allow_patterns=list(_WANTED_FILES)
        )
    except (HFValidationError, OSError) as exc:
        raise CheckpointError(
            f"model path: expected a folder or a reachable repository on the hub, got "
            f"{path_or_repo!r}: {type(exc).__name__}"
        ) from None  # the hub's message carries URLs
    return Path(snapshot)


def load_model(folder: Path, *, device: torch.device | str, dtype: torch.dtype) -> VideoLlama3:
    """Build a checkpoint's network and give it its weights, one tensor at a time.

    Every name and shape is checked before the first weight is read.

    Raises:
        CheckpointError: the configuration is not supported; a file is missing or damaged; a
            tensor is missing, unexpected, there twice or not of the shape that the configuration
            says. The message names tensor and file.
    """
    device = torch.device(device)
    config = read_config(folder)
    stored = _stored_tensors(folder)
    backend = choose_backend(device, dtype)
    with torch.device("meta"):
        model = VideoLlama3(config, backend=backend)
    layout = _layout_of(stored, model)
    if config.text.has_tied_head and _HEAD in stored:
        _drop_head_copy(stored, embedding=_checkpoint_key(_EMBEDDING, layout))
    _require_all(stored, tensor_shapes(model, layout=layout), folder=folder)

    names = {_checkpoint_key(name, layout): name for name, _ in model.named_parameters()}
    for file in sorted({entry.file for entry in stored.values()}):
        with _opened(file, device=device) as tensors:
            for key in (key for key, entry in stored.items() if entry.file == file):
                module, _, leaf = names[key].rpartition(".")
                weight = nn.Parameter(tensors.get_tensor(key).to(dtype), requires_grad=False)
                setattr(model.get_submodule(module), leaf, weight)
    return model


def read_config(folder: Path) -> ModelConfig:
    """Read a checkpoint's config.json and, where there is one, generation_config.json.

    Raises:
        CheckpointError: config.json is missing, not JSON or not supported.
    """
    generation = folder / "generation_config.json"
    return ModelConfig.from_json(
        _read_json(folder / "config.json"),
        _read_json(generation) if generation.exists() else None,
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
    shards = _read_json(index).get("weight_map")
    if not isinstance(shards, Mapping) or not shards:
        raise CheckpointError(f"{index}: expected a weight_map, got {shards!r}")
    for key, shard in shards.items():
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise CheckpointError(f"{index}: {key}: expected a file name, got {shard!r}")
        if not (folder / shard).exists():
            raise CheckpointError(f"{folder / shard}: this shard is missing; it holds {key}")
    return sorted(folder / shard for shard in set(shards.values()))


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
        raise CheckpointError(f"{file}: expected a whole safetensors file, got: {exc}") from exc


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise CheckpointError(f"{file}: expected this file, it is missing") from exc
    except (OSError, ValueError) as exc:
        raise CheckpointError(f"{file}: expected JSON, got: {exc}") from exc
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: expected a JSON object, got {type(content).__name__}")
    return content
