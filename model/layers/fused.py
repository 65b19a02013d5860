"""Fused products: linear layers of one input as one, and a product added in place.

Passes without gradients are made of many small kernels, and each costs its launch: three products
of the same rows take longer than one of three times the width. The layers keep their names and
their weights, which become views of the fused one; with gradients they are run one by one.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F  # noqa: N812, the field's own name
from torch import Tensor, nn

from model.layers.fp8 import Fp8Linear, plain_bytes, product


class FusedLinear:
    """Linear layers of one input, with a bias each or none."""

    def __init__(self, parts: Sequence[nn.Linear]) -> None:
        """Lay the layers' weights end to end, and let theirs be views of that."""
        self._parts = tuple(parts)
        self._starts = [0, *accumulate(part.out_features for part in parts)]
        weights = [part.weight.detach() for part in parts]
        self._weight = torch.cat([plain_bytes(one) for one in weights]).view(weights[0].dtype)
        scales = [part.scales.detach() for part in parts if isinstance(part, Fp8Linear)]
        self._scales = torch.cat(scales) if len(scales) == len(parts) else None
        has_bias = "bias" in dict(parts[0].named_parameters())
        self._bias = torch.cat([part.bias.detach() for part in parts]) if has_bias else None
        for part, start in zip(parts, self._starts, strict=False):
            end = start + part.out_features
            part.weight.data = self._weight[start:end]
            if self._bias is not None:
                part.bias.data = self._bias[start:end]
        self._row_bytes = self._weight[0].nbytes
        self._device_type = self._weight.device.type

    def is_usable(self) -> bool:
        """Say whether the fused product may be used in place of its layers.

        Not with gradients or under autocast, nor once a layer's weights lie elsewhere: a model
        that was moved, copied or given other weights is run layer by layer.
        """
        if torch.is_grad_enabled() or torch.is_autocast_enabled(self._device_type):
            return False
        begins, bias = self._weight.data_ptr(), self._bias
        return all(
            part.weight.data_ptr() == begins + start * self._row_bytes
            and (bias is None or part.bias.data_ptr() == bias.data_ptr() + start * bias.itemsize)
            for part, start in zip(self._parts, self._starts, strict=False)
        )

    def __call__(self, x: Tensor, *, first: int = 0) -> Tensor:
        """Give the layers' outputs side by side, from layer `first` on.

        Args:
            x: (N, in_features).
            first: the layers before it are left out.

        Returns:
            (N, sum of their out_features).
        """
        start = self._starts[first]
        bias = None if self._bias is None else self._bias[start:]
        if self._scales is not None:
            return product(x, self._weight[start:], self._scales[start:], bias)
        return F.linear(x, self._weight[start:], bias)


def is_fused(fused: FusedLinear | None) -> bool:
    """Tell whether there is one that may stand for its layers."""
    return fused is not None and fused.is_usable()


def add_product(x: Tensor, found: Tensor, layer: nn.Linear, *, in_place: bool) -> Tensor:
    """Give x (N, out_features) plus what a layer without a bias makes of `found` (N, in_features).

    In place, x takes the sum in as the product is made: one kernel.
    """
    if in_place and not isinstance(layer, Fp8Linear):
        return x.addmm_(found, layer.weight.t())
    out: Tensor = x + layer(found)
    return out
