"""Numbers in eight bits: products at up to twice the rate of bfloat16, and keys in half the memory.

E4M3 has three bits behind the point, so a number is off by a sixteenth of itself at most, and goes
from 2^-9 to 448. Rows are scaled so that their largest number is that: weights by output, once;
activations by token, as they come; keys and values by token and head. Where a device has no such
products they are made of the numbers rounded so, which costs time and says what the rounding costs.
"""

import logging
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812, the field's own name
from torch import Tensor, nn

from model.errors import InputError

FP8 = torch.float8_e4m3fn
LARGEST = 448.0
SMALLEST_SCALE = 1e-12  # of a row of zeros
NEEDED_CAPABILITY = (8, 9)  # Ada and Hopper, and later
_MULTIPLE = 16  # of which both sides of such a product are

Quantise = Callable[[Tensor], tuple[Tensor, Tensor]]

log = logging.getLogger(__name__)


def check_device(name: str, device: torch.device) -> None:
    """Refuse a GPU that has no FP8; a CPU only rounds as one does, for measuring.

    Args:
        name: of what was asked for.
        device: where the model runs.

    Raises:
        InputError: the GPU has none.
    """
    if device.type == "cuda" and not has_fp8(device):
        capability = torch.cuda.get_device_capability(device)
        needed, got = (".".join(map(str, one)) for one in (NEEDED_CAPABILITY, capability))
        raise InputError(
            f"{name}: expected a GPU of compute capability {needed} or later, got {got}"
        )


def has_fp8(device: torch.device) -> bool:
    """Tell whether a GPU computes with such numbers."""
    return torch.cuda.get_device_capability(device) >= NEEDED_CAPABILITY


def quantised(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Round rows (..., D) of any dtype.

    Returns:
        The rows in FP8, and what they are to be multiplied by, (..., 1) float32.
    """
    exact = rows.float()
    # A product, which is the same everywhere: CUDA does not divide by one number exactly.
    scales = exact.abs().amax(dim=-1, keepdim=True).clamp_(min=SMALLEST_SCALE) * (1 / LARGEST)
    return (exact / scales).to(FP8), scales


def dequantised(rows: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """Give back what `quantised` has made of rows."""
    return (rows.float() * scales).to(dtype)


def plain_bytes(rows: Tensor) -> Tensor:
    """Give rows as PyTorch copies them about: those in FP8 as bytes, which share their memory."""
    return rows.view(torch.uint8) if rows.dtype == FP8 else rows


def product(x: Tensor, weight: Tensor, scales: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply rows (N, in_features), rounded by token, by weights (out_features, in_features).

    Args:
        x: in the dtype of the result.
        weight: in FP8.
        scales: of the weights, (out_features, 1).
        bias: (out_features,) in the dtype of x.
    """
    rows, row_scales = choose_quantise(x.device, x.dtype)(x)
    if x.device.type != "cuda":
        exact = dequantised(rows, row_scales, x.dtype)
        return F.linear(exact, dequantised(weight, scales, x.dtype), bias)
    if not len(x):
        return x.new_empty((0, len(weight)))
    return torch._scaled_mm(  # noqa: SLF001, the only way to it
        rows,
        weight.t(),
        scale_a=row_scales,
        scale_b=scales.t(),
        bias=bias,
        out_dtype=x.dtype,
        use_fast_accum=True,
    )


class Fp8Linear(nn.Linear):
    """A linear layer whose weights are kept in FP8; without gradients."""

    def __init__(self, layer: nn.Linear) -> None:
        """Take a layer's weights, rounded, and its bias."""
        nn.Module.__init__(self)  # no other weights are made first
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight, scales = quantised(layer.weight.detach())
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.scales = nn.Parameter(scales, requires_grad=False)
        self.register_parameter("bias", dict(layer.named_parameters()).get("bias"))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply rows (N, in_features)."""
        return product(x, self.weight, self.scales, self.bias)


def keep_in_fp8(module: nn.Module) -> None:
    """Put layers in FP8 in the place of the linear ones below a module whose sizes allow it."""
    for name, child in list(module.named_children()):
        if not isinstance(child, nn.Linear):
            keep_in_fp8(child)
        elif not isinstance(child, Fp8Linear) and _is_fit(child):
            setattr(module, name, Fp8Linear(child))


def _is_fit(layer: nn.Linear) -> bool:
    return layer.in_features % _MULTIPLE == layer.out_features % _MULTIPLE == 0


@cache
def choose_quantise(device: torch.device, dtype: torch.dtype) -> Quantise:
    """Choose Triton's rounding, one kernel, where it runs and equals the other to the bit."""
    if device.type != "cuda":
        return quantised
    try:
        from model.layers import triton_fp8

        if is_same(triton_fp8.quantised, device=device, dtype=dtype):
            return triton_fp8.quantised
        log.warning("rounding to FP8 by Triton is off here, and is not used")
    except Exception as error:  # noqa: BLE001, a compiler's failures are of any class
        log.warning("rounding to FP8 by Triton does not run here: %s", type(error).__name__)
    return quantised


@torch.inference_mode()
def is_same(quantise: Quantise, *, device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether rounded rows differ nowhere by more than the last bit, and scales by less."""
    generator = torch.Generator().manual_seed(0)
    # Of the models' heads and layers, for the proof compiles their kernels on the way.
    for width in (96, 1152, 3584, 4304, 8960, 18944):
        rows = torch.randn(5, width, generator=generator)
        rows[1], rows[2] = 0, 1000 * rows[2]
        rows = rows.to(device, dtype)
        got, got_scales = quantise(rows)
        expected, scales = quantised(rows)
        if not torch.allclose(got_scales, scales, rtol=1e-5, atol=0):
            return False
        gap = (got.float() - expected.float()).abs()
        if not bool((gap <= expected.float().abs() / 8 + 2**-9).all()):
            return False
        if bool((gap > 0).float().mean() > 1e-3):  # where one falls between two
            return False
    return True
