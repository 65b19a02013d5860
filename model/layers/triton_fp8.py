"""Rounding to FP8 in Triton: a row's largest number and its rounding in one kernel.

Imported by `fp8` alone, where there is CUDA. With TRITON_INTERPRET=1 set before the import it runs
on a CPU, slowly, for tests. How it is launched `triton_kernels` tells.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

TO_SCALE = tl.constexpr(1 / 448.0)
SMALLEST_SCALE = tl.constexpr(1e-12)


@triton.jit
def _quantise(
    x,
    out,
    scales,
    row_stride,
    width,
    COLUMNS: tl.constexpr,
):
    """Round one row of x (N, width)."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, COLUMNS)
    is_there = column < width
    numbers = tl.load(x + row * row_stride + column, mask=is_there, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(numbers), 0), SMALLEST_SCALE) * TO_SCALE
    tl.store(scales + row, scale)
    # Exact, as PyTorch's division is: numbers of few bits often lie right between two.
    rounded = tl.div_rn(numbers, scale).to(out.dtype.element_ty)
    tl.store(out + row * width + column, rounded, mask=is_there)


def quantised(x: Tensor) -> tuple[Tensor, Tensor]:
    """Round rows (N, width), each of which lies together, as `fp8.quantised`."""
    num_rows, width = x.shape
    out = torch.empty((num_rows, width), dtype=torch.float8_e4m3fn, device=x.device)
    scales = torch.empty((num_rows, 1), dtype=torch.float32, device=x.device)
    if num_rows:
        columns = triton.next_power_of_2(width)
        with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
            _quantise[(num_rows,)](
                x, out, scales, x.stride(0), width, columns, num_warps=8, enable_fp_fusion=True
            )
    return out, scales
