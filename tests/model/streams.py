"""Streams of frames for the vision stage's tests, and the partial encoder written plainly."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.layers.rope import patch_positions, rotate, vision_rotation
from model.types import PrunedFrame
from model.videollama3.network import VideoLlama3
from model.videollama3.patches import patchify
from model.videollama3.vision import merge

Mask = NDArray[np.bool_]


def no_tokens(grid: tuple[int, int]) -> Mask:
    return np.zeros(grid, dtype=np.bool_)


def some_tokens(grid: tuple[int, int], share: float, *, seed: int) -> Mask:
    """About that share of the tokens, at least one."""
    mask = np.random.default_rng(seed).random(grid) < share
    mask.flat[seed % mask.size] = True
    return mask


def frame(
    stream_id: str,
    grid: tuple[int, int],
    *,
    seed: int,
    keep: Mask | None = None,
    stale: Mask | None = None,
    is_refresh: bool = False,
) -> PrunedFrame:
    """A frame of noise; without `keep` every token is kept."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (grid[0] * 28, grid[1] * 28, 3), dtype=np.uint8)
    mask = np.ones(grid, dtype=np.bool_) if keep is None else keep
    return PrunedFrame(stream_id, pixels, mask, float(seed), is_refresh, stale)


class PlainDelta:
    """One stream's partial encoding, a dense matrix per layer and no packing."""

    def __init__(self, network: VideoLlama3) -> None:
        self.network = network
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def encode(self, shown: PrunedFrame, *, is_whole: bool) -> Tensor:
        vision = self.network.vision
        height, width = shown.grid.rows * 2, shown.grid.cols * 2
        keep = np.ones_like(shown.keep_mask) if is_whole else shown.keep_mask
        run = keep if shown.stale_mask is None else keep | shown.stale_mask
        changed = torch.from_numpy(run.ravel().repeat(4))
        x = vision.embeddings(patchify(shown.pixels))
        positions = patch_positions((height, width), merge_size=2, device=x.device)
        rotation = vision_rotation(
            positions, vision.config.head_dim, theta=vision.config.rope_theta
        )
        layers: Any = vision.layers
        for index, layer in enumerate(layers):
            normed = layer.layer_norm1(x)
            heads = (vision.config.num_heads, -1)
            q, k, v = (
                projection(normed).unflatten(-1, heads)
                for projection in (
                    layer.self_attn.q_proj,
                    layer.self_attn.k_proj,
                    layer.self_attn.v_proj,
                )
            )
            q, k = rotate(q, rotation), rotate(k, rotation)
            if not is_whole:  # what did not change is as it was
                k = torch.where(changed[:, None, None], k, self.keys[index])
                v = torch.where(changed[:, None, None], v, self.values[index])
            self.keys[index:] = [k, *self.keys[index + 1 :]]
            self.values[index:] = [v, *self.values[index + 1 :]]
            scores = torch.einsum("qhd,khd->hqk", q, k) * vision.config.head_dim**-0.5
            out = torch.einsum("hqk,khd->qhd", scores.softmax(dim=-1), v)
            x = x + layer.self_attn.out_proj(out.flatten(1))
            x = x + layer.mlp(layer.layer_norm2(x))
        tokens: Tensor = self.network.projector(merge(vision.post_layernorm(x)))
        return tokens[torch.from_numpy(keep.ravel())]
