from dataclasses import replace

from model.types import EngineStats
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
    attention_backend="none",
)


def test_what_the_engine_holds_and_what_befell_it() -> None:
    metrics = Metrics()
    metrics.engine_did(STATS)
    metrics.engine_did(replace(STATS, num_audits=5, drift=0.01, budget_bytes=4000))
    told = metrics.exposition().decode()
    assert 'vigil_memory_bytes{part="contexts"} 300.0' in told
    assert "vigil_memory_budget_bytes 4000.0" in told
    assert "vigil_vision_drift 0.01" in told
    assert 'vigil_engine_incidents_total{kind="audit"} 5.0' in told
    assert 'vigil_engine_incidents_total{kind="forced_refresh"} 1.0' in told


def test_ticks_and_late_answers_are_counted() -> None:
    metrics = Metrics()
    metrics.tick_done(duration_s=0.3, lateness_s=0.1, is_overrun=True)
    metrics.answered(age_s=3.0, is_late=True)
    metrics.answered(age_s=0.3, is_late=False)
    metrics.frame_refused("yard", "no_room")
    told = metrics.exposition().decode()
    assert "vigil_tick_overruns_total 1.0" in told
    assert "vigil_answers_late_total 1.0" in told
    assert "vigil_answer_age_seconds_count 2.0" in told
    assert 'vigil_frames_refused_total{camera="yard",reason="no_room"} 1.0' in told
