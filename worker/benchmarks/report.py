"""A measurement's figures, as a table for people or as one JSON document."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

import worker

Progress = Callable[[str], None]


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


def print_rows(rows: Sequence[Row], *, what: str, command: str, as_json: bool) -> int:
    """Print a measurement. Return 1 when a target is missed, else 0.

    Args:
        rows: the figures.
        what: the measurement's name.
        command: what was typed to have it.
        as_json: one JSON document instead of a table.
    """
    text = as_document(rows, what=what, command=command) if as_json else as_table(rows)
    print(text)  # noqa: T201 (the output of whoever measures)
    return int(any(row.holds is False for row in rows))


def as_document(
    rows: Sequence[Row], *, what: str, command: str, said: Mapping[str, object] | None = None
) -> str:
    """Write the rows as JSON, with where they come from and what else is to be said."""
    document = {
        "bench": what,
        "commit": commit(),
        "command": command,
        "machine": machine(),
        "rows": [asdict(row) for row in rows],
        **(said or {}),
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


def version() -> str:
    """Return the installed version; `unknown` where only the files are there."""
    try:
        return metadata.version("vigil")
    except metadata.PackageNotFoundError:
        return "unknown"


def commit() -> str:
    """Name the checked-out commit, with a + when files differ from it; `unknown` when installed."""
    checkout = Path(worker.__file__).resolve().parents[1]
    if not (checkout / ".git").exists():  # installed, perhaps within a checkout of something else
        return "unknown"
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def say(words: str) -> None:
    """Tell of progress, on standard error."""
    print(words, file=sys.stderr, flush=True)  # noqa: T201 (progress)


def _figure(value: float) -> str:
    return f"{value:.4g}"
