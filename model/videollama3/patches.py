"""Patches: the rows that the encoder reads."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.errors import InputError
from model.videollama3.config import MERGE_SIZE, PATCH_PX


def patchify(pixels: NDArray[np.uint8] | Tensor, *, merge_size: int = MERGE_SIZE) -> Tensor:
    """Cut frames into the encoder's rows, normalised to [-1, 1].

    Rows are ordered (frame, h / m, w / m, m, m), so that the patches of one token lie together;
    inside a row (channel, 14, 14).

    Args:
        pixels: (H, W, 3) or (T, H, W, 3) uint8 RGB, sides multiples of 14 * merge_size.
        merge_size: patches per token side.

    Returns:
        (N, 588) float32 on the device of `pixels`.

    Raises:
        InputError: another dtype or shape.
    """
    if isinstance(pixels, np.ndarray):
        # from_numpy warns of arrays it must not write to; patchify only reads, but cannot say so.
        pixels = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())
    side_px = PATCH_PX * merge_size
    if (
        pixels.dtype != torch.uint8
        or pixels.ndim not in (3, 4)
        or pixels.shape[-1] != 3
        or pixels.shape[-3] % side_px
        or pixels.shape[-2] % side_px
        or pixels.numel() == 0
    ):
        raise InputError(
            f"frame: expected uint8 of (H, W, 3) or (T, H, W, 3) with sides multiples of "
            f"{side_px}, got {pixels.dtype} of {tuple(pixels.shape)}"
        )
    h, w = pixels.shape[-3] // side_px, pixels.shape[-2] // side_px
    blocks = pixels.reshape(-1, h, merge_size, PATCH_PX, w, merge_size, PATCH_PX, 3)
    rows = blocks.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(-1, 3 * PATCH_PX**2)
    return rows.float().sub_(127.5).div_(127.5)
