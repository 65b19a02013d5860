"""The `vigil` command. Exit status: 0 done, 1 failed, 2 refused (settings, model folder, usage)."""

import argparse
import sys
from collections.abc import Callable, Sequence

from model.errors import CheckpointError, InputError
from pipeline.errors import ConfigError, OutboxError

REFUSED = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the process's exit status."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.command(arguments)
    except (ConfigError, CheckpointError, InputError, OutboxError) as error:
        print(f"vigil: {error}", file=sys.stderr)  # noqa: T201 (the one line that says why)
        return REFUSED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vigil",
        description="Watch cameras with VideoLLaMA3: captions and standing answers on Redis. "
        "Settings come from VIGIL_ environment variables.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, summary: str, run: Callable[[argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(command=run)
        return command

    add("run", "watch the configured cameras until told to stop", _run)
    check = add(
        "check", "print the effective settings, redacted, and say whether they work", _check
    )
    check.add_argument("--model", action="store_true", help="load the model too")
    check.add_argument("--example", action="store_true", help="print every setting's default")
    demo = add("demo", "show the whole way of a frame on this machine, nothing configured", _demo)
    demo.add_argument("--seconds", type=float, default=None, help="stop after so long")
    demo.add_argument("--video", default=None, help="play this file instead of the bundled scene")
    add("healthcheck", "ask a running worker whether it is alive (for containers)", _healthcheck)
    bench = add("bench", "measure", _bench)
    bench.add_argument(
        "what",
        choices=["cameras", "context", "encode", "ingest", "prune", "questions"],
        help="what to measure",
    )
    bench.add_argument("--json", action="store_true", help="print one JSON document")
    bench.add_argument("--plot", default=None, metavar="PATH", help="prune: draw a picture too")
    inspect = add("inspect", "show what the pruner sends of a video, as a video", _inspect)
    inspect.add_argument("video", metavar="VIDEO", help="the file to look at")
    inspect.add_argument("--out", required=True, metavar="FILE", help="the .mp4 to write")
    inspect.add_argument(
        "--mode", choices=["adaptive", "last_seen", "paper"], default=None, help="of the pruner"
    )
    inspect.add_argument("--fps", type=float, default=1.0, help="frames sampled per second")
    return parser


# Each command is imported when it is asked for: torch takes seconds, a health check must not.


def _run(_arguments: argparse.Namespace) -> int:
    from worker.commands.run import run

    return run()


def _check(arguments: argparse.Namespace) -> int:
    from worker.commands.check import check

    return check(with_model=arguments.model, as_example=arguments.example)


def _demo(arguments: argparse.Namespace) -> int:
    from worker.commands.demo import demo

    return demo(seconds=arguments.seconds, video=arguments.video)


def _healthcheck(_arguments: argparse.Namespace) -> int:
    from worker.commands.healthcheck import healthcheck

    return healthcheck()


def _bench(arguments: argparse.Namespace) -> int:
    from worker.commands.bench import bench

    return bench(arguments.what, as_json=arguments.json, plot=arguments.plot)


def _inspect(arguments: argparse.Namespace) -> int:
    from worker.commands.inspect import inspect

    return inspect(arguments.video, arguments.out, mode=arguments.mode, fps=arguments.fps)


if __name__ == "__main__":
    raise SystemExit(main())
