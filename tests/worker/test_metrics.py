from dataclasses import replace

import pytest

from model.types import EngineStats
from pipeline.counted import engine_stands
from pipeline.metrics import (
    CAMERA_LAG,
    CAMERA_UP,
    FRAMES,
    FRAMES_REFUSED,
    METRICS,
    OUTBOX_DEPTH,
    TICK_OVERRUNS,
    TICK_SECONDS,
)
from pipeline.observer import Metric
from worker.metrics import Metrics

STATS = EngineStats(
    num_streams=2,
    weight_bytes=1000,
    vision_cache_bytes=200,
    context_bytes=300,
    budget_bytes=None,
    drift=None,
    num_audits=3,
    num_forced_refreshes=1,
    num_out_of_memory=0,
    num_shed=0,
    num_cut_short=0,
    num_unsaid=0,
    attention_backend="none",
    small_kernels="none",
)


def test_what_the_engine_holds_and_what_befell_it() -> None:
    metrics = Metrics()
    engine_stands(metrics, STATS, before=None)
    later = replace(STATS, num_audits=5, drift=0.01, budget_bytes=4000)
    engine_stands(metrics, later, before=STATS)
    told = metrics.exposition().decode()
    assert 'vigil_memory_bytes{part="contexts"} 300.0' in told
    assert "vigil_memory_budget_bytes 4000.0" in told
    assert "vigil_vision_drift 0.01" in told
    assert 'vigil_engine_incidents_total{kind="audit"} 5.0' in told
    assert 'vigil_engine_incidents_total{kind="forced_refresh"} 1.0' in told


def test_every_declared_metric_is_there_from_the_start() -> None:
    told = Metrics().exposition().decode()
    assert all(f"# HELP {metric.name}" in told for metric in METRICS)
    assert "vigil_tick_overruns_total 0.0" in told
    assert "vigil_outbox_depth 0.0" in told
    assert "vigil_tick_seconds_count 0.0" in told
    assert "vigil_frames_total{" not in told


def test_a_new_metric_takes_a_declaration_and_one_call() -> None:
    doors = Metric("vigil_doors", "Doors that were seen open.", kind="counter", labels=("camera",))
    metrics = Metrics([*METRICS, doors])
    metrics.count(doors, camera="yard")
    assert 'vigil_doors_total{camera="yard"} 1.0' in metrics.exposition().decode()


def test_a_histogram_counts_by_the_buckets_it_declares() -> None:
    metrics = Metrics()
    metrics.observe(TICK_SECONDS, 0.3)
    told = metrics.exposition().decode()
    assert 'vigil_tick_seconds_bucket{le="0.25"} 0.0' in told
    assert 'vigil_tick_seconds_bucket{le="0.5"} 1.0' in told
    assert "vigil_tick_seconds_sum 0.3" in told


def test_a_gauge_that_is_read_tells_what_holds_now() -> None:
    metrics, waiting = Metrics(), [1]
    metrics.read(OUTBOX_DEPTH, lambda: len(waiting))
    waiting.append(2)
    assert "vigil_outbox_depth 2.0" in metrics.exposition().decode()


def test_a_camera_that_is_gone_has_no_gauges_and_keeps_its_counters() -> None:
    metrics = Metrics()
    for camera_id in ("gate", "yard"):
        metrics.set(CAMERA_UP, 1, camera=camera_id)
        metrics.set(CAMERA_LAG, 0.5, camera=camera_id)
        metrics.count(FRAMES, camera=camera_id)
    metrics.forget(camera="gate")
    metrics.forget(camera="never seen")
    told = [line for line in metrics.exposition().decode().splitlines() if "{camera=" in line]
    assert told == [
        'vigil_camera_up{camera="yard"} 1.0',
        'vigil_camera_lag_seconds{camera="yard"} 0.5',
        'vigil_frames_total{camera="gate"} 1.0',
        'vigil_frames_total{camera="yard"} 1.0',
    ]


@pytest.mark.parametrize(
    "labels", [{}, {"camera": "yard"}, {"camera": "yard", "reason": "no_room", "kind": "?"}]
)
def test_labels_other_than_the_declared_ones_are_refused(labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="label"):
        Metrics().count(FRAMES_REFUSED, 1, **labels)


def test_labels_are_refused_where_none_are_declared() -> None:
    with pytest.raises(ValueError, match="label"):
        Metrics().count(TICK_OVERRUNS, camera="yard")


def test_what_was_not_declared_or_is_of_another_kind_is_refused() -> None:
    with pytest.raises(KeyError):
        Metrics().count(Metric("vigil_doors", "Doors.", kind="counter"))
    with pytest.raises(KeyError):
        Metrics().set(FRAMES, 1, camera="yard")
