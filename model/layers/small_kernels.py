"""What stands between the products of a pass, in as few kernels as this device has.

On a GPU such kernels move the rows through memory once each, and a pass over the frames of 40
cameras spent 14 of its 70 ms in them. Where Triton cannot be had, or is not right here, PyTorch's
own are used: they are what the others must equal.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812, the field's own name
from torch import Tensor, nn

from model.layers.fp8 import Fp8Linear
from model.layers.rope import Rotation, rotate_, text_rotation


@dataclass(frozen=True, slots=True)
class SmallKernels:
    """A way to compute them, without gradients.

    Attributes:
        name: `triton` or `torch`.
        reason: why it was chosen, for the log.
        rotate_: turns (L, heads, head_dim) in place, as `rope.rotate_`.
        silu_times: makes (L, width) of (L, 2 * width): silu of the left half times the right.
        gelu_linear: gives gelu (by tanh) of a layer with a bias.
    """

    name: str
    reason: str
    rotate_: Callable[[Tensor, Rotation], Tensor] = field(repr=False)
    silu_times: Callable[[Tensor], Tensor] = field(repr=False)
    gelu_linear: Callable[[nn.Linear, Tensor], Tensor] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def silu_times(gate_up: Tensor) -> Tensor:
    """Give silu(gate) * up of rows (L, 2 * width), gate and up side by side."""
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate).mul_(up)


def gelu_linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """Give gelu (by tanh) of what a layer makes of x (L, in_features)."""
    return F.gelu(layer(x), approximate="tanh")


def gelu_in_product(layer: nn.Linear, x: Tensor) -> Tensor:
    """Give the same from the product itself, which on CUDA takes gelu in; not from one in FP8."""
    if isinstance(layer, Fp8Linear):
        return gelu_linear(layer, x)
    return torch._addmm_activation(  # noqa: SLF001, the only way to it
        layer.bias, x, layer.weight.t(), use_gelu=True
    )


def plain(reason: str) -> SmallKernels:
    """PyTorch's own."""
    return SmallKernels("torch", reason, rotate_, silu_times, gelu_linear)


PLAIN = plain("nothing else was asked for")


@cache
def choose_small_kernels(device: torch.device, dtype: torch.dtype) -> SmallKernels:
    """Choose Triton's where they run and equal PyTorch's own here."""
    if device.type != "cuda":
        return plain(f"Triton needs CUDA, the device is {device.type}")
    try:
        from model.layers import triton_kernels
    except ImportError:
        return plain("Triton is not installed")
    fused = SmallKernels(
        "triton",
        "Triton is installed",
        triton_kernels.rotate_,
        triton_kernels.silu_times,
        gelu_in_product,
    )
    try:
        difference = largest_difference(fused, device=device, dtype=dtype)
    except Exception as error:  # noqa: BLE001, a compiler's failures are of any class
        return plain(f"Triton's do not run here: {type(error).__name__}")
    tolerance = 1e-4 if dtype == torch.float32 else 3e-2
    if not difference <= tolerance:
        return plain(f"Triton's differ by {difference:.3g} from PyTorch's")
    return fused


@torch.inference_mode()
def largest_difference(kernels: SmallKernels, *, device: torch.device, dtype: torch.dtype) -> float:
    """Compare with PyTorch's own on shapes of the models.

    Returns:
        The largest difference, over one more than the size of what is expected.
    """
    generator = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    differences = []
    for num_heads, head_dim in ((16, 72), (14, 128), (6, 32)):
        rotation = text_rotation(torch.arange(90, 97, device=device), head_dim, theta=1e6)
        rows = some(7, num_heads + 2, head_dim)  # of which the last two stay as they are
        expected, got = rows.clone(), rows.clone()
        rotate_(expected[:, :num_heads], rotation)
        kernels.rotate_(got[:, :num_heads], rotation)
        differences.append(_difference(got, expected))
    for width in (96, 1536, 2050):
        gate_up = some(5, 2 * width)
        differences.append(_difference(kernels.silu_times(gate_up), silu_times(gate_up)))
    layer = nn.Linear(96, 160, device=device, dtype=dtype)
    x = some(5, 96)
    differences.append(_difference(kernels.gelu_linear(layer, x), gelu_linear(layer, x)))
    return float(torch.tensor(differences).max())  # which a NaN is, too


def _difference(got: Tensor, expected: Tensor) -> float:
    got, expected = got.float(), expected.float()
    return float(((got - expected).abs() / (1 + expected.abs())).max())
