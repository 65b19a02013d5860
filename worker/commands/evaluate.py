"""`vigil eval` measures how often a model's answers are right: as a table, or as JSON."""

import argparse
from pathlib import Path

from pipeline.errors import ConfigError

SUMMARY = (
    "measure how often a model's answers are right: on your own labelled videos, or on rendered "
    "scenes that it was not trained on"
)
LONG = "also show clips of a minute, half of them busy, and ask what is still known (default 0)"
FP8 = "also show clips with products and keys rounded to 8 bits, and compare answers (default 0)"
_OWN = ("labels", "camera", "began", "ask", "compare", "html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "folder",
        metavar="MODEL",
        help="the model's folder, its name on Hugging Face, or nano for the bundled model",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document instead of a table"
    )
    own = parser.add_argument_group("on your own videos, by the settings in effect")
    own.add_argument(
        "--video", type=Path, metavar="PATH", help="a recording of your camera, or a folder of them"
    )
    own.add_argument(
        "--labels",
        type=Path,
        metavar="PATH",
        help="what is right, CSV or JSON, or a folder of such files: camera,question,start,end,"
        "value; times in seconds or RFC 3339",
    )
    own.add_argument(
        "--camera", default="", metavar="ID", help="the camera of the videos (default: by name)"
    )
    own.add_argument(
        "--began",
        default="",
        metavar="TIME",
        help="when the video began, such as 2026-05-01T08:00:00Z, for labels with times of day",
    )
    own.add_argument(
        "--ask",
        action="append",
        default=[],
        metavar="WORDS",
        help="also try this wording; QUESTION=WORDS where several questions have labels; repeat it",
    )
    own.add_argument(
        "--compare",
        default="",
        metavar="WAYS",
        help="what other ways give and cost: some of reference,balanced,fast,last4",
    )
    own.add_argument(
        "--html", type=Path, metavar="FILE", help="also write a page with curves and pictures"
    )
    rendered = parser.add_argument_group("on rendered scenes")
    rendered.add_argument(
        "--clips", type=int, default=500, help="number of clips shown to the model (default 500)"
    )
    rendered.add_argument("--long", type=int, default=0, metavar="CLIPS", help=LONG)
    rendered.add_argument("--fp8", type=int, default=0, metavar="CLIPS", help=FP8)
    rendered.add_argument(
        "--first-seed",
        type=int,
        default=10_000_000,
        help="seed of the first scene (default 10000000); do not go lower: the model may have been "
        "trained on scenes with smaller seeds",
    )
    rendered.add_argument(
        "--through",
        choices=["model", "worker", "all"],
        default="all",
        help="model: measure the model alone; worker: the whole worker (H.264, pruning, Redis); "
        "all: both (default)",
    )
    rendered.add_argument(
        "--minutes", type=float, default=30.0, help="minutes for the whole worker (default 30)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; progress goes to standard error. Return 1 when a target is missed.

    Raises:
        ConfigError: an option is wrong or lacks another.
    """
    from worker.benchmarks.report import print_rows, say

    if arguments.video is not None and arguments.labels is not None:
        from worker.evaluation.labelled.command import evaluate

        return evaluate(arguments, progress=say)
    if arguments.video is not None or any(getattr(arguments, name) for name in _OWN):
        raise ConfigError("eval: expected --video and --labels together, other options with both")
    from worker.evaluation.measure import measure

    rows = measure(
        arguments.folder,
        num_clips=arguments.clips,
        first_seed=arguments.first_seed,
        through=arguments.through,
        minutes=arguments.minutes,
        progress=say,
        num_long=arguments.long,
        num_fp8=arguments.fp8,
    )
    return print_rows(rows, what="eval", command=arguments.command_line, as_json=arguments.json)
