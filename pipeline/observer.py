"""What is counted: every metric, declared once, and whom the parts tell.

To add a metric, declare it in the table below and call `count`, `set` or `observe` with it where
the number comes up. Nothing else has to know: `worker.metrics` serves whatever is declared here,
and `deploy/METRICS.md` is written from it. No label carries text, an address or a credential.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from model.types import EngineStats
from pipeline.types import PrunedSample

MetricKind = Literal["counter", "gauge", "histogram"]

SHARES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99, 1.0)
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that operators can read.

    Attributes:
        name: with its unit; a counter's is exposed with `_total` behind it.
        meaning: one or two sentences for an operator, label values among them.
        kind: a counter only grows, a gauge is set, a histogram collects values.
        labels: names of what tells its series apart.
        buckets: upper bounds of a histogram's buckets.
    """

    name: str
    meaning: str
    kind: MetricKind
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SECONDS


class Observer:
    """Looks away. Whoever wants to know overrides what it wants to know.

    Any thread may call anything, often under a lock of its own: a method must return at once, and
    call nobody back.
    """

    def count(self, metric: Metric, number: float = 1, **labels: str) -> None:
        """Add to a counter."""

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Note what a gauge stands at now."""

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Note one value of a histogram."""


UNOBSERVED = Observer()


# ---------------------------------------------------------------- the worker and its cameras

BUILD_INFO = Metric(
    "vigil_build_info",
    "Always 1. The labels say which model runs and by which attention kernel.",
    kind="gauge",
    labels=("model", "attention"),
)
CAMERA_UP = Metric(
    "vigil_camera_up",
    "1 while a camera's frames arrive, 0 after its connection was lost.",
    kind="gauge",
    labels=("camera",),
)
CAMERA_FAILURES = Metric(
    "vigil_camera_failures",
    "Connections to a camera that ended. `reason` is the one that its status gives.",
    kind="counter",
    labels=("camera", "reason"),
)
PICTURES_CORRUPT = Metric(
    "vigil_pictures_corrupt",
    "Packets and pictures of a camera's video that were thrown away because they were damaged.",
    kind="counter",
    labels=("camera",),
)

# ---------------------------------------------------------------- Kafka

KAFKA_RECORDS = Metric(
    "vigil_kafka_records",
    "Records that were taken from the topic, whatever became of them.",
    kind="counter",
    labels=("topic",),
)
KAFKA_STALE = Metric(
    "vigil_kafka_records_stale",
    "Records that were passed over because they were captured longer ago than the allowed lag.",
    kind="counter",
    labels=("topic",),
)
KAFKA_COMMITS = Metric(
    "vigil_kafka_commits",
    "Offset commits that the consumer group's coordinator has acknowledged.",
    kind="counter",
    labels=("topic",),
)
KAFKA_LAG = Metric(
    "vigil_kafka_lag_records",
    "Records of the topic's partitions assigned to this worker that it has not finished with, "
    "as of the last fetch.",
    kind="gauge",
    labels=("topic",),
)
DEAD_LETTERS = Metric(
    "vigil_dead_letters",
    "Records that are no frames and were written to the dead-letter topic. `reason` is the one in "
    "the record's header there.",
    kind="counter",
    labels=("reason",),
)

# ---------------------------------------------------------------- frames

FRAMES = Metric(
    "vigil_frames",
    "Frames that the model was shown.",
    kind="counter",
    labels=("camera",),
)
FRAMES_DROPPED = Metric(
    "vigil_frames_dropped",
    "Frames that were replaced by a newer one before the model had time for them.",
    kind="counter",
    labels=("camera",),
)
FRAMES_REFUSED = Metric(
    "vigil_frames_refused",
    "Frames that the model had no memory for. `no_room`: the camera does not fit into the budget; "
    "`out_of_memory`: the device ran out.",
    kind="counter",
    labels=("camera", "reason"),
)
REFRESHES = Metric(
    "vigil_refreshes",
    "Frames that were sent to the model whole.",
    kind="counter",
    labels=("camera",),
)
TOKENS = Metric(
    "vigil_tokens",
    "Tokens of the frames that the model was shown: `kept` were sent, `pruned` had not changed.",
    kind="counter",
    labels=("camera", "kind"),
)
FRAME_AGE = Metric(
    "vigil_frame_age_seconds",
    "Time from a frame's capture until the model had taken it in.",
    kind="histogram",
)

# ---------------------------------------------------------------- inference

