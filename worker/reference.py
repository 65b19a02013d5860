"""Settings and metrics as text: an operator's example file, the README's table, METRICS.md."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple
from itertools import groupby
from typing import Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.observer import METRICS
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
_METRICS_HEAD = """\
# Metrics

The worker serves them at `/metrics` on its health port, in Prometheus' text format. Those without
labels are there from the start, at 0; those with labels come with their first camera, topic or
reason. Counters begin at 0 with every start of the worker: alert on their growth. This page is
written from the code.

## What to alert on

"""
_ALERTS = (
    (
        "vigil_camera_up == 0",
        "5 min",
        "No frames come from a camera. `/status` says why, and "
        "[Symptoms and cures](README.md#symptoms-and-cures) what helps.",
    ),
    (
        "vigil_outbox_oldest_seconds > 60",
        "5 min",
        "Redis is away, full or read-only, and messages wait on the disk. None is lost while "
        "`vigil_outbox_bytes` is below `VIGIL_OUTBOX__MAX_BYTES`.",
    ),
    (
        "delta(vigil_outbox_dropped[10m]) > 0",
        "",
        "The outbox is full and messages are lost, captions first, events last. Bring Redis back, "
        "or make the outbox larger.",
    ),
    (
        "increase(vigil_outbox_set_aside_total[10m]) > 0",
        "",
        "Redis refuses single messages, mostly because a key under the prefix belongs to something "
        "else. The log line `replies_set_aside` says of which camera and kind.",
    ),
    (
        "vigil_load_level > 0",
        "15 min",
        "The machine is too slow for what is asked. Take away cameras or questions, or ask less "
        "often.",
    ),
    (
        'increase(vigil_engine_incidents_total{kind="out_of_memory"}[1h]) > 0',
        "",
        "The device ran out of memory, and frames were refused or contexts given up. Set "
        "`VIGIL_MODEL__MEMORY_BUDGET`.",
    ),
    (
        "increase(vigil_dead_letters_total[10m]) > 0",
        "",
        "A producer writes records that are no frames. The log line `record_dead_lettered` says "
        "what is wrong with them.",
    ),
    (
        "deriv(vigil_kafka_lag_records[15m]) > 0",
        "15 min",
        "Records come in faster than the worker is done with them. Let fewer cameras write to the "
        "topic, or start another worker of the group.",
    ),
)
"""(expression, for how long it must hold, what it means and what to do)"""


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
    rows = [
        (f"`{name}`", f"`{default}`" if default else "", description)
        for name, default, description in _settings()
    ]
    return _table(("variable", "default", "what it is"), rows)


def metrics_page() -> str:
    """Return deploy/METRICS.md."""
    alerts = [(f"`{expression}`", hold, text) for expression, hold, text in _ALERTS]
    metrics = [
        (
            f"`{one.name}{'_total' if one.kind == 'counter' else ''}`",
            one.kind,
            ", ".join(f"`{label}`" for label in one.labels),
            one.meaning,
        )
        for one in METRICS
    ]
    return (
        _METRICS_HEAD
        + _table(("alert", "for", "what it means, and what to do"), alerts)
        + "\n## All metrics\n\n"
        + "A histogram is exposed with `_bucket`, `_sum` and `_count` behind its name.\n\n"
        + _table(("metric", "kind", "labels", "meaning"), metrics)
    )


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


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, *rows]
    written = [f"| {' | '.join(cells)} |\n".replace("|  |", "| |") for cells in lines]
    return written[0] + "|---" * len(head) + "|\n" + "".join(written[1:])


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
