"""The settings as text: the example file an operator copies, and the README's table."""

from collections.abc import Iterator
from dataclasses import astuple
from itertools import groupby
from typing import Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.regions import Region
from worker import environment

_DURATIONS = ("Duration", "_duration_s")
_EXAMPLES = {"CAMERAS": "GATE", "QUESTIONS": "FIRE"}
_VALUES = {
    "VIGIL_CAMERAS__GATE__URL": "rtsp://user:password@10.0.0.5/stream",
    "VIGIL_QUESTIONS__FIRE__ASK": "Is there fire or smoke?",
}
_HEAD = """\
# Every setting of the worker, at its default. Copy this file, take away the # where you want
# another value, and name the copy in VIGIL_ENV. Durations: 250ms, 30s, 5m, 1h. A secret may come
# from a file instead: VIGIL_REDIS__URL_FILE=/run/secrets/redis_url. Cameras and questions go by
# ids of your own: GATE and FIRE below stand for them. `vigil check` says what is in effect.

"""


def example_env() -> str:
    """Return deploy/worker.env.example."""
    lines = [_HEAD]
    for group, members in groupby(_settings(), key=lambda one: one[0].split("__")[0]):
        section = list(members)
        if "__" in section[0][0]:
            lines.append(f"\n# -- {group.removeprefix('VIGIL_').lower()}\n")
        for name, default, description in section:
            value = _VALUES.get(name, default)
            lines.append(f"# {description}\n#{name}={value}\n")
    return "".join(lines)


def settings_table() -> str:
    """Return the README's table of settings, in Markdown."""
    rows = ["| variable | default | what it is |", "|---|---|---|"]
    for name, default, description in _settings():
        shown = f"`{default}`" if default else ""
        rows.append(f"| `{name}` | {shown} | {description} |".replace("|  |", "| |"))
    return "\n".join(rows) + "\n"


def written(value: object, field: FieldInfo) -> str:
    """Return a setting's value as it would be written in a variable; a secret in the clear."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is PydanticUndefined or value is None or value == ():
        return ""
    if any(word in repr(field.metadata) for word in _DURATIONS):
        return f"{value:g}s"
    if isinstance(value, tuple) and isinstance(value[0], Region):
        return "; ".join(",".join(f"{edge:g}" for edge in astuple(one)) for one in value)
    if isinstance(value, tuple):
        return {int: "/", float: "-"}.get(type(value[0]), ",").join(str(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _settings() -> Iterator[tuple[str, str, str]]:
    """Yield (variable, default as written, description), the ungrouped ones first."""
    rows = [
        (
            _named(template),
            written(field.default, field),
            (field.description or "") + _choices(field),
        )
        for template, field in environment.templates()
    ]
    yield from sorted(rows, key=lambda row: "__" in row[0])


def _named(template: str) -> str:
    for group, example in _EXAMPLES.items():
        template = template.replace(f"{group}__*", f"{group}__{example}")
    return template


def _choices(field: FieldInfo) -> str:
    if get_origin(field.annotation) is not Literal:
        return ""
    return f" ({', '.join(str(choice) for choice in get_args(field.annotation))})"
