"""Curations in the test's own process, a step at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from model.curation import copies
from model.curation.demo import shards
from model.curation.demo.shown import networks
from model.curation.plan import STEPS, Limits, Plan
from model.curation.work import PartWorker

LIMITS = Limits(min_side_px=40, num_clusters=5, num_sampled=100, num_per_cluster=4)


def plan_of(paths: Sequence[Path], out: Path, limits: Limits = LIMITS) -> Plan:
    """A plan whose networks are nowhere: for the steps that ask none."""
    return Plan(tuple(paths), out, limits, networks(out / "networks"))


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
    for step in STEPS:
        if step.name in steps:
            plan.settle(step)
            if step.name == "duplicates":
                copies.find(plan, 100, each=each, num_workers=1)
            given = (plan, step.name)
            outcomes += each(PartWorker, range(len(plan.shards)), given=given, num_workers=1)
    return outcomes
