"""deploy/METRICS.md: every metric, and what to alert on."""

from collections.abc import Iterable, Sequence

from pipeline.observer import METRICS

HEAD = """\
# Metrics

The worker serves them at `/metrics` on its health port, in Prometheus' text format. Those without
labels are there from the start, at 0; those with labels come with their first camera, topic or
reason. Counters begin at 0 with every start of the worker: alert on their growth. This page is
written from the code.

## What to alert on

"""
ALERTS = (
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
        'increase(vigil_answers_unknown_total{reason="no_answer"}[10m]) > 0',
        "10 min",
        "The model does not answer a question in the form that it is asked for: `mass` in its "
        "answers says how far it is from doing so. Word the question otherwise, or choose another "
        "model.",
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


def metrics_document() -> str:
    """Return deploy/METRICS.md."""
    alerts = [(f"`{expression}`", hold, text) for expression, hold, text in ALERTS]
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
        HEAD
        + _table(("alert", "for", "what it means, and what to do"), alerts)
        + "\n## All metrics\n\n"
        + "A histogram is exposed with `_bucket`, `_sum` and `_count` behind its name.\n\n"
        + _table(("metric", "kind", "labels", "meaning"), metrics)
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, *rows]
    written = [f"| {' | '.join(cells)} |\n".replace("|  |", "| |") for cells in lines]
    return written[0] + "|---" * len(head) + "|\n" + "".join(written[1:])
