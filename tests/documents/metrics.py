"""deploy/METRICS.md lists every metric, and what to alert on."""

from collections.abc import Iterable, Sequence

from pipeline.metrics import METRICS

HEAD = """\
# Metrics

The worker serves its metrics at `/metrics` on `VIGIL_HEALTH__PORT`, in Prometheus' text format. A
metric without labels exists from the start, at 0. So do `vigil_outbox_dropped` and
`vigil_outbox_set_aside_total` for every `kind`, and, where Kafka is used,
`vigil_dead_letters_total` for every `reason`. `vigil_engine_incidents_total` exists for every
`kind` from the first frames. Any other metric with labels appears with its first camera, topic,
stage or reason. A camera's gauges are gone once another worker has the camera. Counters begin at 0
with every start of the worker, so alert on their growth. This page is generated from the code: do
not edit it.

## What to alert on

`increase()` and `delta()` are 0 over a series that first appears at 1: where a series appears with
its first count, as `vigil_camera_failures_total` does, an alert on its growth misses that count.

"""
ALERTS = (
    (
        "vigil_camera_up == 0",
        "5 min",
        "No frames come from a camera. The page `/status` on the same port says why, and "
        "[Reasons](README.md#reasons) what helps.",
    ),
    (
        "vigil_outbox_degraded == 1",
        "1 min",
        "The outbox's disk is full, nearly full, read-only or failing; the log line "
        "`outbox_degraded` and the cameras' status `degraded: outbox` say which. The worker goes "
        "on. Free the disk: the file is tried every 10 s.",
    ),
    (
        "vigil_outbox_oldest_seconds > 60",
        "5 min",
        "Redis is away, full or read-only, and messages wait on the disk. No message is lost while "
        "`vigil_outbox_bytes` is below `VIGIL_OUTBOX__MAX_BYTES`.",
    ),
    (
        "vigil_publishing_up == 0",
        "2 min",
        "No message arrives in Redis. `publishing` in `/status` says why and since when, and "
        "[Redis](README.md#redis) what helps.",
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
        "Redis refuses some messages and takes the others. The usual cause: another program uses a "
        "key under `VIGIL_REDIS__PREFIX`. The log line `replies_set_aside` names their camera and "
        "kind. Free the key and restart the worker: they are tried again.",
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
        "The machine is too slow for its cameras and questions. Remove cameras or questions, or "
        "raise `VIGIL_QUESTIONS__<ID>__EVERY`.",
    ),
    (
        'increase(vigil_engine_incidents_total{kind="out_of_memory"}[1h]) > 0',
        "",
        "The device ran out of memory. Standby contexts of cameras were given up, and if that was "
        "not enough, frames were refused. Set `VIGIL_MODEL__MEMORY_BUDGET` below the device's "
        "memory.",
    ),
    (
        "increase(vigil_dead_letters_total[10m]) > 0",
        "",
        "A producer writes records to the topic that are not readable pictures. The log line "
        "`record_dead_lettered` says what is wrong with them.",
    ),
    (
        "deriv(vigil_kafka_lag_records[15m]) > 0",
        "15 min",
        "Records come in faster than the worker handles them. Let fewer cameras write to the "
        "topic, or start another worker with the same `VIGIL_KAFKA__GROUP_ID` and another "
        "`VIGIL_WORKER_ID`.",
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
        + _table(("alert when", "for this long", "what it means, and what to do"), alerts)
        + "\n## All metrics\n\n"
        + "A histogram has three metrics: its name with `_bucket`, `_sum` and `_count` "
        + "appended.\n\n"
        + _table(("metric", "kind", "labels", "meaning"), metrics)
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, *rows]
    written = [f"| {' | '.join(cells)} |\n".replace("|  |", "| |") for cells in lines]
    return written[0] + "|---" * len(head) + "|\n" + "".join(written[1:])
