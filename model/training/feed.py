"""Batches made ahead of the step that needs them, in the same order whatever makes them."""

import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

Item = TypeVar("Item")
Batch = TypeVar("Batch")


class _Numbered(Dataset[Item], Generic[Item]):
    """Items by number."""

    def __init__(self, item: Callable[[int], Item]) -> None:
        self._item = item

    def __getitem__(self, index: int) -> Item:
        return self._item(index)


def batches(
    item: Callable[[int], Item],
    collate: Callable[[Sequence[Item]], Batch],
    *,
    batch_size: int,
    first_step: int,
    num_steps: int,
    num_workers: int,
) -> Iterator[Batch]:
    """Give the batches of steps `first_step` to `num_steps`: step n is items n * batch_size on.

    Args:
        item: a number to what is trained on; pure, and picklable where there are workers.
        collate: items to a batch, called where they are made.
        batch_size: items of a step.
        first_step: counted from 0.
        num_steps: where the run ends.
        num_workers: processes that make batches; 0 makes them here, when they are asked for.
    """
    steps = [
        list(range(step * batch_size, (step + 1) * batch_size))
        for step in range(first_step, num_steps)
    ]
    loader = DataLoader(
        _Numbered(item),
        batch_sampler=steps,
        collate_fn=collate,
        num_workers=num_workers,
        prefetch_factor=4 if num_workers else None,
        worker_init_fn=_begin_worker if num_workers else None,
    )
    return iter(loader)


def _begin_worker(worker: int) -> None:  # noqa: ARG001
    """Compute on one thread, as arrays are small; leave Ctrl-C to the process that trains."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
