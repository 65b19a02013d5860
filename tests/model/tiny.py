"""A VideoLLaMA3 of a few thousand weights, ours and transformers', with attention that matters."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from transformers import VideoLlama3Config, VideoLlama3ForConditionalGeneration

from model.videollama3.checkpoint import load_model
from model.videollama3.network import VideoLlama3

IMAGE_TOKEN_ID = 90
VIDEO_TOKEN_ID = 91
VOCAB_SIZE = 96


def oracle_config(*, is_tied: bool = False) -> VideoLlama3Config:
    return VideoLlama3Config(
        text_config={
            "model_type": "qwen2",
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": VOCAB_SIZE,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
            "tie_word_embeddings": is_tied,
            "eos_token_id": 3,
        },
        vision_config={
            "hidden_size": 96,
            "intermediate_size": 160,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "patch_size": 14,
        },
        image_token_id=IMAGE_TOKEN_ID,
        video_token_id=VIDEO_TOKEN_ID,
        tie_word_embeddings=is_tied,
    )


def oracle(*, is_tied: bool = False, seed: int = 0, config: VideoLlama3Config | None = None) -> Any:
    """Transformers' model with weights large enough that no attention is close to uniform."""
    model: Any = VideoLlama3ForConditionalGeneration(config or oracle_config(is_tied=is_tied))
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if weight.ndim == 1:
            is_scale = "norm" in name and name.endswith("weight")
            weight.data = noise * 0.1 + (1.0 if is_scale else 0.0)
        elif "embed_tokens" in name:
            weight.data = noise
        else:
            gain = 2.0 if "q_proj" in name or "k_proj" in name else 1.0
            weight.data = noise * gain / weight[0].numel() ** 0.5
    model.tie_weights()
    return model.eval().requires_grad_(requires_grad=False)


def oracle_tensors(model: Any) -> dict[str, Tensor]:
    """The tensors of its checkpoint: a tied head is stored once."""
    tensors = {name: weight.contiguous() for name, weight in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    return tensors


def save_oracle(model: Any, folder: Path) -> Path:
    """Write it in transformers' layout, without transformers' own writer."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.to_json_file(folder / "config.json")
    save_file(oracle_tensors(model), folder / "model.safetensors")
    return folder


def ours(model: Any, folder: Path) -> VideoLlama3:
    """Our network with the oracle's weights."""
    return load_model(save_oracle(model, folder), device="cpu", dtype=torch.float32)


def clip(num_frames: int, rows: int, cols: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """Frames (T, H, W, 3) in which about a third of the tokens change from one to the next."""
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 256, (rows * 28, cols * 28, 3), dtype=np.uint8)
    frames = [frame]
    for _ in range(num_frames - 1):
        frame = frame.copy()
        changed = rng.random((rows, cols)) < 0.35
        changed_px = changed.repeat(28, axis=0).repeat(28, axis=1)
        frame[changed_px] = rng.integers(0, 256, (int(changed_px.sum()), 3), dtype=np.uint8)
        frames.append(frame)
    return np.stack(frames)
