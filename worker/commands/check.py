"""`vigil check` prints the effective settings, redacted."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from pipeline.clock import SystemClock
from pipeline.errors import ConfigError
from pipeline.redact import MASK, redact
from worker import environment
from worker.benchmarks.report import say
from worker.reference import example_env, written
from worker.settings import Settings

if TYPE_CHECKING:
    from model import Engine

SUMMARY = (
    "print the settings in effect with passwords hidden, and say whether they are valid; "
    "connects to no camera, Redis or Kafka"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
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
    """Print every setting as it is in effect; load the model too if asked, and try it on a clip.

    Raises:
        ConfigError: a setting is wrong, there is nothing to watch, no model is named, a question
            cannot be put to it, or the clip is none.
        CheckpointError: the model's folder is not usable.
    """
    if arguments.example:
        print(example_env(), end="")  # noqa: T201 (this command's output)
        return 0
    clip: Path | None = arguments.clip
    if (clip or arguments.json) and not (clip and arguments.model):
        raise ConfigError("check: expected --model and --clip VIDEO together, --json with both")
    settings = environment.load_for_worker(needs_cameras=clip is None)
    if not arguments.json:
        _say_settings(settings)
    if clip is not None:
        return _try_on(clip, settings, arguments)
    if arguments.model:
        _load(settings, _say)
    cameras, questions = len(settings.cameras), len(settings.questions)
    _say(
        f"# {cameras} camera(s), {questions} question(s): the settings are valid; "
        "nothing was connected to"
    )
    return 0


def _say_settings(settings: Settings) -> None:
    secrets = environment.secrets_of(settings)
    for variable, value, field in environment.variables(settings):
        _say(f"{variable}={redact(_shown(value, field), *secrets)}")
    for note in settings.notes():
        _say(f"# {note}")


def _load(settings: Settings, told: Callable[[str], None]) -> "Engine":
    """Load the model as a worker would, try the questions on it, and say what it is."""
    from model.progress import Telling
    from worker.loading import try_questions
    from worker.wiring import load_engine  # torch takes seconds to load

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


def _shown(value: object, field: FieldInfo) -> str:
    """Return a value as it would be written; of a secret that is no address, a mask."""
    text = written(value, field)
    return MASK if isinstance(value, SecretStr) and text and "/" not in text else text


def _say(line: str) -> None:
    print(line)  # noqa: T201 (this command's output)
