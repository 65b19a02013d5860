"""`vigil check`: the effective settings, redacted."""

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from pipeline.redact import MASK, redact
from worker import environment
from worker.reference import example_env, written


def check(*, with_model: bool, as_example: bool) -> int:
    """Print every setting as it is in effect; load the model too if asked.

    Args:
        with_model: load the model, which proves its folder and the device.
        as_example: print a settings file of the defaults instead, whatever is set.

    Raises:
        ConfigError: a setting is wrong.
        CheckpointError: the model's folder is not usable.
    """
    if as_example:
        print(example_env(), end="")  # noqa: T201 (this command's output)
        return 0
    settings = environment.load()
    secrets = environment.secrets_of(settings)
    for variable, value, field in environment.variables(settings):
        _say(f"{variable}={redact(_shown(value, field), *secrets)}")
    if with_model:
        from worker.wiring import load_engine  # torch takes seconds to load

        engine = load_engine(settings)
        _say(f"# model {engine.model_name}, attention: {engine.stats.attention_backend}")
    cameras, questions = len(settings.cameras), len(settings.questions)
    _say(f"# {cameras} camera(s), {questions} question(s): the settings are fine")
    return 0


def _shown(value: object, field: FieldInfo) -> str:
    """Return a value as it would be written; of a secret that is no address, a mask."""
    text = written(value, field)
    return MASK if isinstance(value, SecretStr) and text and "/" not in text else text


def _say(line: str) -> None:
    print(line)  # noqa: T201 (this command's output)
