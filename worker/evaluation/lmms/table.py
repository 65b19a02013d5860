"""The table: what is published of VideoLLaMA3, what a model has here, and what that costs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from worker.benchmarks.report import commit
from worker.evaluation.lmms.harness import Outcome
from worker.evaluation.lmms.responder import MODES, Mode

_HEAD = ("benchmark", "2B", "7B", *MODES, "kept", "seconds", "asked", "remark")
_LOCAL = "rendered scenes"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A public benchmark.

    Attributes:
        name: as papers call it.
        task: as lmms-eval does.
        metric: which of the task's numbers is published.
        times: what that number is multiplied by to be on the published scale.
        published: of VideoLLaMA3 2B and 7B; None where nothing is.
        data: the data sets on the Hugging Face hub.
        needs: what else it takes.
        is_part: of the benchmark above it, which has what it costs.
    """

    name: str
    task: str
    metric: str
    times: float
    published: tuple[float | None, float | None]
    data: str
    needs: str = ""
    is_part: bool = False

    @property
    def how(self) -> str:
        """Say how the data is had."""
        if self.is_part:
            return f"not run: part of --tasks {self.task}"
        needs = f"; needs {self.needs}" if self.needs else ""
        return f"not run: --tasks {self.task} fetches {self.data} from the hub{needs}"


@cache
def benchmarks() -> tuple[Benchmark, ...]:
    """Return those of the review's tables, pictures first, and OVO-Bench.

    Source: arXiv 2501.13106, tables of the results.
    """
    rows = json.loads(Path(__file__).with_name("benchmarks.json").read_text(encoding="utf-8"))
    return tuple(Benchmark(**{**row, "published": tuple(row["published"])}) for row in rows)


class Figures:
    """What was found of one model, kept on disk by mode and task, so that a table fills up."""

    def __init__(self, folder: Path) -> None:
        """Keep them below a folder, of one model."""
        self._folder = folder

    def keep(self, mode: Mode, outcome: Outcome, *, limit: int | None) -> None:
        """Keep an outcome in the place of an older one."""
        path = self._folder / mode / f"{outcome.task}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {**asdict(outcome), "limit": limit, "commit": commit()}
        path.write_text(json.dumps(document, indent=2), encoding="utf-8")

    def of(self, mode: Mode) -> Mapping[str, Mapping[str, Any]]:
        """Return what is kept of a mode, by task."""
        paths = sorted((self._folder / mode).glob("*.json"))
        return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def table(figures: Figures, *, model: str) -> str:
    """Write all that is known of a model; each benchmark that was not run says how it is."""
    of = {mode: figures.of(mode) for mode in MODES}
    lines = [_line(one, of) for one in benchmarks()]
    known = {one.task for one in benchmarks()}
    others = sorted({task for found in of.values() for task in found} - known)
    for task in others:
        found = next(one[task] for one in of.values() if task in one)
        metric = next(iter(found["metrics"]))
        times = 100.0 if metric in ("accuracy", "mean_iou") else 1.0
        remark = f"{metric}, {_LOCAL}" if task.startswith("local_") else metric
        other = Benchmark(task, task, metric, times, (None, None), remark)
        lines.append(_line(other, of, remark=remark))
    cells = [_HEAD, *lines]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEAD))]
    rows = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    head = f"{model}; 2B and 7B: published of VideoLLaMA3; kept, seconds and asked: of all modes"
    return "\n".join([head, "", *rows])


def as_json(figures: Figures, *, model: str, command: str) -> str:
    """Write the same as one document."""
    document = {
        "bench": "lmms-eval",
        "commit": commit(),
        "command": command,
        "model": model,
        "benchmarks": [asdict(one) for one in benchmarks()],
        "figures": {mode: figures.of(mode) for mode in MODES},
    }
    return json.dumps(document, indent=2)


def _line(
    benchmark: Benchmark, of: Mapping[Mode, Mapping[str, Mapping[str, Any]]], *, remark: str = ""
) -> Sequence[str]:
    ran = {mode: found[benchmark.task] for mode, found in of.items() if benchmark.task in found}
    values = {mode: found["metrics"].get(benchmark.metric) for mode, found in ran.items()}
    ours = [
        "" if (value := values.get(mode)) is None else f"{value * benchmark.times:.1f}"
        for mode in MODES
    ]
    costs = [found["costs"] for found in ran.values() if found["costs"] and not benchmark.is_part]
    failed = sum(one["num_failed"] for one in costs)
    partly = sorted({found["limit"] for found in ran.values() if found["limit"]})
    remarks = [
        remark or ("" if ran else benchmark.how),
        f"the first {', '.join(map(str, partly))} documents alone" if partly else "",
        f"{failed:.0f} answered with nothing: see lmms-eval.log" if failed else "",
        "" if None not in values.values() else f"no {benchmark.metric} came of it",
    ]
    return (
        benchmark.name,
        *("" if one is None else f"{one:g}" for one in benchmark.published),
        *ours,
        "/".join(_share(one) for one in costs),
        "/".join(f"{one['seconds']:.0f}" for one in costs),
        "/".join(f"{one['num_asked']:.0f}" for one in costs),
        "; ".join(one for one in remarks if one),
    )


def _share(costs: Mapping[str, float]) -> str:
    total = costs["num_tokens"]
    return f"{100 * costs['num_kept'] / total:.0f}%" if total else "-"
