"""The `vigil` command. Exit status: 0 done, 1 failed, 2 refused (settings, model folder, usage)."""

import argparse
import io
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module

from model.errors import CheckpointError, DataError, InputError
from pipeline.errors import ConfigError, OutboxError
from worker import environment
from worker.benchmarks import report

REFUSED = 2
ENV_FILE = (
    "read settings from this file, written as Docker Compose takes an env_file; a variable that is "
    "set in the environment wins over it"
)
COMMANDS = {
    "run": "worker.commands.run",
    "check": "worker.commands.check",
    "ingest": "worker.commands.ingest",
    "console": "worker.commands.console",
    "try": "worker.commands.try_source",
    "watch": "worker.commands.watch",
    "ask": "worker.commands.ask",
    "erase": "worker.commands.erase",
    "demo": "worker.commands.demo",
    "healthcheck": "worker.commands.healthcheck",
    "inspect": "worker.commands.inspect",
    "eval": "worker.commands.evaluate",
    "train": "worker.commands.train",
    "curate": "worker.commands.curate",
    "bench": "worker.commands.bench",
}
"""A command's name -> its module, which has `SUMMARY`, `add_arguments` and `run`.

Such a module imports what is slow (torch) inside `run`: a health check takes no seconds.
"""
WITHOUT_SETTINGS = ("try", "curate", "bench", "demo")
"""The commands that read no settings; the others take `--env FILE`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(words)
    arguments.command_line = shlex.join(["vigil", *words])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # whatever the locale, no text must end us
            stream.reconfigure(errors="backslashreplace")
    try:
        if (file := getattr(arguments, "env", None)) is not None:
            for name in environment.use_file(file):
                _say(f"{name}: the environment's value is taken, not the other one in {file}")
        environment.tidy_for_others()
        status: int = arguments.run(arguments)
    except (ConfigError, CheckpointError, DataError, InputError, OutboxError) as error:
        for line in str(error).splitlines():
            _say(line)
        return REFUSED
    return status


def _say(line: str) -> None:
    print(f"vigil: {line}", file=sys.stderr)  # noqa: T201 (the lines that say why)


def parser() -> argparse.ArgumentParser:
    """Gather the options of all commands."""
    gathered = argparse.ArgumentParser(
        prog="vigil",
        description="Watch cameras with VideoLLaMA3. Publish captions, answers to standing "
        "questions, and events on Redis. Settings come from environment variables that begin with "
        "VIGIL_: see deploy/SETTINGS.md, or run vigil check --example.",
    )
    gathered.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = gathered.add_subparsers(required=True, metavar="COMMAND")
    for name, place in COMMANDS.items():
        module = import_module(place)
        command = commands.add_parser(name, help=module.SUMMARY, description=module.SUMMARY)
        if name not in WITHOUT_SETTINGS:
            command.add_argument("--env", metavar="FILE", help=ENV_FILE)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return gathered


class _Version(argparse.Action):
    """Print the version: asking git for the commit waits until it is wanted."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"vigil {report.version()}, commit {report.commit()}")  # noqa: T201 (what was asked)
        parser.exit()


if __name__ == "__main__":
    raise SystemExit(main())
