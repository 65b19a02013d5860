"""`vigil bench`: one measurement, as a table for people or as one JSON document."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path

from pipeline.errors import ConfigError

Progress = Callable[[str], None]

MEASUREMENTS = {
    "cameras": "worker.benchmarks.cameras",
    "context": "tests.benchmarks.context",
    "decode": "tests.benchmarks.decode",
    "encode": "tests.benchmarks.encode",
    "ingest": "worker.benchmarks.ingest",
    "prune": "tests.benchmarks.pruning.measure",
    "questions": "tests.benchmarks.questions",
}
"""What can be measured -> the module whose `measure(progress) -> list[Row]` does it."""

OPTIONS = {"cameras": ("subject", "cameras", "seconds")}
"""What can be measured -> further arguments of its `measure`, by name."""

PLOTS = {"prune": "tests.benchmarks.pruning.plot"}
"""What can be drawn -> the module whose `plot(path, progress)` does it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        name: what was measured, in snake case.
        value: the figure; None where there is none, and `unit` says why.
        unit: of the figure; `ratio` for one without.
        target: what is aimed at, or None.
        holds: whether the target is met; None where there is none.
        terms: of a ratio, both terms with their units in their names; else what the figure was
            made of.
    """

    name: str
    value: float | None
    unit: str
    target: float | None = None
    holds: bool | None = None
    terms: Mapping[str, float] = field(default_factory=dict)


def at_least(
    name: str,
    value: float,
    target: float,
    *,
    unit: str = "ratio",
    terms: Mapping[str, float] | None = None,
) -> Row:
    """Return a figure that is to reach a target."""
    return Row(name, value, unit, target, value >= target, terms or {})


def at_most(
    name: str,
    value: float,
    target: float,
    *,
    unit: str = "ratio",
    terms: Mapping[str, float] | None = None,
) -> Row:
    """Return a figure that is not to pass a target."""
    return Row(name, value, unit, target, value <= target, terms or {})


def bench(
    what: str,
    *,
    as_json: bool,
    plot: str | None = None,
    options: Mapping[str, str | float | None] | None = None,
) -> int:
    """Measure and print; progress goes to standard error. Return 1 when a target is missed.

    Args:
        what: a key of `MEASUREMENTS`.
        as_json: one JSON document instead of a table.
        plot: a .png to draw too, for what has a picture.
        options: as `OPTIONS` has them; None where one is not given.

    Raises:
        ConfigError: nothing of that name can be measured, or drawn, or has such an option.
    """
    given = {name: value for name, value in (options or {}).items() if value is not None}
    if what not in MEASUREMENTS:
        raise ConfigError(f"bench: expected one of {', '.join(MEASUREMENTS)}, got {what!r}")
    if plot is not None and what not in PLOTS:
        raise ConfigError(f"bench: --plot: expected one of {', '.join(PLOTS)}, got {what!r}")
    if plot is not None and Path(plot).suffix != ".png":
        raise ConfigError(f"bench: --plot: expected a file name ending in .png, got {plot}")
    for name in given:
        if name not in OPTIONS.get(what, ()):
            raise ConfigError(f"bench {what}: expected no --{name}")
    measure: Callable[..., list[Row]] = import_module(MEASUREMENTS[what]).measure
    rows = measure(_say, **given)
    text = as_document(what, rows, given) if as_json else as_table(rows)
    print(text)  # noqa: T201 (this command's output)
    if plot is not None:
        import_module(PLOTS[what]).plot(Path(plot), _say)
    return int(any(row.holds is False for row in rows))


def as_document(
    what: str, rows: Sequence[Row], options: Mapping[str, str | float] | None = None
) -> str:
    """Write the rows as JSON, with where they come from."""
    told = "".join(f" --{name} {value}" for name, value in (options or {}).items())
    document = {
        "bench": what,
        "commit": commit(),
        "command": f"vigil bench {what}{told} --json",
        "machine": machine(),
        "rows": [asdict(row) for row in rows],
    }
    return json.dumps(document, indent=2)


def as_table(rows: Sequence[Row]) -> str:
    """Write the rows for people, the machine above them."""
    head = ("what", "value", "unit", "target", "holds", "of")
    cells = [head] + [
        (
            row.name,
            "" if row.value is None else _figure(row.value),
            row.unit,
            "" if row.target is None else _figure(row.target),
            {None: "", True: "yes", False: "NO"}[row.holds],
            ", ".join(f"{name} {_figure(value)}" for name, value in row.terms.items()),
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    return "\n".join([f"{machine()}, commit {commit()}", "", *lines])


def machine() -> str:
    """Describe the machine in words."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [
            line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = models[0].partition(":")[2].strip() if models else cpu
    return f"{cpu}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def commit() -> str:
    """Name the checked-out commit, with a + when files differ from it; `unknown` when installed."""
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)  # noqa: T201 (progress)


def _figure(value: float) -> str:
    return f"{value:.4g}"
