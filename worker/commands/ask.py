"""`vigil ask` asks about a camera once, whichever worker has it."""

import argparse

from pipeline.clock import SystemClock
from pipeline.errors import ConfigError
from worker import environment
from worker.values import seconds_of

SUMMARY = (
    "ask a running worker about a camera once; exit status 0: answered, 1: no answer in time, "
    "2: refused, 3: the answer is unknown"
)
MAX_WAIT_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "question", nargs="?", default="", metavar="QUESTION", help="the question, in plain words"
    )
    parser.add_argument(
        "--camera", default="", metavar="ID", help="the camera; may be left out where there is one"
    )
    parser.add_argument(
        "--kind", default="yes_no", help="yes_no (default), choice, count, when or text"
    )
    parser.add_argument(
        "--options", default="", metavar="A,B", help="for kind choice: the possible answers"
    )
    parser.add_argument(
        "--wait", type=seconds_of, default=10.0, metavar="TIME", help="for an answer (default 10s)"
    )
    parser.add_argument(
        "--test-event",
        metavar="CAMERA",
        help="instead of a question: have the camera's worker publish an event, marked test, and "
        "wait until its start and end have arrived",
    )
    parser.add_argument("--json", action="store_true", help="print what is replied as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Ask, print, and return what came of it.

    Raises:
        ConfigError: a setting is wrong, or there is no question, or one and a test event too.
    """
    if bool(arguments.question) == bool(arguments.test_event):
        raise ConfigError("ask: expected a question, or --test-event CAMERA instead of one")
    if arguments.wait > MAX_WAIT_S:
        raise ConfigError(f"ask: --wait: expected at most {MAX_WAIT_S:g} s")
    settings = environment.load()
    from worker.asking import Desk

    desk = Desk(settings, as_json=arguments.json, wait_s=arguments.wait, clock=SystemClock())
    if arguments.test_event:
        return desk.test_event(arguments.test_event)
    options = [word.strip() for word in arguments.options.split(",") if word.strip()]
    return desk.ask(arguments.camera, arguments.question, kind=arguments.kind, options=options)
