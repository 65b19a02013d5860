"""What is counted together: of a frame, of a reply, of the engine."""

from collections.abc import Callable, Mapping
from datetime import datetime
from math import nan
from typing import Any, Protocol, TypeVar

from model.types import EngineStats
from pipeline.clock import Clock
from pipeline.errors import OutboxError
from pipeline.metrics import (
    ANSWER_AGE,
    ANSWER_MASS,
    ANSWERS_LATE,
    ANSWERS_UNKNOWN,
    ENGINE_INCIDENTS,
    EVENTS,
    FRAME_AGE,
    FRAMES,
    MEMORY,
    MEMORY_BUDGET,
    REFRESHES,
    REPLIES,
    STAGE_SECONDS,
    STREAMS,
    TICK_LATENESS,
    TICK_OVERRUNS,
    TICK_SECONDS,
    TOKENS,
    VISION_DRIFT,
)
from pipeline.observer import Observer
from pipeline.stored import Stored
from pipeline.types import PrunedSample

T = TypeVar("T")


class Timed:
    """Does the work of a stage, and counts how long it took."""

    def __init__(self, observer: Observer, clock: Clock) -> None:
        self._observer = observer
        self._clock = clock

    def __call__(self, stage: str, work: Callable[[], T]) -> T:
        """Return what the work returns."""
        begun_s = self._clock.monotonic_s()
        result = work()
        self._observer.observe(STAGE_SECONDS, self._clock.monotonic_s() - begun_s, stage=stage)
        return result


def frame_shown(observer: Observer, sample: PrunedSample, *, age_s: float) -> None:
    """Count a frame that the model was shown, and its tokens."""
    camera, kept = sample.frame.camera_id, sample.pruned.num_kept
    observer.count(FRAMES, camera=camera)
    observer.count(REFRESHES, sample.pruned.is_refresh, camera=camera)
    observer.count(TOKENS, kept, camera=camera, kind="kept")
    observer.count(TOKENS, sample.frame.grid.num_tokens - kept, camera=camera, kind="pruned")
    observer.observe(FRAME_AGE, max(0.0, age_s))


def answer_given(observer: Observer, *, age_s: float, is_late: bool) -> None:
    """Count an answer that comes so long after its frame."""
    observer.observe(ANSWER_AGE, max(0.0, age_s))
    observer.count(ANSWERS_LATE, is_late)


def tick_made(observer: Observer, took_s: float, lateness_s: float, *, tick_s: float) -> None:
    """Count a tick that took so long, begun so late, of `tick_s` that it has."""
    observer.observe(TICK_SECONDS, took_s)
    observer.observe(TICK_LATENESS, max(0.0, lateness_s))
    observer.count(TICK_OVERRUNS, took_s > tick_s)


def reply_made(observer: Observer, kind: str, camera: str, said: Mapping[str, Any]) -> None:
    """Count a caption, answer or event of a camera by the `data` of its message."""
    observer.count(REPLIES, camera=camera, kind=kind)
    if kind == "event":
        observer.count(
            EVENTS,
            camera=camera,
            question=said["question_id"],
            phase=said["phase"],
            reason=said["reason"] or "",
        )
    if kind != "answer":
        return
    if said["mass"] is not None and not said["reused"]:
        observer.observe(ANSWER_MASS, said["mass"], kind=said["kind"])
    if said["reason"] is not None:
        observer.count(ANSWERS_UNKNOWN, camera=camera, reason=said["reason"])


def engine_stands(observer: Observer, now: EngineStats, *, before: EngineStats | None) -> None:
    """Note what the engine has in memory, and count what has happened in it since `before`."""
    observer.set(MEMORY, now.weight_bytes, part="weights")
    observer.set(MEMORY, now.vision_cache_bytes, part="vision_cache")
    observer.set(MEMORY, now.context_bytes, part="contexts")
    observer.set(MEMORY_BUDGET, now.budget_bytes or 0)
    observer.set(STREAMS, now.num_streams)
    observer.set(VISION_DRIFT, now.drift or 0.0)
    counted = _incidents(before) if before else {}
    for kind, number in _incidents(now).items():
        observer.count(ENGINE_INCIDENTS, number - counted.get(kind, 0), kind=kind)


def _incidents(stats: EngineStats) -> dict[str, int]:
    return {
        "audit": stats.num_audits,
        "forced_refresh": stats.num_forced_refreshes,
        "out_of_memory": stats.num_out_of_memory,
        "shed": stats.num_shed,
        "cut_short": stats.num_cut_short,
        "unsaid": stats.num_unsaid,
    }


class _Pending(Protocol):
    def pending(self, limit: int) -> list[Stored]: ...


def oldest_age_s(outbox: _Pending, now: datetime) -> float:
    """Return how long ago the oldest message to be delivered was made; 0 where there is none.

    NaN where the file cannot be read: a gauge must not raise.
    """
    try:
        oldest = outbox.pending(1)
    except OutboxError:
        return nan
    if not oldest:
        return 0.0
    made_at = datetime.fromisoformat(oldest[0].message.body["time"])
    return max(0.0, (now - made_at).total_seconds())
