"""`vigil check` prints the effective settings, redacted, and tries what a worker would meet."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.clock import SystemClock
from pipeline.errors import ConfigError
from worker import environment
from worker.benchmarks.report import say
from worker.reference import effective, example_env
from worker.settings import Settings

if TYPE_CHECKING:
    from model import Engine

SUMMARY = (
    "print the settings in effect with passwords hidden, say what vigil run would refuse, and try "
    "cameras, Redis, Kafka and the model"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--connect",
        action=argparse.BooleanOptionalAction,
        help="try each camera, Redis, Kafka and the model, and exit 1 where one cannot be used "
        "(default: on a terminal)",
    )
    parser.add_argument(
        "--model", action="store_true", help="also load the model and try the questions on it"
    )
    parser.add_argument(
        "--clip",
        type=Path,
        metavar="VIDEO",
        help="with --model: a recording of your camera; compare the answers by the settings in "
        "effect with those by VIGIL_FIDELITY=reference, and exit 1 where they cannot be believed",
    )
    parser.add_argument("--json", action="store_true", help="with --clip: print one JSON document")
    parser.add_argument(
        "--example",
        action="store_true",
        help="print a settings file to copy: every setting at its default, whatever is set now",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print every setting as it is in effect; then try what a worker would meet.

    Raises:
        ConfigError: a setting is wrong, there is nothing to watch, no model is named, or the clip
            is none.
        CheckpointError: the model's folder is not usable.
    """
    if arguments.example:
        print(example_env(), end="")  # noqa: T201 (this command's output)
        return 0
    clip: Path | None = arguments.clip
    if (clip or arguments.json) and not (clip and arguments.model):
        raise ConfigError("check: expected --model and --clip VIDEO together, --json with both")
    settings = environment.load_for_worker(needs_cameras=clip is None)
    for line in () if arguments.json else effective(settings):
        _say(line)
    return _try_on(clip, settings, arguments) if clip else _judge(settings, arguments)


def _judge(settings: Settings, arguments: argparse.Namespace) -> int:
    from worker.refusals import judged  # torch takes seconds to load
    from worker.trials.every import try_all

    clock = SystemClock()
    start = judged(settings, clock=clock)
    for line in start.refused:
        say(f"vigil: {line}")
    if arguments.model and not start.refused:
        _load(settings, _say)
    connects = sys.stdout.isatty() if arguments.connect is None else arguments.connect
    is_usable = not connects or try_all(settings, model=start.model, clock=clock, say=_say)
    _say(
        f"# {len(settings.cameras)} camera(s), {len(settings.questions)} question(s): the settings "
        f"are {'refused' if start.refused else 'valid'}; "
        f"{'all was tried' if connects else 'nothing was connected to'}"
    )
    return 2 if start.refused else int(not is_usable)


def _load(settings: Settings, told: Callable[[str], None]) -> "Engine":
    """Load the model as a worker would, try the questions on it, and say what it is."""
    from model.progress import Telling
    from worker.loading import load_engine, try_questions

    engine = load_engine(settings, tell=Telling(say, now_s=SystemClock().monotonic_s))
    try_questions(engine, settings)
    demo = ", a demo model: it knows only its rendered world" if engine.is_demo_model else ""
    told(f"# model {engine.model_name}{demo}, attention: {engine.stats.attention_backend}")
    return engine


def _try_on(clip: Path, settings: Settings, arguments: argparse.Namespace) -> int:
    from worker.evaluation.self_check.measure import check, moments_of

    num_moments = moments_of(clip, settings)  # before the model, which takes long
    engine = _load(settings, say if arguments.json else _say)
    found = check(engine, settings, clip, num_moments=num_moments, progress=say)
    _say(found.text(command=arguments.command_line, as_json=arguments.json))
    return found.status


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 (this command's output)
