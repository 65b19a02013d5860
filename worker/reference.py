"""The settings as text: the example file an operator copies, and the table of all settings."""

from collections.abc import Iterator
from dataclasses import astuple
from textwrap import fill
from typing import Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.regions import Region
from worker import environment

_DURATIONS = ("Duration", "_duration_s")
_MIB = 1024**2
_EXAMPLES = {"CAMERAS": "GATE", "QUESTIONS": "FIRE"}
_VALUES = {
    "VIGIL_CAMERAS__GATE__URL": "rtsp://user:password@10.0.0.5/stream",
    "VIGIL_QUESTIONS__FIRE__ASK": "Is there fire or smoke?",
    "VIGIL_MODEL__PATH": "DAMO-NLP-SG/VideoLLaMA3-2B",
}
_HEAD = """\
# Every setting of the worker, at its default. Copy this file, remove the # where you want another
# value, and name the copy in VIGIL_ENV when you start Docker Compose. Durations: 250ms, 30s, 5m,
# 1h. You choose the ids of your cameras and questions: GATE and FIRE below are examples. A camera's
# URL, VIGIL_REDIS__URL and VIGIL_KAFKA__SASL_PASSWORD may come from a file: append _FILE to the
# name, as in VIGIL_REDIS__URL_FILE=/run/secrets/redis_url. `vigil check` prints the settings in
# effect.

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


def written(value: object, field: FieldInfo) -> str:
    """Return a setting's value as it would be written in a variable; a secret in the clear."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is PydanticUndefined or value is None or value == ():
        return ""
    if any(word in repr(field.metadata) for word in _DURATIONS):
        return f"{value:g}s"
    is_size = "_size_bytes" in repr(field.metadata)
    if is_size and isinstance(value, int) and value and value % _MIB == 0:
        return f"{value // _MIB}MiB"
    if isinstance(value, tuple) and isinstance(value[0], Region):
        return "; ".join(",".join(f"{edge:g}" for edge in astuple(one)) for one in value)
    if isinstance(value, tuple):
        return {int: "/", float: "-"}.get(type(value[0]), ",").join(str(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


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
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    if all(choice in description for choice in choices):
        return ""
    return f" One of: {', '.join(choices)}."
