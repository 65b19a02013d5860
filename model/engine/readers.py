"""What readers are to know of logits, looked up for all questions of a pass at once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.kinds.base import Reading
from model.layers.to_device import to_device


def read(rows: Tensor, readings: Sequence[Reading]) -> list[list[float]]:
    """Look at all rows at once, and wait for the device once.

    Args:
        rows: (N, V) float32 logits.
        readings: what is to be known of each.

    Returns:
        For each row the numbers of its tokens, in their order, or its likeliest token alone.
    """
    width = max(len(one.ids) for one in readings)
    ids = [[*one.ids, *[0] * (width - len(one.ids))] for one in readings]
    free = [row for row, one in enumerate(readings) if not one.ids]
    shared = [row for row, one in enumerate(readings) if one.is_share]
    found = [rows.gather(1, to_device(ids, rows.device)).flatten()] if width else []
    if free:
        found.append(
            rows[to_device(free, rows.device)].argmax(dim=-1).float()
        )  # exact up to 2 ** 24
    if shared:
        found.append(rows[to_device(shared, rows.device)].logsumexp(dim=-1))
    numbers = torch.cat(found).tolist()  # the wait
    num_picked = width * len(readings)
    likeliest = dict(zip(free, numbers[num_picked:], strict=False))
    totals = dict(zip(shared, numbers[num_picked + len(free) :], strict=True))
    return [
        [number - totals.get(row, 0.0) for number in numbers[row * width :][: len(one.ids)]]
        if one.ids
        else [likeliest[row]]
        for row, one in enumerate(readings)
    ]
