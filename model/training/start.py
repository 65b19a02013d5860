"""Where training begins: a SigLIP tower and a Qwen2.5 decoder put together as a VideoLLaMA3.

The tower's learned positions give way to 2-D rotary ones and its pooling head is not needed, so
both are left behind, as is a text tower that comes with it. The projector is new. Everything else
is carried over to the bit.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import tokenizers
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import AddedToken
from torch import Tensor
from transformers import Qwen2Tokenizer

from model.errors import CheckpointError
from model.training.folder import IMAGE_PAD, VIDEO_PAD, native_key, write_folder, write_tokenizer
from model.videollama3.config import NATIVE_MODEL_TYPE, ModelConfig
from model.videollama3.network import VideoLlama3

_TOWER, _DECODER = "model.vision_model.", "model.language_model."
_HEAD = "lm_head.weight"
_LEFT_BEHIND = ("embeddings.position_embedding.", "embeddings.position_ids", "head.")

CARD = """\
# A VideoLLaMA3 before its first stage

The vision tower of `{siglip}` and the decoder of `{qwen}`, carried over unchanged, and a projector
drawn from seed {seed}. **It has not been trained together: what it says of a picture means
nothing.**
"""


def start_from(siglip: Path, qwen: Path, out: Path, *, seed: int) -> None:
    """Write the folder that stage 1 begins with, in the wider of the two sources' precisions.

    Args:
        siglip: a `transformers` folder of a SigLIP with 14 px patches, whole or its vision tower.
        qwen: a `transformers` folder of a Qwen2 or Qwen2.5 causal language model, tied or untied,
            with its tokenizer. Image and video place-holders that the tokenizer lacks are added;
            where the embedding has no row for them it grows by its own mean.
        out: made when missing; in Hugging Face's own format.
        seed: of the projector.

    Raises:
        CheckpointError: a folder is of another kind, or lacks a tensor, has one of another shape,
            of fewer than 16 bits, or one that is not known; the message names it.
    """
    tower_config, decoder_config = _tower_config(siglip), _decoder_config(qwen)
    tensors = _tower(siglip) | _decoder(qwen, is_tied=bool(decoder_config["tie_word_embeddings"]))
    tokenizer = _tokenizer(qwen)
    ids = tokenizer.get_vocab()
    image_id, video_id = ids[IMAGE_PAD], ids[VIDEO_PAD]
    try:
        config = ModelConfig.from_json(
            {
                "model_type": NATIVE_MODEL_TYPE,
                "image_token_id": image_id,
                "video_token_id": video_id,
                "vision_config": tower_config,
                "text_config": decoder_config,
            },
            _generation_config(qwen),
        )
    except CheckpointError as exc:
        raise CheckpointError(f"{siglip} and {qwen}: {exc}") from exc
    config = _grow(tensors, config, num_rows=1 + max(image_id, video_id))
    with torch.device("meta"):
        model = VideoLlama3(config)
    tensors |= _fresh_projector(config, seed=seed)
    _check(tensors, model, folders={_TOWER: siglip, "": qwen})
    weights = {name: tensors[native_key(name)] for name, _ in model.named_parameters()}
    model.load_state_dict(weights, assign=True)
    dtypes = [weight.dtype for weight in weights.values()]
    dtype = dtypes[0]
    for other in dtypes[1:]:
        dtype = torch.promote_types(dtype, other)
    write_tokenizer(out, tokenizer)
    write_folder(
        model,
        out,
        tokenizer_source=out,
        card=CARD.format(siglip=siglip.name, qwen=qwen.name, seed=seed),
        dtype=dtype,
    )


def _tower_config(siglip: Path) -> dict[str, Any]:
    config = _read_json(siglip / "config.json")
    if config.get("model_type") == "siglip":
        config = config.get("vision_config") or {}
    if config.get("model_type") != "siglip_vision_model":
        raise CheckpointError(
            f"{siglip / 'config.json'}: model_type: expected siglip or siglip_vision_model, "
            f"got {config.get('model_type')}"
        )
    return config


def _decoder_config(qwen: Path) -> dict[str, Any]:
    config = _read_json(qwen / "config.json")
    if config.get("model_type") != "qwen2":
        raise CheckpointError(
            f"{qwen / 'config.json'}: model_type: expected qwen2, got {config.get('model_type')}"
        )
    return {"tie_word_embeddings": False} | config


def _generation_config(qwen: Path) -> dict[str, Any] | None:
    file = qwen / "generation_config.json"
    return _read_json(file) if file.exists() else None


def _tower(siglip: Path) -> dict[str, Tensor]:
    """Read the tower under the names it will have; a whole SigLIP's are behind `vision_model.`."""
    stored = _read_tensors(siglip)
    prefix = "vision_model." if any(key.startswith("vision_model.") for key in stored) else ""
    tower = {
        key.removeprefix(prefix): weight for key, weight in stored.items() if key.startswith(prefix)
    }
    return {
        _TOWER + key: weight for key, weight in tower.items() if not key.startswith(_LEFT_BEHIND)
    }


