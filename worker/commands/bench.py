"""`vigil bench` measures what an operator needs to size a machine."""

import argparse

from pipeline.errors import ConfigError

SUMMARY = "measure how many cameras this machine can serve, or what it costs to read one camera"
CAMERAS = "find how many cameras one worker can serve on this machine"
INGEST = "measure the processor time and memory that reading one camera takes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be measured, each with its options."""
    what = parser.add_subparsers(required=True, dest="what")
    cameras = what.add_parser("cameras", help=CAMERAS, description=CAMERAS)
    cameras.add_argument(
        "--subject",
        choices=["bundled", "2b", "7b"],
        default=None,
        help="measure only this model (default: all three): the bundled one, or one of the size of "
        "VideoLLaMA3-2B or -7B with random weights, which needs CUDA",
    )
    cameras.add_argument(
        "--cameras",
        type=int,
        default=None,
        help="try only this number of cameras (default: search for the largest that works)",
    )
    cameras.add_argument(
        "--seconds", type=float, default=60.0, help="length of each trial (default 60)"
    )
    cameras.add_argument(
        "--fp8", action="store_true", help="keep weights and contexts of 2b and 7b in 8 bits"
    )
    cameras.add_argument(
        "--decode",
        type=int,
        choices=[1, 10],
        default=None,
        help="let each camera decode a 1920x1080 H.264 video meanwhile, with a key frame every 1 "
        "or 10 seconds: on the GPU's decoder where there is one (default: nothing is decoded)",
    )
    ingest = what.add_parser("ingest", help=INGEST, description=INGEST)
    for each in (cameras, ingest):
        each.add_argument(
            "--json", action="store_true", help="print one JSON document instead of a table"
        )


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; progress goes to standard error. Return 1 when a target is missed.

    Raises:
        ConfigError: what draws the measured cameras is not installed.
    """
    try:
        from worker.benchmarks import cameras, ingest
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"bench: expected the extra `bench` to be installed, found no {error.name}: "
            "pip install opencv-python-headless"
        ) from None
    from worker.benchmarks.report import print_rows, say

    if arguments.what == "ingest":
        rows = ingest.measure(say)
    else:
        rows = cameras.measure(
            say,
            subject=arguments.subject,
            cameras=arguments.cameras,
            seconds=arguments.seconds,
            in_fp8=arguments.fp8,
            decode=arguments.decode,
        )
    return print_rows(
        rows, what=arguments.what, command=arguments.command_line, as_json=arguments.json
    )
