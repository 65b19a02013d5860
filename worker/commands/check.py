"""`vigil check` prints the effective settings, redacted."""

import argparse

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from pipeline.clock import SystemClock
from pipeline.redact import MASK, redact
from worker import environment
from worker.benchmarks.report import say
from worker.reference import example_env, written

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
        "--example",
        action="store_true",
        help="print a settings file to copy: every setting at its default, whatever is set now",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print every setting as it is in effect; load the model too if asked.

    Raises:
        ConfigError: a setting is wrong, there is nothing to watch, no model is named, or a
            question cannot be put to it.
        CheckpointError: the model's folder is not usable.
    """
    if arguments.example:
        print(example_env(), end="")  # noqa: T201 (this command's output)
        return 0
    settings = environment.load_for_worker()
    secrets = environment.secrets_of(settings)
    for variable, value, field in environment.variables(settings):
        _say(f"{variable}={redact(_shown(value, field), *secrets)}")
    if note := settings.window_note():
        _say(f"# {note}")
    if arguments.model:
        from model.progress import Telling
        from worker.loading import try_questions
        from worker.wiring import load_engine  # torch takes seconds to load

        engine = load_engine(settings, tell=Telling(say, now_s=SystemClock().monotonic_s))
        try_questions(engine, settings)
        demo = ", a demo model: it knows only its rendered world" if engine.is_demo_model else ""
        _say(f"# model {engine.model_name}{demo}, attention: {engine.stats.attention_backend}")
    cameras, questions = len(settings.cameras), len(settings.questions)
    _say(
        f"# {cameras} camera(s), {questions} question(s): the settings are valid; "
        "nothing was connected to"
    )
    return 0


def _shown(value: object, field: FieldInfo) -> str:
    """Return a value as it would be written; of a secret that is no address, a mask."""
    text = written(value, field)
    return MASK if isinstance(value, SecretStr) and text and "/" not in text else text


def _say(line: str) -> None:
    print(line)  # noqa: T201 (this command's output)
