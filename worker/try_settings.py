"""The settings of a worker for `vigil try`, and its refusals in the command's own words."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import ConfigError
from worker import environment
from worker.settings import Settings

CAMERA = "camera"
EVERY_S = 2.0  # between two answers to a question
_NAMES = {
    f"VIGIL_CAMERAS__{CAMERA.upper()}__URL": "SOURCE",
    "VIGIL_MODEL__PATH": "--model",
}


def settings_for(source: str, *, asks: Sequence[str], model: str) -> Settings:
    """Return the settings of a worker that tries a source; none is read from the environment.

    Raises:
        ConfigError: what was expected of the source, a question or the model.
    """
    scheme, found, _ = source.partition("://")
    is_live = bool(found) and scheme.lower() != "file"
    if not found and not Path(source).expanduser().is_file():
        raise ConfigError(
            "try: SOURCE: expected rtsp://HOST/PATH or a video file that is there, found none"
        )
    variables = {
        f"VIGIL_CAMERAS__{CAMERA.upper()}__URL": source,
        f"VIGIL_CAMERAS__{CAMERA.upper()}__LIVE": str(is_live).lower(),
        "VIGIL_MODEL__PATH": model,
        "VIGIL_EVIDENCE__KEEP": "0s",
        "VIGIL_OUTBOX__PATH": "memory",
        "VIGIL_WORKER_ID": "try",
    }
    for number, words in enumerate(asks, 1):
        question = f"VIGIL_QUESTIONS__Q{number}__"
        variables |= {f"{question}ASK": words, f"{question}EVERY": f"{EVERY_S:g}s"}
        variables |= {f"{question}EVENTS": "false"}
    try:
        return environment.load(variables)
    except ConfigError as error:
        raise in_our_words(error) from None


def in_our_words(error: ConfigError) -> ConfigError:
    """Name the command's option where a refusal names the setting behind it."""
    lines = []
    for line in str(error).splitlines():
        name, found, words = line.partition(": ")
        name = "--ask" if name.startswith("VIGIL_QUESTIONS__") else _NAMES.get(name, name)
        lines.append(f"try: {name}{found}{words}")
    return ConfigError("\n".join(lines))