def _decoder(qwen: Path, *, is_tied: bool) -> dict[str, Tensor]:
    """Read the decoder under the names it will have; a tied head is its embedding."""
    return {
        key if key == _HEAD else _DECODER + key.removeprefix("model."): weight
        for key, weight in _read_tensors(qwen).items()
        if not (is_tied and key == _HEAD)
    }


def _tokenizer(qwen: Path) -> tokenizers.Tokenizer:
    """Read the decoder's tokenizer and add the place-holders that it lacks."""
    is_there = (qwen / "tokenizer.json").is_file()
    if not is_there and not ((qwen / "vocab.json").is_file() and (qwen / "merges.txt").is_file()):
        # Qwen2Tokenizer would make an empty one.
        raise CheckpointError(
            f"{qwen}: expected tokenizer.json, or vocab.json and merges.txt; got neither"
        )
    try:
        loaded = Qwen2Tokenizer.from_pretrained(qwen, local_files_only=True)
    except Exception as exc:  # `tokenizers` raises no kind of its own
        raise CheckpointError(f"{qwen}: its tokenizer cannot be read: {exc}") from exc
    tokenizer: tokenizers.Tokenizer = loaded.backend_tokenizer
    missing = [pad for pad in (IMAGE_PAD, VIDEO_PAD) if tokenizer.token_to_id(pad) is None]
    tokenizer.add_special_tokens(
        [AddedToken(pad, special=True, normalized=False) for pad in missing]
    )
    return tokenizer


def _grow(tensors: dict[str, Tensor], config: ModelConfig, *, num_rows: int) -> ModelConfig:
    """Give embedding and head a row for every token: the mean of those they have."""
    num_new = num_rows - config.text.vocab_size
    if num_new <= 0:
        return config
    for key in (f"{_DECODER}embed_tokens.weight", _HEAD):
        if key in tensors:
            weight = tensors[key]
            mean = weight.float().mean(dim=0, keepdim=True).to(weight.dtype)
            tensors[key] = torch.cat([weight, mean.expand(num_new, -1)])
    return replace(config, text=replace(config.text, vocab_size=num_rows))


def _fresh_projector(config: ModelConfig, *, seed: int) -> dict[str, Tensor]:
    """Draw two linear layers as PyTorch would: evenly, within the inverse root of their width."""
    generator = torch.Generator().manual_seed(seed)
    width = config.text.hidden_size
    drawn: dict[str, Tensor] = {}
    for index, fan_in in ((0, config.vision.hidden_size), (2, width)):
        bound = 1 / math.sqrt(fan_in)
        for leaf, shape in (("weight", (width, fan_in)), ("bias", (width,))):
            weight = torch.empty(shape).uniform_(-bound, bound, generator=generator)
            drawn[f"model.projector.readout.{index}.{leaf}"] = weight.to(torch.bfloat16)
    return drawn


def _check(
    tensors: Mapping[str, Tensor], model: VideoLlama3, *, folders: Mapping[str, Path]
) -> None:
    """Refuse a tensor that is missing, of the wrong shape or not known, by its source's name."""
    expected = {native_key(name): weight.shape for name, weight in model.named_parameters()}

    def named(key: str) -> str:
        folder = next(path for prefix, path in folders.items() if key.startswith(prefix))
        return f"{folder}: {key.removeprefix(_TOWER).replace(_DECODER, 'model.')}"

    for key, shape in expected.items():
        if key not in tensors:
            raise CheckpointError(
                f"{named(key)}: expected shape {tuple(shape)}, got no such tensor"
            )
        got = tensors[key]
        if got.shape != shape or not got.is_floating_point():
            raise CheckpointError(
                f"{named(key)}: expected floats of shape {tuple(shape)}, "
                f"got {got.dtype} of {tuple(got.shape)}"
            )
    for key in sorted(tensors.keys() - expected.keys()):
        raise CheckpointError(
            f"{named(key)}: expected no such tensor, got one of shape {tuple(tensors[key].shape)}"
        )


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{folder}: expected safetensors files, got none")
    tensors: dict[str, Tensor] = {}
    for file in files:
        try:
            tensors |= load_file(file)
        except (SafetensorError, OSError) as exc:
            raise CheckpointError(f"{file}: expected a whole safetensors file, got: {exc}") from exc
    for key, weight in tensors.items():
        if weight.is_floating_point() and weight.itemsize < 2:
            raise CheckpointError(
                f"{folder}: {key}: expected floats of 16 bits or more, got {weight.dtype}"
            )
    return tensors


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise CheckpointError(f"{file}: expected a JSON object, got: {exc}") from exc
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: expected a JSON object, got {type(content).__name__}")
    return content
