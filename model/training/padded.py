"""Attention within packed samples in one call, every sample padded to the longest.

The same as `forked`, for a device on which launching a product costs more than computing it: the
number of calls does not grow with that of the samples and their forks.
"""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, the field's own name
from torch import Tensor

from model.training.packing import Layout

ALIGNED = 64
"""Lengths are rounded up to this: fused kernels want masks whose rows lie so."""


class PaddedAttention:
    """An `Attend` over the rows of samples laid end to end."""

    def __init__(
        self, layouts: Sequence[Layout], *, device: torch.device, wanted: Tensor | None = None
    ) -> None:
        """Lay out the rows.

        Args:
            layouts: of the samples.
            device: where rows lie.
            wanted: (n,) int64, the rows that ask in the last layer; None for all.
        """
        lengths = [layout.length for layout in layouts]
        self._num_samples = len(layouts)
        self._length = -(-max(lengths) // ALIGNED) * ALIGNED
        # A row sees the trunk up to `seen`, and from `begin` on what comes before it.
        seen = np.zeros((self._num_samples, self._length), dtype=np.int64)
        begin = np.zeros_like(seen)
        for row, layout in enumerate(layouts):
            for fork in layout.forks:
                seen[row, fork.begin : fork.end] = fork.num_seen
                begin[row, fork.begin : fork.end] = fork.begin
        column = torch.arange(self._length, device=device)
        in_trunk = column < torch.from_numpy(seen).to(device)[..., None]
        in_own = (column >= torch.from_numpy(begin).to(device)[..., None]) & (
            column <= column[:, None]
        )
        self._mask = (in_trunk | in_own)[:, None]  # (samples, 1, length, length)
        starts = [row * self._length for row in range(self._num_samples)]
        moved = np.array(starts) - np.array([0, *accumulate(lengths)][:-1])
        place = np.arange(sum(lengths)) + np.repeat(moved, lengths)
        self._place = torch.from_numpy(place).to(device)
        self._asking = self._place if wanted is None else self._place[wanted]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # noqa: ARG002
        """Attend; see `model.layers.attention.Attend`."""
        asking = self._place if len(q) == len(k) else self._asking
        group = q.shape[1] // k.shape[1]
        keys, values = (
            self._padded(x, self._place).repeat_interleave(group, dim=1) for x in (k, v)
        )
        out = F.scaled_dot_product_attention(
            self._padded(q, asking), keys, values, attn_mask=self._mask
        )  # (samples, heads, length, D)
        return out.transpose(1, 2).flatten(0, 1).index_select(0, asking)

    def _padded(self, x: Tensor, places: Tensor) -> Tensor:
        """Put rows (n, heads, D) at their places: (samples, heads, length, D)."""
        rows = x.new_zeros(self._num_samples * self._length, *x.shape[1:])
        rows = rows.index_copy(0, places, x)
        return rows.reshape(self._num_samples, self._length, *x.shape[1:]).transpose(1, 2)