STAGE_SECONDS = Metric(
    "vigil_stage_seconds",
    "Time that the model spent on one batch: `append` takes frames in, `ask` answers questions.",
    kind="histogram",
    labels=("stage",),
)
TICK_SECONDS = Metric(
    "vigil_tick_seconds",
    "Time that a tick took, one look at all live cameras.",
    kind="histogram",
)
TICK_LATENESS = Metric(
    "vigil_tick_lateness_seconds",
    "How long after it was due a tick began.",
    kind="histogram",
)
TICK_OVERRUNS = Metric(
    "vigil_tick_overruns",
    "Ticks that were not over when the next one was due.",
    kind="counter",
)
LOAD_LEVEL = Metric(
    "vigil_load_level",
    "How many things are given up because the machine is too slow: 0 none, 1 captions are rarer, "
    "2 small changes are ignored, 3 frames are rarer.",
    kind="gauge",
)
VISION_DRIFT = Metric(
    "vigil_vision_drift",
    "How far tokens that were encoded in part are from those of whole frames: 1 - cosine, as the "
    "last audit found it; 0 before the first.",
    kind="gauge",
)
ENGINE_INCIDENTS = Metric(
    "vigil_engine_incidents",
    "What happened in the engine. `audit`: a frame was encoded both ways to measure the drift; "
    "`forced_refresh`: the drift was too large, and the frame was taken whole; `out_of_memory`: "
    "the device ran out; `shed`: something held was given up to make room.",
    kind="counter",
    labels=("kind",),
)
MEMORY = Metric(
    "vigil_memory_bytes",
    "Device memory that is held, by part: `weights`, `vision_cache`, `contexts`.",
    kind="gauge",
    labels=("part",),
)
MEMORY_BUDGET = Metric(
    "vigil_memory_budget_bytes",
    "Device memory that may be held; 0 where there is no bound.",
    kind="gauge",
)
STREAMS = Metric(
    "vigil_streams",
    "Cameras that the engine holds a context of.",
    kind="gauge",
)

# ---------------------------------------------------------------- answers and messages

ANSWER_AGE = Metric(
    "vigil_answer_age_seconds",
    "Time from a frame's arrival to an answer about it.",
    kind="histogram",
)
ANSWERS_LATE = Metric(
    "vigil_answers_late",
    "Answers that came later than VIGIL_LOAD__MAX_AGE, or on a later frame than they were due.",
    kind="counter",
)
ANSWER_MASS = Metric(
    "vigil_answer_mass",
    "Probability that the model gave to answering at all, of every new answer that has one; `kind` "
    "is the question's.",
    kind="histogram",
    labels=("kind",),
    buckets=SHARES,
)
ANSWERS_UNKNOWN = Metric(
    "vigil_answers_unknown",
    "Answers that were published as unknown. `reason` is the one in the message.",
    kind="counter",
    labels=("camera", "reason"),
)
REPLIES = Metric(
    "vigil_replies",
    "Messages that were made from the model's answers: `caption`, `answer`, `event`.",
    kind="counter",
    labels=("camera", "kind"),
)
EVENTS = Metric(
    "vigil_events",
    "Event messages that were made. `phase` is `start`, `update` or `end`.",
    kind="counter",
    labels=("camera", "question", "phase"),
)

# ---------------------------------------------------------------- the outbox and Redis

OUTBOX_DEPTH = Metric(
    "vigil_outbox_depth",
    "Messages that wait for Redis.",
    kind="gauge",
)
OUTBOX_BYTES = Metric(
    "vigil_outbox_bytes",
    "Size of the outbox, to be compared with VIGIL_OUTBOX__MAX_BYTES.",
    kind="gauge",
)
OUTBOX_OLDEST = Metric(
    "vigil_outbox_oldest_seconds",
    "Age of the oldest message that waits for Redis; 0 where none does.",
    kind="gauge",
)
OUTBOX_DROPPED = Metric(
    "vigil_outbox_dropped",
    "Messages that were lost to a full outbox since the worker started.",
    kind="gauge",
    labels=("kind",),
)
OUTBOX_SET_ASIDE = Metric(
    "vigil_outbox_set_aside",
    "Messages that Redis would not take for their own sake, such as one whose key holds another "
    "type. They are never delivered.",
    kind="counter",
    labels=("kind",),
)
PUBLISH_FAILURES = Metric(
    "vigil_publish_failures",
    "Times that Redis was lost, or took nothing.",
    kind="counter",
)

METRICS = tuple(one for one in tuple(globals().values()) if isinstance(one, Metric))


# ---------------------------------------------------------------- what is counted together


def frame_shown(observer: Observer, sample: PrunedSample, *, age_s: float) -> None:
    """Count a frame that the model was shown, and its tokens."""
    camera, kept = sample.frame.camera_id, sample.pruned.num_kept
    observer.count(FRAMES, camera=camera)
    observer.count(REFRESHES, sample.pruned.is_refresh, camera=camera)
    observer.count(TOKENS, kept, camera=camera, kind="kept")
    observer.count(TOKENS, sample.frame.grid.num_tokens - kept, camera=camera, kind="pruned")
    observer.observe(FRAME_AGE, max(0.0, age_s))


def answer_given(observer: Observer, camera_id: str, said: Mapping[str, Any]) -> None:
    """Count an answer by the `data` of its message."""
    if said["mass"] is not None and not said["reused"]:
        observer.observe(ANSWER_MASS, said["mass"], kind=said["kind"])
    if said["reason"] is not None:
        observer.count(ANSWERS_UNKNOWN, camera=camera_id, reason=said["reason"])


def engine_stands(observer: Observer, now: EngineStats, *, before: EngineStats | None) -> None:
    """Note what the engine holds, and count what has happened in it since `before`."""
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
    }
