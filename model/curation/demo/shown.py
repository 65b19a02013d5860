"""The demonstration: paint, make the networks, curate, judge."""

from collections.abc import Callable
from pathlib import Path

from model.curation import on_ray
from model.curation.curate import Crew, Say, curate
from model.curation.demo import shards, small_models, verdict
from model.curation.plan import Limits, Networks, Plan

SEED = 20

LIMITS = Limits(
    min_side_px=40,
    min_aesthetic=4.0,
    min_text_similarity=0.6,
    min_caption_similarity=0.5,
    num_clusters=100,
    num_sampled=5_000,
    num_per_cluster=30,
)
"""For pictures of 64 px and networks that know nothing else."""


def networks(folder: Path) -> Networks:
    """Name the networks that `small_models.make` puts into a folder."""
    return Networks(
        clip=str(folder / "clip"),
        aesthetic=folder / "aesthetic.safetensors",
        captioner=str(folder / "blip2"),
        recaptioner=str(folder / "blip2"),
        caption_prompt=small_models.DETAILED,
        short_prompt=small_models.SHORT,
        detailed_prompt=small_models.DETAILED,
        max_new_tokens=16,
    )


def show(out: Path, count: int, *, num_workers: int, say: Say, now_s: Callable[[], float]) -> bool:
    """Curate `count` painted pictures and say whether what must go went.

    Args:
        out: takes shards, networks and the run; called again, it goes on.
        count: how many pictures.
        num_workers: processes.
        say: takes lines.
        now_s: a clock, for rates.
    """
    small_models.make(out / "networks", say=say)
    painted = shards.write(out / "shards", count, seed=SEED)
    say(f"{count:,} pictures in {len(painted)} shards")
    plan = Plan(tuple(painted), out / "curated", LIMITS, networks(out / "networks"))
    with on_ray.session(num_workers):
        curate(plan, Crew(num_workers), say=say, now_s=now_s)
    found = verdict.judged(plan, seed=SEED)
    for line in verdict.lines(plan, found, seed=SEED):
        say(line)
    return all(min(one.recall, one.precision) >= verdict.LEAST for one in found)
