"""The shape of vigil-nano, and weights to begin with."""

import math

import torch
from torch import nn

from model.videollama3.config import ModelConfig, TextConfig, VisionConfig
from model.videollama3.network import VideoLlama3

VISION = VisionConfig(hidden_size=192, intermediate_size=768, num_layers=6, num_heads=6)
TEXT_WIDTH, TEXT_LAYERS, TEXT_HEADS, TEXT_KV_HEADS, HEAD_DIM = 192, 6, 6, 2, 32


def nano_config(
    *, vocab_size: int, image_token_id: int, video_token_id: int, eos_token_ids: tuple[int, ...]
) -> ModelConfig:
    """Give nano's shape for a tokenizer."""
    text = TextConfig(
        hidden_size=TEXT_WIDTH,
        intermediate_size=512,
        num_layers=TEXT_LAYERS,
        num_heads=TEXT_HEADS,
        num_kv_heads=TEXT_KV_HEADS,
        head_dim=HEAD_DIM,
        vocab_size=vocab_size,
        has_tied_head=True,
    )
    return ModelConfig(
        vision=VISION,
        text=text,
        image_token_id=image_token_id,
        video_token_id=video_token_id,
        eos_token_ids=eos_token_ids,
    )


def fresh(config: ModelConfig, *, seed: int) -> VideoLlama3:
    """Give a model with weights drawn from `seed`, in float32.

    Matrices are normal with GPT-2's deviation, 0.02 at width 768 and growing as the width
    shrinks; those that write into the residual stream are smaller by the root of twice the depth.
    """
    torch.manual_seed(seed)
    model = VideoLlama3(config)
    for name, parameter in model.named_parameters():
        layers = config.vision.num_layers if "vision" in name else config.text.num_layers
        if parameter.dim() < 2:
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            continue
        if "embed_tokens" in name:
            deviation = 0.02
        else:
            deviation = 0.5 / math.sqrt(parameter.flatten(1).shape[1])
        if name.endswith(("out_proj.weight", "o_proj.weight", "fc2.weight", "down_proj.weight")):
            deviation /= math.sqrt(2 * layers)
        nn.init.normal_(parameter, std=deviation)
    return model
