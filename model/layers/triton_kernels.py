"""Kernels in Triton for what PyTorch does in several: each reads its rows once.

Imported by `small_kernels` alone, where there is CUDA. With TRITON_INTERPRET=1 set before the
import they run on a CPU, slowly, for tests.

Each launch says that products and sums are fused: unasked, Triton does it in some versions. And it
says on which device, which Triton does not look for in what it is given.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from model.layers.rope import Rotation

_HEADS = 16  # of a row that a program turns
_COLUMNS = 1024  # of a row that a program multiplies


@triton.jit(do_not_specialize=["num_heads"])
def _rotate(  # noqa: PLR0913
    x,
    cos,
    sin,
    row_stride,
    head_stride,
    num_heads,
    HALF: tl.constexpr,
    PADDED_HALF: tl.constexpr,
    HEADS: tl.constexpr,
):
    """Turn HEADS heads of one row of x (L, num_heads, 2 * HALF) in place."""
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    dim = tl.arange(0, PADDED_HALF)
    is_dim = dim < HALF
    is_there = (head[:, None] < num_heads) & is_dim[None, :]
    at = row * 2 * HALF + dim
    cosine = tl.load(cos + at, mask=is_dim, other=0.0)
    left_sine = tl.load(sin + at, mask=is_dim, other=0.0)
    right_sine = tl.load(sin + at + HALF, mask=is_dim, other=0.0)
    left_at = x + row * row_stride + head[:, None] * head_stride + dim[None, :]
    left = tl.load(left_at, mask=is_there, other=0.0).to(tl.float32)
    right = tl.load(left_at + HALF, mask=is_there, other=0.0).to(tl.float32)
    turned_left = left * cosine[None, :] + right * left_sine[None, :]
    turned_right = right * cosine[None, :] + left * right_sine[None, :]
    tl.store(left_at, turned_left.to(x.dtype.element_ty), mask=is_there)
    tl.store(left_at + HALF, turned_right.to(x.dtype.element_ty), mask=is_there)


@triton.jit
def _silu_times(
    gate_up,
    out,
    width,
    COLUMNS: tl.constexpr,
):
    """Make COLUMNS columns of one row of out (L, width) of gate_up (L, 2 * width)."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    is_there = column < width
    at = gate_up + row * 2 * width + column
    gate = tl.load(at, mask=is_there, other=0.0).to(tl.float32)
    up = tl.load(at + width, mask=is_there, other=0.0).to(tl.float32)
    found = gate / (1 + tl.exp(-gate)) * up
    tl.store(out + row * width + column, found.to(out.dtype.element_ty), mask=is_there)


def rotate_(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn x (L, num_heads, head_dim), whose last dimension lies together, as `rope.rotate_`."""
    num_rows, num_heads, head_dim = x.shape
    if num_rows:
        half = head_dim // 2
        cos, sin = rotation
        with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
            _rotate[(num_rows, triton.cdiv(num_heads, _HEADS))](
                x,
                cos,
                sin,
                x.stride(0),
                x.stride(1),
                num_heads,
                half,
                triton.next_power_of_2(half),
                _HEADS,
                enable_fp_fusion=True,
            )
    return x


def silu_times(gate_up: Tensor) -> Tensor:
    """Give silu(gate) * up of contiguous rows (L, 2 * width), gate and up side by side."""
    num_rows, both = gate_up.shape
    width = both // 2
    out = torch.empty((num_rows, width), dtype=gate_up.dtype, device=gate_up.device)
    if num_rows:
        with torch.cuda.device_of(out):  # type: ignore[no-untyped-call]
            _silu_times[(num_rows, triton.cdiv(width, _COLUMNS))](
                gate_up, out, width, _COLUMNS, enable_fp_fusion=True
            )
    return out
