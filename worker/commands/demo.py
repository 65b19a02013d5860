"""`vigil demo` shows the worker at its main job on this machine, with nothing configured."""

import argparse

SUMMARY = (
    "play a rendered camera scene to a worker on this machine and print the worker's messages; "
    "needs no settings"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--seconds",
        type=float,
        default=None,
        help="stop this many seconds after the first message (default: run until Ctrl-C)",
    )
    parser.add_argument(
        "--video", default=None, metavar="FILE", help="play this file instead of the bundled scene"
    )


def run(arguments: argparse.Namespace) -> int:
    """Show the demo; see `worker.demo.show`."""
    from worker.demo.show import demo

    return demo(seconds=arguments.seconds, video=arguments.video)
