"""Duplicates found by workers, a pair of bands and a share of the keys at a time."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from model.curation.duplicates import BY_ID, losers, masks
from model.curation.plan import Plan

ROWS_AT_ONCE = 50_000_000
"""Of a job: about 3 GB while they are sorted."""

Shared = Callable[..., Iterable[dict[str, Any]]]


def find(plan: Plan, num_rows: int, *, each: Shared, num_workers: int) -> None:
    """Write the places of all copies to the step's folder: `copies.npy` and `same-ids.npy`.

    Args:
        plan: the run, its step before this one done.
        num_rows: of that step.
        each: shares numbers out to workers, as `on_ray.each`.
        num_workers: at most so many.
    """
    rounds = masks(plan.limits.max_differing_bits)
    shares = -(-max(1, num_rows) // ROWS_AT_ONCE)
    jobs = range(len(rounds) * shares)
    said = each(CopyFinder, jobs, given=(plan, shares), num_workers=num_workers)
    if failed := [row["failed"] for row in said if row["failed"]]:
        raise OSError(failed[0])
    folder = plan.folder("duplicates").path
    names = ("same-ids", "copies")
    for name, wanted in zip(names, (range(shares), range(shares, len(jobs))), strict=True):
        found = [np.load(folder / f"found-{job:04d}.npy") for job in wanted]
        with (folder / f".{name}.new").open("wb") as file:
            np.save(file, np.unique(np.concatenate(found)))
        (folder / f".{name}.new").replace(folder / f"{name}.npy")
    for job in jobs:
        (folder / f"found-{job:04d}.npy").unlink()


class CopyFinder:
    """Does such jobs."""

    def __init__(self, plan: Plan, shares: int) -> None:
        """Take the run, and into how many shares keys are split."""
        limit = plan.limits.max_differing_bits
        self._folder = plan.folder("duplicates").path
        self._losers = partial(
            losers, plan.before("duplicates"), range(len(plan.shards)), max_bits=limit
        )
        self._jobs = [(mask, share) for mask in masks(limit) for share in range(shares)]
        self._shares = shares
        assert self._jobs[0][0] == BY_ID  # noqa: S101, `find` tells them apart so

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Do jobs by number; say why one failed."""
        failed = []
        for job in batch["number"]:
            mask, share = self._jobs[int(job)]
            try:
                found = self._losers(mask, share=(share, self._shares))
                np.save(self._folder / f"found-{int(job):04d}.npy", found)
                failed.append("")
            except OSError as error:
                failed.append(f"duplicates: {error}")
        return {"failed": failed}
