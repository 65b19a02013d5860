"""`python -m tests.benchmarks NAME`: one measurement, as a table or as one JSON document."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from worker.benchmarks.report import print_rows, say

MEASUREMENTS = {
    "console": ("tests.benchmarks.console", "searches and pages over 200,000 messages of history"),
    "context": ("tests.benchmarks.context", "growing a context over prefilling it anew"),
    "damage": ("tests.benchmarks.damage", "pictures of cameras that lose packets"),
    "decode": ("tests.benchmarks.decode", "decoding over what the device's memory allows"),
    "encode": ("tests.benchmarks.encode", "encoding the changed patches over whole frames"),
    "in_pages": ("tests.benchmarks.in_pages", "contexts read in their pages over copies of them"),
    "labels": ("tests.benchmarks.labels", "eval by labels over eval by the truth, suggestions"),
    "lag": ("tests.benchmarks.lag", "ages of a halted worker's pictures, true and told"),
    "own_camera": ("tests.benchmarks.own_camera", "answers before and after training on labels"),
    "prune": ("tests.benchmarks.pruning.measure", "what the pruner sends, and how true that is"),
    "questions": ("tests.benchmarks.questions", "five questions over one"),
    "scaling": ("tests.benchmarks.scaling", "what 100, 1,000 and 100,000 cameras need"),
    "watched": ("tests.benchmarks.watched", "what people who watch cost a worker of 16 cameras"),
}
"""A name -> the module whose `measure(progress, **options)` returns rows, and what it measures."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; progress goes to standard error. Return 1 when a target is missed."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(words)
    what = arguments.what
    options = {name: getattr(arguments, name) for name in ("videos", "only") if what == "prune"}
    rows = import_module(MEASUREMENTS[what][0]).measure(say, **options)
    command = shlex.join(["python", "-m", "tests.benchmarks", *words])
    status = print_rows(rows, what=what, command=command, as_json=arguments.json)
    if what == "prune" and arguments.plot is not None:
        from tests.benchmarks.pruning.plot import plot

        plot(arguments.plot, say, videos=arguments.videos)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    named = parser.add_subparsers(required=True, metavar="NAME", dest="what")
    for name, (_, summary) in MEASUREMENTS.items():
        measurement = named.add_parser(name, help=summary, description=summary)
        measurement.add_argument("--json", action="store_true", help="print one JSON document")
        if name == "prune":
            measurement.add_argument(
                "--plot", type=_picture, metavar="PATH", help="draw the curves into this .png too"
            )
            measurement.add_argument(
                "--videos", type=_folder, metavar="FOLDER", help="where the real clips are"
            )
            measurement.add_argument(
                "--only",
                nargs="+",
                default=(),
                metavar="WORD",
                help="measure only what has one of these words in its name",
            )
    return parser


def _picture(text: str) -> Path:
    if Path(text).suffix != ".png":
        raise argparse.ArgumentTypeError(f"expected a file name ending in .png, got {text}")
    return Path(text)


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"expected a folder, found none at {text}")
    return Path(text)


if __name__ == "__main__":
    raise SystemExit(main())
