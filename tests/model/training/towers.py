"""Tiny towers of the kinds that a VideoLLaMA3 is put together of, with random weights."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import Qwen2Config, Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel

from model.bundled import NANO

TOWER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 14,
    "image_size": 56,
}


def saved(model: Any, folder: Path) -> Path:
    """Write a model without its writer's progress bar."""
    folder.mkdir(parents=True)
    config = model.config.to_dict()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tensors = {name: weight.contiguous() for name, weight in model.state_dict().items()}
    if config.get("tie_word_embeddings"):
        tensors.pop("lm_head.weight", None)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@cache
def tower() -> Any:
    torch.manual_seed(1)
    return SiglipVisionModel(SiglipVisionConfig(**TOWER))


def siglip(folder: Path) -> Path:
    return saved(tower(), folder)


def qwen(
    folder: Path, *, is_tied: bool = True, vocab_size: int = 1024, dtype: Any = torch.float32
) -> Path:
    torch.manual_seed(2)
    config = Qwen2Config(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=4096,
        tie_word_embeddings=is_tied,
        bos_token_id=1016,
        eos_token_id=1018,
    )
    model: Any = Qwen2ForCausalLM(config)
    saved(model.to(dtype), folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((NANO / name).read_bytes())
    (folder / "generation_config.json").write_text('{"eos_token_id": [1018, 1016]}')
    return folder
