"""A run through the table of steps, from where an earlier one ended."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.curation import clusters, conversations, copies, on_ray, recaption, sheets
from model.curation.models import LinearScorer
from model.curation.parts import counts
from model.curation.plan import STEPS, Networks, Plan, Step
from model.curation.work import Outcome, PartWorker
from model.errors import InputError, ModelError

Say = Callable[[str], None]


class StepError(ModelError):
    """Parts of a step could not be done; what is done stays, and a later run goes on from it."""


@dataclass(frozen=True, slots=True)
class Crew:
    """Who does the work.

    Attributes:
        num_workers: processes at a time.
        gpus_per_worker: that a worker with networks needs; a share where it is below 1.
        language_engine: settings of vLLM's engine for re-captioning with `ray.data.llm`; None to
            re-caption with `transformers`, as the other steps.
    """

    num_workers: int = 1
    gpus_per_worker: float = 0
    language_engine: dict[str, Any] | None = None


def look_at(networks: Networks) -> None:
    """Look at what lies on this machine of the networks, before anything is started.

    Raises:
        InputError: a checkpoint that is given as a folder is none; a name is asked for when used.
        CheckpointError: as `LinearScorer`.
    """
    for option in ("clip", "captioner", "recaptioner"):
        name: str = getattr(networks, option)
        is_folder = name.startswith((".", "/", "~")) or Path(name).exists()
        if is_folder and not (Path(name) / "config.json").is_file():
            raise InputError(f"--{option}: expected a folder with config.json, got {name}")
    LinearScorer(networks.aesthetic)


def curate(plan: Plan, crew: Crew, *, say: Say, now_s: Callable[[], float]) -> None:
    """Do every step that is not done, then write conversations and pictures of the run.

    Args:
        plan: what to do, where.
        crew: by whom. What is made is the same whoever does it.
        say: takes lines of progress.
        now_s: a clock, for rates.

    Raises:
        InputError: the folder was made by something else.
        StepError: parts could not be done, a full disk for one; the message names them.
    """
    plan.out.mkdir(parents=True, exist_ok=True)
    plan.settle()
    for number, step in enumerate(STEPS, start=1):
        began_s = now_s()
        outcomes = _step(plan, step, crew, say=say)
        kept, reasons = counts(plan.folder(step.name), _parts(plan))
        told = f"{number} {step.name}: {kept:,} kept"
        if dropped := ", ".join(f"{count:,} {reason}" for reason, count in reasons.items()):
            told += f", dropped {dropped}"
        if outcomes:
            told += f"; {_measured(plan, step, outcomes, seconds=now_s() - began_s)}"
        say(told)
    written = conversations.write(plan, each=on_ray.each, num_workers=crew.num_workers)
    say(f"{written:,} pictures with conversations in {plan.out / 'conversations'}")
    for path in sheets.draw(plan):
        say(f"drawn: {path}")


def _step(plan: Plan, step: Step, crew: Crew, *, say: Say) -> list[Outcome]:
    folder = plan.folder(step.name)
    todo = [part for part in _parts(plan) if not folder.is_done(part)]
    if not todo:
        return []
    conversations.forget(plan)
    if begun := sorted(folder.path.glob(".part-*.begun")):
        say(f"{step.name}: {len(begun)} parts were begun and not ended by an earlier run")
    for path in (*folder.path.glob(".part-*"), *folder.path.glob("dropped/.part-*")):
        path.unlink()
    _prepare(plan, step, crew)
    outcomes: list[Outcome] = []
    for outcome in _outcomes(plan, step, todo, crew):
        outcomes.append(outcome)
        if outcome.num_attempts > 1:
            again = outcome.num_attempts - 1
            say(f"{step.name}: part {outcome.part} was done again: {again} workers died of it")
        if outcome.failed:
            say(f"{step.name}: part {outcome.part} failed: {outcome.failed}")
    if failed := [one for one in outcomes if one.failed]:
        done = len(outcomes) - len(failed)
        raise StepError(
            f"{step.name}: expected {len(todo)} parts, got {done}; what is done is kept, and the "
            f"same command goes on from it. Part {failed[0].part}: {failed[0].failed}"
        )
    return outcomes


def _outcomes(plan: Plan, step: Step, todo: Sequence[int], crew: Crew) -> Iterator[Outcome]:
    if step.name == "recaption" and crew.language_engine is not None:
        processor = recaption.engine(plan.networks, crew.language_engine)
        yield from recaption.with_processor(plan, todo, processor)
        return
    gpus = crew.gpus_per_worker if step.networks else 0
    for row in on_ray.each(
        PartWorker, todo, given=(plan, step.name), num_workers=crew.num_workers, num_gpus=gpus
    ):
        yield Outcome(**row)


def _prepare(plan: Plan, step: Step, crew: Crew) -> None:
    """Do once, in this process, what a step's parts all need."""
    folder = plan.folder(step.name).path
    if step.name == "duplicates" and not (folder / "copies.npy").exists():
        num_rows, _ = counts(plan.before(step.name), _parts(plan))
        copies.find(plan, num_rows, each=on_ray.each, num_workers=crew.num_workers)
    if step.name == "cluster" and not (folder / "centres.npy").exists():
        known = clusters.sample(plan.before(step.name), _parts(plan), plan.limits.num_sampled)
        device = plan.networks.device
        _save(folder / "centres.npy", clusters.fit(known, plan.limits.num_clusters, device=device))
    if step.name == "pick" and not (folder / "last-ranks.npy").exists():
        last = clusters.highest_ranks(
            plan.before(step.name),
            _parts(plan),
            num_clusters=plan.limits.num_clusters,
            num_per_cluster=plan.limits.num_per_cluster,
        )
        _save(folder / "last-ranks.npy", last)


def _save(path: Path, values: np.ndarray[Any, Any]) -> None:
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb") as file:
        np.save(file, values)
    beside.replace(path)


def _measured(plan: Plan, step: Step, outcomes: Sequence[Outcome], *, seconds: float) -> str:
    """Say how fast a step went and what a worker held, and add it to the run's log."""
    num_in = sum(one.num_in for one in outcomes)
    peak_mb = max(one.peak_bytes for one in outcomes) / 1e6
    facts = {"step": step.name, "parts": len(outcomes), "pictures": num_in}
    facts |= {"seconds": round(seconds, 1), "worker_peak_mb": round(peak_mb)}
    with (plan.out / "rates.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(facts) + "\n")
    return f"{num_in / max(seconds, 1e-9):,.0f} pictures/s, a worker held {peak_mb:,.0f} MB"


def _parts(plan: Plan) -> range:
    return range(len(plan.shards))
