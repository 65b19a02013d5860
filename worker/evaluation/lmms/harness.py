"""lmms-eval as a process: one run of it, and what came out, believed only where it is there.

lmms-eval ends with status 0 when an evaluation failed. So a run counts by what it wrote: a file of
results that has a number for every task.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from worker.evaluation.lmms.responder import Mode

TASKS = Path(__file__).with_name("tasks")
_TAIL_LINES = 15
_COSTS = "costs.json"
_NO_METRICS = ("alias", "samples")
_RESULTS = "[0-9]*_results.json"  # tasks write files of such names too, which begin with a word
_PARTS: Mapping[str, str] = {"ovo_forward": "forward_acc_scores.json"}
"""What tasks write beside their results: the figure of each of their parts, by its name."""


@dataclass(frozen=True, slots=True)
class Run:
    """What to run.

    Attributes:
        model: `nano`, a folder, or a repository on the hub.
        mode: how it is shown things.
        tasks: lmms-eval's names of tasks and groups.
        is_simple: tasks of the older shape, which alone weigh continuations.
        limit: documents of each task; None for all.
        device: where the model runs.
    """

    model: str
    mode: Mode
    tasks: tuple[str, ...]
    is_simple: bool = False
    limit: int | None = None
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one task.

    Attributes:
        task: its name, or a group's.
        metrics: by name, as lmms-eval gives them.
        num_samples: documents judged.
        costs: by name, as `responder.Costs`; of a group those of its tasks together.
    """

    task: str
    metrics: Mapping[str, float]
    num_samples: int
    costs: Mapping[str, float]


def command_of(run: Run, out: Path) -> list[str]:
    """Return the command, which writes to `out`."""
    given = {
        "pretrained": run.model,
        "mode": run.mode,
        "device": run.device,
        "costs": str(out / _COSTS),
    }
    for name, value in given.items():
        if "," in value or "=" in value:  # lmms-eval's own notation has no way to quote them
            raise ConfigError(f"evaluate: {name}: expected no , and no = in it, got {value}")
    command = [
        *(sys.executable, "-m", "lmms_eval", "eval", "--model", "vigil"),
        *("--model_args", ",".join(f"{name}={value}" for name, value in given.items())),
        *("--tasks", ",".join(run.tasks), "--include_path", str(TASKS)),
        *("--batch_size", "1", "--output_path", str(out), "--process-docs-parallel", "1"),
    ]
    command += ["--limit", str(run.limit)] if run.limit else []
    return command + (["--force_simple"] if run.is_simple else [])


def run_lmms_eval(run: Run, *, work: Path, out: Path) -> list[Outcome]:
    """Run it, with its words going to a file beside its results.

    Args:
        run: what.
        work: the folder to run in, which local data sets lie in.
        out: gets the results; what another run left there is removed.

    Raises:
        ConfigError: it failed, whatever its status says, or gave no number for a task.
    """
    out.mkdir(parents=True, exist_ok=True)
    for old in (x for name in (_RESULTS, "*_scores.json", _COSTS) for x in [*out.rglob(name)]):
        old.unlink()
    told = out / "lmms-eval.log"
    with told.open("wb") as log:
        done = subprocess.run(  # noqa: S603 (this interpreter, and options that were checked)
            command_of(run, out), cwd=work, stdout=log, stderr=subprocess.STDOUT, check=False
        )
    found = sorted(out.rglob(_RESULTS))
    if done.returncode or not found:
        tail = told.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
        raise ConfigError(
            f"evaluate: lmms-eval ended with status {done.returncode} and "
            f"{'results' if found else 'no results'}; the end of {told}:\n" + "\n".join(tail)
        )
    costs_file = out / _COSTS
    costs = json.loads(costs_file.read_text(encoding="utf-8")) if costs_file.exists() else {}
    results = json.loads(found[-1].read_text(encoding="utf-8"))
    outcomes = outcomes_of(results, costs, wanted=run.tasks)
    return [replace(one, metrics={**parts_of(one.task, out), **one.metrics}) for one in outcomes]


def parts_of(task: str, out: Path) -> dict[str, float]:
    """Read what a task wrote of its parts; nothing where it has none."""
    found = sorted(out.rglob(_PARTS[task])) if task in _PARTS else []
    return _numbers(json.loads(found[-1].read_text(encoding="utf-8"))) if found else {}


def outcomes_of(
    document: Mapping[str, Any], costs: Mapping[str, Mapping[str, float]], *, wanted: Sequence[str]
) -> list[Outcome]:
    """Read lmms-eval's results.

    Raises:
        ConfigError: a wanted task is not among them, or has no number.
    """
    results = {**document.get("results", {}), **document.get("groups", {})}
    members: Mapping[str, list[str]] = document.get("group_subtasks", {})
    samples: Mapping[str, Mapping[str, int]] = document.get("n-samples", {})
    outcomes = []
    for task in wanted:
        mine = members.get(task) or [task]
        metrics = _numbers(results.get(task, {}))
        if not metrics:  # lmms-eval gives groups no number of their own where none is defined
            metrics = _means([_numbers(results.get(one, {})) for one in mine])
        if not metrics:
            raise ConfigError(f"evaluate: {task}: expected a number of lmms-eval, got none")
        spent = [costs[one] for one in mine if one in costs]
        outcomes.append(
            Outcome(
                task,
                metrics,
                sum(int(samples.get(one, {}).get("effective", 0)) for one in mine),
                {name: sum(one[name] for one in spent) for name in (spent[0] if spent else ())},
            )
        )
    return outcomes


def _numbers(found: Mapping[str, Any]) -> dict[str, float]:
    """Give a task's metrics by their names, without the filters' and without errors of theirs."""
    numbers: dict[str, float] = {}
    for key, value in found.items():
        name = key.partition(",")[0]
        if name in _NO_METRICS or "_stderr" in name or isinstance(value, bool):
            continue
        with suppress(TypeError, ValueError):  # some tasks write their numbers as text
            numbers.setdefault(name, float(value))
    return {name: number for name, number in numbers.items() if isfinite(number)}


def _means(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Give the mean of each metric that all of a group's tasks have."""
    if not found or not all(found):
        return {}
    names = [name for name in found[0] if all(name in one for one in found)]
    return {name: sum(one[name] for one in found) / len(found) for name in names}
