"""Curations in the test's own process, a step at a time, and workers that come to grief.

Ray's workers import this, so it imports nothing that is slow.
"""

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from model.curation import copies
from model.curation.demo import shards
from model.curation.plan import STEPS, Limits, Networks, Plan
from model.curation.work import Outcome, PartWorker

LIMITS = Limits(min_side_px=40, num_clusters=5, num_sampled=100, num_per_cluster=4)


def plan_of(paths: Sequence[Path], out: Path, limits: Limits = LIMITS) -> Plan:
    """A plan whose networks are nowhere: for the steps that ask none."""
    nowhere = Networks("nowhere", out / "nowhere", "nowhere", "nowhere")
    return Plan(tuple(paths), out, limits, nowhere)


def painted_plan(out: Path, count: int, *, per_shard: int = 50) -> Plan:
    """A plan over painted pictures."""
    return plan_of(shards.write(out / "shards", count, seed=3, per_shard=per_shard), out / "run")


def each(
    worker: Any,
    numbers: Sequence[int],
    *,
    given: tuple[Any, ...],
    num_workers: int,
    num_gpus: float = 0,
) -> Iterator[dict[str, Any]]:
    """What `on_ray.each` does, without Ray, last number first."""
    assert (num_workers, num_gpus) == (1, 0)
    ours = worker(*given)
    for number in reversed(numbers):
        yield {name: values[0] for name, values in ours({"number": [number]}).items()}


def run(plan: Plan, *steps: str) -> list[dict[str, Any]]:
    """Do steps that are `read`, `shape` or `duplicates`, and return every outcome."""
    outcomes: list[dict[str, Any]] = []
    plan.settle()
    for step in STEPS:
        if step.name in steps:
            if step.name == "duplicates":
                copies.find(plan, 100, each=each, num_workers=1)
            given = (plan, step.name)
            outcomes += each(PartWorker, range(len(plan.shards)), given=given, num_workers=1)
    return outcomes


class Mortal(PartWorker):
    """A worker whose process is killed in the middle of a part, the first time."""

    def do(self, part: int) -> Outcome:
        begun = self._plan.folder(self._step).attempts(part)
        if (part, self._step) == (1, "shape") and not begun.exists():
            begun.write_text("1")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().do(part)


class FullDisk(PartWorker):
    """A worker that finds no room for one part."""

    def do(self, part: int) -> Outcome:
        if part == 1:
            folder = self._plan.folder(self._step).path
            (folder / ".part-00001.parquet.new").symlink_to("/dev/full")
        return super().do(part)
