"""`vigil bench`: what an operator measures to size a machine."""

import argparse

SUMMARY = "measure how many cameras this machine can serve, or what reading one costs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be measured, each with its options."""
    what = parser.add_subparsers(required=True, dest="what")
    cameras = what.add_parser("cameras", help="how many cameras one worker serves here")
    cameras.add_argument(
        "--subject",
        choices=["bundled", "2b", "7b"],
        default=None,
        help="measure this model alone: the bundled one, or the shape of VideoLLaMA3-2B or -7B",
    )
    cameras.add_argument(
        "--cameras",
        type=int,
        default=None,
        help="try this number of cameras and do not search for the largest",
    )
    cameras.add_argument(
        "--seconds", type=float, default=60.0, help="length of each trial (default 60)"
    )
    ingest = what.add_parser("ingest", help="processor time and memory of reading one camera")
    for each in (cameras, ingest):
        each.add_argument("--json", action="store_true", help="print one JSON document, no table")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; progress goes to standard error. Return 1 when a target is missed."""
    from worker.benchmarks import cameras, ingest
    from worker.report import print_rows, say

    if arguments.what == "ingest":
        rows = ingest.measure(say)
    else:
        rows = cameras.measure(
            say,
            subject=arguments.subject,
            cameras=arguments.cameras,
            seconds=arguments.seconds,
        )
    return print_rows(
        rows, what=arguments.what, command=arguments.command_line, as_json=arguments.json
    )
