"""Every metric: its name, unit and labels. No label carries text, an address or a credential."""

from collections.abc import Callable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from model.types import EngineStats
from pipeline.messages import Message
from pipeline.types import PrunedSample

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The worker's metrics, in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each one
        self._registry = CollectorRegistry()
        self._camera_up = self._gauge("vigil_camera_up", "1 while frames arrive", "camera")
        self._failures = self._counter(
            "vigil_camera_failures", "Connections that ended", "camera", "reason"
        )
        self._frames = self._counter("vigil_frames", "Frames the model was shown", "camera")
        self._dropped = self._counter(
            "vigil_frames_dropped", "Frames replaced by newer ones", "camera"
        )
        self._tokens = self._counter(
            "vigil_tokens", "Tokens of those frames, sent or pruned", "camera", "kind"
        )
        self._refreshes = self._counter("vigil_refreshes", "Frames sent whole", "camera")
        self._age = self._histogram("vigil_frame_age_seconds", "Age of frames when taken")
        self._stages = self._histogram("vigil_stage_seconds", "Time spent by stage", "stage")
        self._replies = self._counter("vigil_replies", "Messages made", "camera", "kind")
        self._events = self._counter("vigil_events", "Events", "camera", "question", "phase")
        self._refused = self._counter(
            "vigil_frames_refused", "Frames there was no memory for", "camera", "reason"
        )
        self._ticks = self._histogram("vigil_tick_seconds", "Time a tick took")
        self._lateness = self._histogram(
            "vigil_tick_lateness_seconds", "How late a tick began after it was due"
        )
        self._overruns = self._counter("vigil_tick_overruns", "Ticks that ran into the next one")
        self._answer_age = self._histogram(
            "vigil_answer_age_seconds", "From the arrival of a frame to an answer on it"
        )
        self._late = self._counter("vigil_answers_late", "Answers later than the load allows")
        self._memory = self._gauge("vigil_memory_bytes", "Device memory held", "part")
        self._budget = self._gauge("vigil_memory_budget_bytes", "Of it allowed; 0 for no bound")
        self._streams = self._gauge("vigil_streams", "Cameras the engine holds something of")
        self._drift = self._gauge(
            "vigil_vision_drift", "1 - cosine of tokens encoded in part to those of whole frames"
        )
        self._incidents = self._counter(
            "vigil_engine_incidents", "What befell the engine: audits, refreshes, memory", "kind"
        )
        self._publish_failures = self._counter("vigil_publish_failures", "Times Redis was lost")
        self._counted: dict[str, int] = {}  # engine incidents so far

    def frame_sent(self, sent: PrunedSample, *, age_s: float) -> None:
        """Count a frame and its tokens."""
        camera, kept = sent.frame.camera_id, sent.pruned.num_kept
        self._frames.labels(camera).inc()
        self._tokens.labels(camera, "kept").inc(kept)
        self._tokens.labels(camera, "pruned").inc(sent.frame.grid.num_tokens - kept)
        self._refreshes.labels(camera).inc(sent.pruned.is_refresh)
        self._age.observe(max(0.0, age_s))

    def frame_refused(self, camera_id: str, reason: str) -> None:
        """Count a frame the model had no memory for."""
        self._refused.labels(camera_id, reason).inc()

    def tick_done(self, *, duration_s: float, lateness_s: float, is_overrun: bool) -> None:
        """Note how long a tick took and how late it began."""
        self._ticks.observe(duration_s)
        self._lateness.observe(lateness_s)
        self._overruns.inc(is_overrun)

    def answered(self, *, age_s: float, is_late: bool) -> None:
        """Note how old a frame was when a question was answered on it."""
        self._answer_age.observe(max(0.0, age_s))
        self._late.inc(is_late)

    def engine_did(self, stats: EngineStats) -> None:
        """Note what the engine holds, and count what has befallen it since the last time."""
        self._memory.labels("weights").set(stats.weight_bytes)
        self._memory.labels("vision_cache").set(stats.vision_cache_bytes)
        self._memory.labels("contexts").set(stats.context_bytes)
        self._budget.set(stats.budget_bytes or 0)
        self._streams.set(stats.num_streams)
        self._drift.set(0.0 if stats.drift is None else stats.drift)
        now = {
            "audit": stats.num_audits,
            "forced_refresh": stats.num_forced_refreshes,
            "out_of_memory": stats.num_out_of_memory,
            "shed": stats.num_shed,
        }
        for kind, number in now.items():
            self._incidents.labels(kind).inc(number - self._counted.get(kind, 0))
        self._counted = now

    def stage_done(self, stage: str, seconds: float) -> None:
        """Note how long a stage took."""
        self._stages.labels(stage).observe(seconds)

    def reply_made(self, message: Message) -> None:
        """Count a message."""
        self._replies.labels(message.camera_id, message.kind).inc()
        if message.kind == "event":
            said = message.body["data"]
            self._events.labels(message.camera_id, said["question_id"], said["phase"]).inc()

    def frame_dropped(self, camera_id: str) -> None:
        """Count a frame that gave way to a newer one."""
        self._dropped.labels(camera_id).inc()

    def camera_up(self, camera_id: str) -> None:
        """Note that a camera's frames arrive."""
        self._camera_up.labels(camera_id).set(1)

    def camera_failed(self, camera_id: str, reason: str) -> None:
        """Note that a camera's frames have stopped."""
        self._camera_up.labels(camera_id).set(0)
        self._failures.labels(camera_id, reason).inc()

    def publish_failed(self) -> None:
        """Count a loss of Redis."""
        self._publish_failures.inc()

    def read(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """Add a gauge that is read whenever the metrics are."""
        Gauge(name, help_text, registry=self._registry).set_function(value)

    def read_each(
        self, name: str, help_text: str, *, label: str, values: Mapping[str, Callable[[], float]]
    ) -> None:
        """Add a gauge of several series, by the value of one label, read whenever they are."""
        gauge = self._gauge(name, help_text, label)
        for key, value in values.items():
            gauge.labels(key).set_function(value)

    def describe(self, labels: Mapping[str, str]) -> None:
        """Say what runs, as vigil_build_info."""
        info = Gauge("vigil_build_info", "What runs", list(labels), registry=self._registry)
        info.labels(**labels).set(1)

    def exposition(self) -> bytes:
        """Return all of them in Prometheus' text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, registry=self._registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(name, help_text, labels, registry=self._registry)

    def _histogram(self, name: str, help_text: str, *labels: str) -> Histogram:
        return Histogram(name, help_text, labels, buckets=_SECONDS, registry=self._registry)
