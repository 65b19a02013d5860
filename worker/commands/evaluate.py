"""`vigil eval` measures how often a model's answers are right: as a table, or as JSON."""

import argparse

SUMMARY = (
    "measure how often a model's answers are right, on rendered scenes that it was not trained on"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "folder", metavar="DIR", help="the model's folder, or nano for the bundled model"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document instead of a table"
    )
    parser.add_argument(
        "--clips", type=int, default=500, help="number of clips shown to the model (default 500)"
    )
    parser.add_argument(
        "--first-seed",
        type=int,
        default=10_000_000,
        help="seed of the first scene (default 10000000); do not go lower: the model may have been "
        "trained on scenes with smaller seeds",
    )
    parser.add_argument(
        "--through",
        choices=["model", "worker", "all"],
        default="all",
        help="model: measure the model alone; worker: the whole worker (H.264, pruning, Redis); "
        "all: both (default)",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=30.0,
        help="minutes of scenes played to the whole worker (default 30)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; progress goes to standard error. Return 1 when a target is missed."""
    from worker.benchmarks.report import print_rows, say
    from worker.evaluation.measure import measure

    rows = measure(
        arguments.folder,
        num_clips=arguments.clips,
        first_seed=arguments.first_seed,
        through=arguments.through,
        minutes=arguments.minutes,
        progress=say,
    )
    return print_rows(rows, what="eval", command=arguments.command_line, as_json=arguments.json)
