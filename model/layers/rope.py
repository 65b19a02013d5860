"""Rotary positions: 1-D for the decoder, 2-D for the vision encoder.

Angles are worked out in float64 and cast once. In float32 an angle at position 100,000 is already
wrong by several thousandths of a turn; the tables here are the same at any position.
"""

import torch
from torch import Tensor

Rotation = tuple[Tensor, Tensor]
"""Cosines, and sines with the sign of what they multiply: that of the left half is turned."""


def text_rotation(positions: Tensor, head_dim: int, *, theta: float) -> Rotation:
    """Return what `rotate` takes, each (L, head_dim) float32, for positions (L,) of any integer."""
    angles = _angles(positions, head_dim // 2, theta)  # (L, head_dim / 2)
    return _cos_sin(angles)


def vision_rotation(positions: Tensor, head_dim: int, *, theta: float) -> Rotation:
    """Return what `rotate` takes, each (N, head_dim) float32, for (row, column) positions (N, 2).

    Half of a head's frequencies turn with the row, the other half with the column.
    """
    angles = _angles(positions, head_dim // 4, theta).flatten(1)  # (N, head_dim / 2)
    return _cos_sin(angles)


def patch_positions(
    patch_grid: tuple[int, int], *, merge_size: int, device: torch.device
) -> Tensor:
    """Return the (row, column) of each patch of one frame, (h * w, 2) int64, in row order.

    Rows are ordered (h / m, w / m, m, m): the m * m patches of one token lie together.
    """
    h, w = patch_grid
    m = merge_size
    rows = torch.arange(h, device=device)[:, None].expand(h, w)
    cols = torch.arange(w, device=device)[None, :].expand(h, w)
    grid = torch.stack((rows, cols), dim=-1)  # (h, w, 2)
    return grid.reshape(h // m, m, w // m, m, 2).transpose(1, 2).reshape(h * w, 2)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn x (L, heads, head_dim), pairing dim j with dim j + head_dim / 2.

    The product is taken in float32; the result has the dtype of x. In few kernels: every layer
    does this twice, and on a GPU what it moves and launches is a good part of a pass.
    """
    cos, sin = (table.unsqueeze(1) for table in rotation)
    turned = torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)
    return turned.to(x.dtype)


def rotate_(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn x (L, heads, head_dim) in place, as `rotate` does; without gradients."""
    cos, sin = (table.unsqueeze(1) for table in rotation)
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin, out=x)


def _angles(positions: Tensor, num_frequencies: int, theta: float) -> Tensor:
    exponents = torch.arange(num_frequencies, dtype=torch.float64, device=positions.device)
    frequencies = theta ** (-exponents / num_frequencies)
    return positions.double().unsqueeze(-1) * frequencies


def _cos_sin(angles: Tensor) -> Rotation:
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=-1).float(), torch.cat((-sin, sin), dim=-1).float()
