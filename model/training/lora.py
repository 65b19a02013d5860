"""Low-rank adapters: a model learns with few numbers, for whoever has one GPU.

Each matrix of the layers stays as it is and gets a product of two narrow ones beside it, which
alone is trained; the narrow ones are added into it at the end, so what is written out is a plain
model. Source: Hu et al., LoRA, arXiv 2106.09685.
"""

from typing import TypeVar

import torch
import torch.nn.functional as F  # noqa: N812, the field's own name
from torch import Tensor, nn

from model.errors import InputError
from model.videollama3.network import VideoLlama3

ALPHA = 32.0

Layer = TypeVar("Layer", bound=nn.Linear)


class AdaptedLinear(nn.Linear):
    """A frozen linear layer with an adapter beside it, which adds nothing at first."""

    def __init__(self, layer: nn.Linear, *, rank: int, generator: torch.Generator) -> None:
        super().__init__(
            layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta"
        )
        self.weight, self.bias = layer.weight, layer.bias
        device = layer.weight.device
        down = torch.empty(rank, layer.in_features)
        down.uniform_(-1, 1, generator=generator).mul_(layer.in_features**-0.5)
        self.down = nn.Parameter(down.to(device))
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """Give what the layer gives, and what the adapter adds."""
        added = F.linear(F.linear(x, self.down), self.up)
        return super().forward(x) + ALPHA / len(self.down) * added

    def merged(self) -> nn.Linear:
        """Give the plain layer that does the same."""
        layer = nn.Linear(
            self.in_features, self.out_features, bias=self.bias is not None, device="meta"
        )
        sum_ = self.weight.detach().float() + ALPHA / len(self.down) * (self.up @ self.down)
        layer.weight = nn.Parameter(sum_.detach().to(self.weight.dtype))
        layer.bias = self.bias
        return layer


def adapt(model: VideoLlama3, *, rank: int, seed: int) -> None:
    """Put an adapter beside every matrix of the encoder's and the decoder's layers.

    Args:
        model: changed in place.
        rank: width of the narrow matrices.
        seed: of one of them; the other begins with zeros.

    Raises:
        InputError: the rank is no number from 1 to the model's width.
    """
    widest = min(model.config.vision.hidden_size, model.config.text.hidden_size)
    if not 1 <= rank <= widest:
        raise InputError(f"--lora: expected a rank from 1 to {widest}, got {rank}")
    generator = torch.Generator().manual_seed(seed)
    for parent, name, layer in _linears(model, nn.Linear):
        setattr(parent, name, AdaptedLinear(layer, rank=rank, generator=generator))


def merge_adapters(model: VideoLlama3) -> None:
    """Add what the adapters learnt into the matrices, and take the adapters away."""
    for parent, name, layer in _linears(model, AdaptedLinear):
        setattr(parent, name, layer.merged())


def adapters(module: nn.Module) -> list[nn.Parameter]:
    """Give the narrow matrices of a module, in order."""
    return [
        matrix
        for layer in module.modules()
        if isinstance(layer, AdaptedLinear)
        for matrix in (layer.down, layer.up)
    ]


def _linears(model: VideoLlama3, kind: type[Layer]) -> list[tuple[nn.Module, str, Layer]]:
    return [
        (parent, name, layer)
        for stack in (model.vision.layers, model.language.layers)
        for parent in stack.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, kind)
    ]
