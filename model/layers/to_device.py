"""Copies numbers from the host to the device without waiting for its queue."""

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


def to_device(
    numbers: Sequence[Any] | NDArray[Any] | Tensor,
    device: torch.device | str,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Copy numbers to a device.

    `torch.tensor(numbers, device=...)` would wait until the device has done what it was given
    before; so the host lays out a pass while the device is still at the one before it.

    Args:
        numbers: nested sequences of them, of any shape, or an array or tensor on the host.
        device: where they go.
        dtype: of the result; int64 for integers in sequences, an array's own, where it is None.
    """
    return torch.as_tensor(numbers, dtype=dtype).to(device, non_blocking=True)
