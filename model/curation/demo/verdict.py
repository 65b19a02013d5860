"""What a curation of painted pictures did, against what is true of them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq

from model.curation.demo.painted import Kind, Subject
from model.curation.demo.painted import truth as truth_of
from model.curation.demo.shards import number_of
from model.curation.parts import StepFolder, column
from model.curation.plan import STEPS, Plan

LEAST = 0.95

REASONS = {
    Kind.STRETCHED: "aspect_ratio",
    Kind.BLANK: "blank",
    Kind.DUPLICATE: "duplicate",
    Kind.SPOILED: "aesthetic_score",
    Kind.MISCAPTIONED: "text_similarity",
}


@dataclass(frozen=True, slots=True)
class Found:
    """How well one kind is told from the others.

    Attributes:
        kind: which.
        num_planted: how many had to go.
        num_dropped: how many went for the kind's reason.
        num_right: how many of those had to.
    """

    kind: Kind
    num_planted: int
    num_dropped: int
    num_right: int

    @property
    def recall(self) -> float:
        """Share of what had to go that went."""
        return self.num_right / max(1, self.num_planted)

    @property
    def precision(self) -> float:
        """Share of what went that had to go."""
        return self.num_right / max(1, self.num_dropped)


@dataclass(frozen=True, slots=True)
class Balance:
    """How even the clusters are.

    Attributes:
        largest: pictures in the largest cluster.
        median: pictures in the middle one.
        commonest: share of all pictures that show the commonest subject.
    """

    largest: int
    median: float
    commonest: float


def judged(plan: Plan, *, seed: int) -> list[Found]:
    """Compare what was dropped with what was planted, for each kind."""
    truth = {number: truth_of(number, seed=seed)[:2] for number in _numbers(plan)}
    dropped = dict(_dropped(plan))
    found = []
    for kind, reason in REASONS.items():
        gone = [number for number, why in dropped.items() if why == reason]
        if kind is Kind.DUPLICATE:  # one of each group stays, whichever it is
            sizes = Counter(group for _, group in truth.values())
            gone_of = Counter(truth[number][1] for number in gone)
            right = sum(min(count, sizes[group] - 1) for group, count in gone_of.items())
            planted = sum(size - 1 for size in sizes.values())
        else:
            right = sum(truth[number][0] is kind for number in gone)
            planted = sum(one is kind for one, _ in truth.values())
        found.append(Found(kind, planted, len(gone), right))
    return found


def balance(plan: Plan, step: str, *, seed: int) -> Balance:
    """Say how even clusters are after a step."""
    folder = plan.folder(step)
    parts = range(len(plan.shards))
    clusters = np.concatenate([column(folder.part(part), "cluster") for part in parts])
    sizes = np.bincount(clusters)
    subjects = Counter(_subjects(folder, parts, seed))
    commonest = max(subjects.values()) / max(1, sum(subjects.values()))
    return Balance(int(sizes.max()), float(np.median(sizes)), commonest)


def lines(plan: Plan, kinds: Sequence[Found], *, seed: int) -> Iterator[str]:
    """Show both, a line each."""
    for found in kinds:
        yield (
            f"{found.kind:<13}{found.num_planted:>6} planted  recall {found.recall:.3f}  "
            f"precision {found.precision:.3f}  (dropped as {REASONS[found.kind]})"
        )
    for step in ("cluster", "pick"):
        even = balance(plan, step, seed=seed)
        yield (
            f"after {step}: largest cluster {even.largest}, median {even.median:.0f}; "
            f"commonest subject {even.commonest:.1%} of all"
        )


def _numbers(plan: Plan) -> Iterator[int]:
    folder = plan.folder("read")
    for part in range(len(plan.shards)):
        for path in (folder.part(part), folder.dropped(part)):
            yield from map(number_of, pq.read_table(path, columns=["id"])["id"].to_pylist())


def _dropped(plan: Plan) -> Iterator[tuple[int, str]]:
    for step in STEPS:
        for part in range(len(plan.shards)):
            rows = pq.read_table(plan.folder(step.name).dropped(part), columns=["id", "reason"])
            for row in rows.to_pylist():
                yield number_of(row["id"]), row["reason"]


def _subjects(folder: StepFolder, parts: range, seed: int) -> Iterator[Subject]:
    for part in parts:
        for id_ in pq.read_table(folder.part(part), columns=["id"])["id"].to_pylist():
            yield truth_of(number_of(id_), seed=seed)[2]
