"""The SigLIP-NaViT encoder: any resolution, 2-D rotary positions, attention within a frame.

The network (`VisionEncoder.run`) does not know what a row attends to: the caller passes an
`Attend`. Whole frames are one such caller (`forward`), a cache of earlier frames is another.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812, the field's own name
from torch import Tensor, nn

from model.errors import InputError
from model.layers.attention import SDPA, Attend, Backend, Segments, attention
from model.layers.fused import FusedLinear
from model.layers.rope import Rotation, patch_positions, rotate, vision_rotation
from model.layers.small_kernels import PLAIN, SmallKernels
from model.videollama3.config import MERGE_SIZE, PATCH_PX, VisionConfig


class _Embeddings(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(3, config.hidden_size, PATCH_PX, stride=PATCH_PX)

    def forward(self, rows: Tensor) -> Tensor:
        # The kernel covers a patch exactly, so the convolution is one product.
        return F.linear(rows, self.patch_embedding.weight.flatten(1), self.patch_embedding.bias)


class _Attention(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.fused: FusedLinear | None = None
        self.kernels = PLAIN

    def fuse(self, kernels: SmallKernels) -> None:
        self.fused = FusedLinear((self.q_proj, self.k_proj, self.v_proj))
        self.kernels = kernels

    def forward(self, x: Tensor, rotation: Rotation, *, layer: int, attend: Attend) -> Tensor:
        if self.fused and self.fused.is_usable():
            rows = self.fused(x).view(len(x), 3 * self.num_heads, -1)
            self.kernels.rotate_(rows[:, : 2 * self.num_heads], rotation)
            q, k, v = rows.chunk(3, dim=1)
        else:
            heads = (self.num_heads, -1)
            q = rotate(self.q_proj(x).unflatten(-1, heads), rotation)
            k = rotate(self.k_proj(x).unflatten(-1, heads), rotation)
            v = self.v_proj(x).unflatten(-1, heads)
        out: Tensor = self.out_proj(attend(layer, q, k, v).flatten(1))
        return out


class _MLP(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.kernels = PLAIN

    def forward(self, x: Tensor) -> Tensor:
        kernels = PLAIN if torch.is_grad_enabled() else self.kernels
        out: Tensor = self.fc2(kernels.gelu_linear(self.fc1, x))
        return out


class _Layer(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = _Attention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = _MLP(config)

    def forward(self, x: Tensor, rotation: Rotation, *, layer: int, attend: Attend) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x), rotation, layer=layer, attend=attend)
        out: Tensor = x + self.mlp(self.layer_norm2(x))
        return out


class VisionEncoder(nn.Module):
    """27 pre-norm layers over rows of normalised pixels."""

    def __init__(self, config: VisionConfig, *, backend: Backend = SDPA) -> None:
        super().__init__()
        self.config = config
        self.backend = backend
        self.embeddings = _Embeddings(config)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_layers))
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def fuse(self, kernels: SmallKernels) -> None:
        """Make passes without gradients of fewer and larger kernels; see `FusedLinear`."""
        for layer in cast("list[_Layer]", list(self.layers)):
            layer.self_attn.fuse(kernels)
            layer.mlp.kernels = kernels

    def forward(
        self, rows: Tensor, patch_grids: Sequence[tuple[int, int]], *, merge_size: int = MERGE_SIZE
    ) -> Tensor:
        """Encode whole frames, each attending to itself alone.

        Args:
            rows: (N, 588), the frames' rows end to end, in the order of `patches.patchify`.
            patch_grids: each frame's (height, width) in patches; their areas sum to N.
            merge_size: what the rows are blocked by: 2 for video, 1 for the reference's images.

        Returns:
            (N, hidden_size) after the final layer norm, in the order of `rows`.

        Raises:
            InputError: rows and grids do not fit.
        """
        lengths = [h * w for h, w in patch_grids]
        if sum(lengths) != rows.shape[0] or any(
            h % merge_size or w % merge_size for h, w in patch_grids
        ):
            raise InputError(
                f"patch rows: expected {sum(lengths)} for grids {list(patch_grids)}, multiples "
                f"of {merge_size}, got {rows.shape[0]}"
            )
        segments = Segments.of(lengths, device=rows.device)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # noqa: ARG001
            return attention(q, k, v, segments=segments, backend=self.backend)

        positions = [
            patch_positions(grid, merge_size=merge_size, device=rows.device) for grid in patch_grids
        ]
        return self.run(rows, torch.cat(positions), attend=attend)

    def run(self, rows: Tensor, positions: Tensor, *, attend: Attend) -> Tensor:
        """Encode any rows, each layer's attention left to `attend`.

        Args:
            rows: (N, 588) normalised pixels, any dtype.
            positions: (N, 2) integer, each patch's (row, column) in its frame.
            attend: called once for each layer.

        Returns:
            (N, hidden_size) after the final layer norm.
        """
        x: Tensor = self.embeddings(rows.to(self.post_layernorm.weight.dtype))
        rotation = vision_rotation(positions, self.config.head_dim, theta=self.config.rope_theta)
        for index, layer in enumerate(self.layers):
            x = layer(x, rotation, layer=index, attend=attend)
        out: Tensor = self.post_layernorm(x)
        return out


def merge(features: Tensor, merge_size: int = MERGE_SIZE) -> Tensor:
    """Average the m * m patches of each token: (N, D) in blocked row order to (N / m², D).

    For m = 2 this is the reference's bilinear downsampling.
    """
    return features.reshape(-1, merge_size**2, features.shape[-1]).mean(dim=1)
