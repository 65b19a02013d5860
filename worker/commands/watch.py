"""`vigil watch` prints what workers publish, on any Redis."""

import argparse
import os
import sys
from threading import Event

from pipeline.clock import SystemClock
from worker import environment
from worker.values import seconds_of

SUMMARY = "print captions, answers, events and statuses as they come into Redis (Ctrl-C stops it)"
KINDS = ("caption", "answer", "event", "status")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--camera",
        action="append",
        default=[],
        metavar="ID",
        help="only this camera's; may be given several times (default: all cameras)",
    )
    parser.add_argument(
        "--kind",
        action="append",
        default=[],
        choices=KINDS,
        help="only messages of this kind; may be given several times (default: all kinds)",
    )
    parser.add_argument(
        "--since",
        type=seconds_of,
        default=0.0,
        metavar="TIME",
        help="begin with what came in the last TIME, such as 10m (default: with what comes now)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print each message as JSON on a line of its own, and every answer instead of those "
        "that changed",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print until Ctrl-C or SIGTERM, or until nobody reads.

    Raises:
        ConfigError: a setting is wrong.
    """
    settings = environment.load()
    from worker.printer import Printer, tell
    from worker.supervisor import stop_on_signals
    from worker.watching import watch

    stop = Event()
    stop_on_signals(stop.set)
    try:
        watch(
            settings,
            Printer(as_json=arguments.json),
            cameras=arguments.camera,
            kinds=arguments.kind,
            since_s=arguments.since,
            clock=SystemClock(),
            stop=stop,
            tell=lambda line: tell(f"vigil: {line}"),
        )
    except BrokenPipeError:  # whoever read the lines has gone, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
