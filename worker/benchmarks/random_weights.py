"""Models of published shapes with random weights: what they cost is the same."""

from dataclasses import replace

import torch

from model.layers.backends import choose_backend, prove
from model.videollama3.config import ModelConfig
from model.videollama3.network import VideoLlama3


@torch.no_grad()
def untrained(shape: ModelConfig, *, device: torch.device, dtype: torch.dtype) -> VideoLlama3:
    """Make a model of a shape, its attention proved, whose captions run to their limit.

    Said greedily, random weights repeat one token for ever, and a loop ends a caption. So the head
    is, whatever the shape, a matrix of its own: the embedding's rows, each one further down, so
    that each token is followed by the next. A step reads as much.
    """
    torch.manual_seed(0)
    backend = choose_backend(device, dtype, heads=shape.text.heads)
    prove(backend, device=device, dtype=dtype)
    config = replace(shape, text=replace(shape.text, has_tied_head=False))
    with device:
        network = VideoLlama3(config, backend=backend).to(dtype)
    language = network.language
    if language.lm_head is None:  # by the configuration it has one
        raise AssertionError(config.text)
    language.lm_head.weight.copy_(language.embed_tokens.weight.roll(1, 0))
    return network.eval().requires_grad_(requires_grad=False).fuse()
