"""The settings as text: the example file an operator copies, and the table of all settings."""

from collections.abc import Iterator
from textwrap import fill

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from pipeline.redact import MASK, redact
from worker import environment
from worker.notation import choices, written
from worker.settings import Settings

_EXAMPLES = {"CAMERAS": "GATE", "QUESTIONS": "FIRE"}
_VALUES = {
    "VIGIL_CAMERAS__GATE__URL": "rtsp://user:password@10.0.0.5/stream",
    "VIGIL_QUESTIONS__FIRE__ASK": "Is there fire or smoke?",
    "VIGIL_MODEL__PATH": "DAMO-NLP-SG/VideoLLaMA3-2B",
}
_HEAD = """\
# Every setting of the worker, at its default. Copy this file, remove the # where you want another
# value, and name the copy in VIGIL_ENV when you start Docker Compose. Durations: 250ms, 30s, 5m,
# 1h. A value with a # after a blank, with a $, or that begins with a quote stands in single quotes:
# NAME='Is door #3 open?'. You choose the ids of your cameras and questions: GATE and FIRE below are
# examples. A camera's URL, VIGIL_REDIS__URL, VIGIL_KAFKA__SASL_PASSWORD and VIGIL_CONSOLE__TOKEN
# may come from a file: append _FILE to the name, VIGIL_REDIS__URL_FILE=/run/secrets/redis_url.
# `vigil check` prints the settings in effect.


"""


def example_env() -> str:
    """Return deploy/worker.env.example."""
    lines = [_HEAD]
    for group, members in grouped():
        lines.append(f"\n# -- {group}\n" if group else "")
        for name, default, description in members:
            lines.append(
                fill(
                    description,
                    100,
                    initial_indent="# ",
                    subsequent_indent="# ",
                    break_on_hyphens=False,
                )
            )
            lines.append(f"\n#{name}={_VALUES.get(name, default)}\n")
    return "".join(lines)


def effective(settings: Settings) -> Iterator[str]:
    """Yield the settings in effect, a variable a line, and what is to be known of them."""
    secrets = environment.secrets_of(settings)
    for variable, value, field in environment.variables(settings):
        text = written(value, field)
        # Of an address the credentials are hidden, of any other secret all.
        is_hidden = isinstance(value, SecretStr) and text and "/" not in text
        yield f"{variable}={MASK if is_hidden else redact(text, *secrets)}"
    if note := settings.window_note():
        yield f"# {note}"


def grouped() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Yield (group, its (variable, default as written, description)); "" is the first group."""
    groups: dict[str, list[tuple[str, str, str]]] = {"": []}
    for template, field in environment.templates():
        first, *inner = template.removeprefix("VIGIL_").split("__")
        description = " ".join((field.description or "").split())
        description += _choices(field, description)
        row = (_named(template), written(field.default, field), description)
        groups.setdefault(first.lower() if inner else "", []).append(row)
    yield from groups.items()


def _named(template: str) -> str:
    for group, example in _EXAMPLES.items():
        template = template.replace(f"{group}__*", f"{group}__{example}")
    return template


def _choices(field: FieldInfo, description: str) -> str:
    """Return a sentence that names a setting's choices, where its description does not."""
    options = choices(field)
    if all(choice in description for choice in options):
        return ""
    return f" One of: {', '.join(options)}."
