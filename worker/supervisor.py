"""Threads, their beats, their ends: everything that keeps the parts running."""

import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Event, Lock, Thread
from types import FrameType

import structlog

from pipeline.cadence import Cadence
from pipeline.clock import Clock
from pipeline.errors import ConfigError, OutboxError, PublishError, SourceError
from pipeline.freeze_watch import FrozenWatch
from pipeline.regions import blacked_out
from pipeline.retry import backoff_s
from pipeline.sources.base import FrameSource
from pipeline.types import CameraState, Frame, Overflow
from worker.health import HealthServer
from worker.parts import Feed, Worker

PUBLISH_RETRY_CAP_S = 10.0
DRAIN_S = 5.0  # for what waits for Redis when the worker stops
FINISH_S = 30.0  # for the step in hand; compose kills after 45 s
SUMMARY_EVERY_S = 60.0
TICK_S = 0.2

log = structlog.get_logger("vigil")


@dataclass(slots=True)
class _Camera:
    """A feed's connection and how long its thread has been inside it."""

    feed: Feed
    stop: Event
    source: FrameSource | None = None
    waiting_since_s: float | None = None  # monotonic; None while the thread is elsewhere
    failures: int = 0
    watches: dict[str, FrozenWatch] = field(default_factory=dict)  # by camera it has brought
    is_done: bool = False


class Supervisor:
    """Run a worker until it is told to stop, or until a part of it cannot be helped.

    A feed that fails is rebuilt for ever, with jittered backoff; one that hangs in its driver is
    abandoned with its thread and replaced. Redis may come and go. What nobody foresaw, a model that
    fails or stops beating, or an outbox that cannot be written ends the process with status 1, for
    its container to restart it: what was not stored was not settled either, so nothing is lost.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._clock: Clock = worker.clock
        self._stop = Event()
        self._lock = Lock()
        self._cameras: dict[str, _Camera] = {}
        self._beat_s = self._clock.monotonic_s()
        self._failed_thread = Event()
        self._is_ready = Event()

    def stop(self) -> None:
        """Ask `run` to return. Any thread."""
        self._stop.set()

    def run(self, *, health_port: int | None = None) -> int:
        """Run until `stop` or a fatal failure; return the process's exit status.

        Args:
            health_port: overrides the setting.

        Raises:
            ConfigError: the health server's port is taken.
        """
        worker = self._worker
        health = worker.settings.health
        try:
            server = HealthServer(
                health.bind,
                health.port if health_port is None else health_port,
                is_live=self._is_live,
                is_ready=self._is_ready.is_set,
                status=self._status,
                metrics=worker.metrics.exposition,
            )
        except OSError as error:
            raise ConfigError(f"VIGIL_HEALTH__PORT: cannot listen: {error.strerror}") from None
        stop_publishing = Event()
        publishing = self._thread("publish", lambda: self._publish(stop_publishing))
        inference = self._thread("infer", self._infer)
        for feed in worker.feeds:
            self._start_feed(feed)
        log.info("worker_started", feeds=len(worker.feeds), health_port=server.port, **worker.about)
        self._is_ready.set()
        status = self._watch()
        # Stop in the order of the data's way, so that nothing on it is lost.
        for camera in self._live_cameras():
            self._abandon(camera)
        worker.lanes.close()
        inference.join(timeout=FINISH_S if status == 0 else DRAIN_S)
        with suppress(OutboxError):  # it may be why we stop
            for camera_id in worker.status.snapshot():
                if worker.status.state(camera_id) != "offline":
                    worker.status.set(camera_id, "offline", reason="worker_stopped")
        stop_publishing.set()
        publishing.join(timeout=DRAIN_S)
        server.close()
        worker.outbox.close()
        log.info("worker_stopped", status=status)
        return status

    # -- watching -------------------------------------------------------------------------------

    def _watch(self) -> int:
        """Look after the threads until the end; return the exit status."""
        summary = Cadence(SUMMARY_EVERY_S)
        summary.due(self._clock.monotonic_s())  # the first is due a period from now
        while not self._clock.wait(TICK_S, self._stop):
            if self._failed_thread.is_set():
                self._stop.set()
                return 1
            if not self._is_live():
                log.error("inference_stalled", limit_s=self._worker.settings.health.stall)
                self._stop.set()
                return 1
            for camera in self._live_cameras():
                if self._is_stuck(camera):
                    self._replace(camera)
            if summary.due(self._clock.monotonic_s()):
                self._summarise()
            if self._worker.feeds and all(camera.is_done for camera in self._live_cameras()):
                return self._finish()
        return 0

    def _finish(self) -> int:
        """Every file has been played to its end: let what waits go through."""
        while any(lane.waiting for lane in self._worker.lanes.counts().values()):
            if self._failed_thread.is_set() or self._clock.wait(TICK_S, self._stop):
                break
        self._stop.set()
        return 0

    def _is_live(self) -> bool:
        limit_s = self._worker.settings.health.stall
        return self._clock.monotonic_s() - self._beat_s < limit_s

    def _is_stuck(self, camera: _Camera) -> bool:
        rtsp = self._worker.settings.rtsp
        since_s = camera.waiting_since_s
        limit_s = 2 * (rtsp.open_timeout + rtsp.read_timeout)
        is_camera = bool(camera.feed.camera_ids) and not camera.feed.name.startswith("kafka/")
        return is_camera and since_s is not None and self._clock.monotonic_s() - since_s > limit_s

    def _replace(self, camera: _Camera) -> None:
        log.error("camera_thread_stuck", camera=camera.feed.name)
        self._abandon(camera)
        self._failed(camera, "stalled", "the driver did not return in time")
        self._start_feed(camera.feed)

    def _summarise(self) -> None:
        for camera_id, counts in self._worker.lanes.counts().items():
            log.info(
                "camera_summary",
                camera=camera_id,
                state=self._worker.status.state(camera_id),
                frames_offered=counts.offered,
                frames_taken=counts.taken,
                frames_dropped=counts.dropped,
            )

    def _status(self) -> dict[str, object]:
        return {
            "ready": self._is_ready.is_set(),
            "live": self._is_live(),
            **self._worker.about,
            "outbox_depth": self._worker.outbox.num_waiting,
            "load": {"level": self._worker.load.level, "reason": self._worker.load.reason},
            "cameras": self._worker.status.snapshot(),
        }

    # -- inference ------------------------------------------------------------------------------

    def _infer(self) -> None:
        self._worker.new_runner(self._settle).run(self._stop, beat=self._beat)

    def _beat(self) -> None:
        self._beat_s = self._clock.monotonic_s()

    def _settle(self, frame: Frame) -> None:
        if frame.receipt is None:
            return
        for camera in self._live_cameras():
            if camera.feed.name == f"kafka/{frame.receipt.topic}" and camera.source is not None:
                camera.source.settle(frame.receipt)

    # -- publishing -----------------------------------------------------------------------------

    def _publish(self, stop: Event) -> None:
        failures = 0
        while not stop.is_set():
            publisher = self._worker.new_publisher()
            begun_s = self._clock.monotonic_s()
            try:
                publisher.run(self._worker.outbox, stop, fields=self._heartbeat)
            except (PublishError, OutboxError) as error:
                if self._clock.monotonic_s() - begun_s > PUBLISH_RETRY_CAP_S:
                    failures = 0
                failures += 1
                self._worker.metrics.publish_failed()
                if failures == 1:
                    log.warning("publishing_failed", reason=str(error))
            finally:
                publisher.close()
            if stop.is_set():  # one last try was made: what is left waits for the next start
                return
            pause_s = backoff_s(
                failures, base_s=0.5, cap_s=PUBLISH_RETRY_CAP_S, rng=self._worker.rng
            )
            self._clock.wait(pause_s, stop)

    def _heartbeat(self) -> dict[str, object]:
        return {"live": self._is_live(), "outbox_depth": self._worker.outbox.num_waiting}

    # -- feeds ----------------------------------------------------------------------------------

    def _start_feed(self, feed: Feed) -> None:
        camera = _Camera(feed, stop=Event())
        with self._lock:
            self._cameras[feed.name] = camera
        self._thread(f"feed-{feed.name}", lambda: self._keep_running(camera))

    def _keep_running(self, camera: _Camera) -> None:
        """Connect, play, fail, wait, connect again: the one place that retries a source."""
        for camera_id in camera.feed.camera_ids:
            if self._worker.status.state(camera_id) is None:
                self._worker.status.set(camera_id, "connecting")
        cadences: dict[str, Cadence] = {}

        def wanted(camera_id: str, pts_s: float) -> bool:
            if camera_id not in cadences:
                cadences[camera_id] = self._sampling(camera_id, camera.feed)
            return self._paced(cadences[camera_id], camera.feed).due(pts_s)

        while not camera.stop.is_set():
            cadences.clear()
            source = camera.feed.build(wanted)
            camera.source = source
            try:
                self._play(camera, source)
                reason, detail = "ended", ""
            except SourceError as error:
                reason, detail = error.reason, str(error)
            except (
                OutboxError
            ) as error:  # a status that cannot be stored: the camera is not at fault
                reason, detail = "outbox", str(error)
            finally:
                camera.waiting_since_s = None
                source.close()
            if camera.stop.is_set():
                return
            if reason == "ended" and not camera.feed.is_endless:
                self._failed(camera, "ended", "the file has been played to its end")
                camera.is_done = True
                return
            self._failed(camera, reason, detail)
            self._pause(camera, reason)

    def _sampling(self, camera_id: str, feed: Feed) -> Cadence:
        """Return when a camera is sampled whose first frame is there now."""
        period_s = 1.0 / self._worker.settings.sample_fps
        if feed.overflow is not Overflow.LATEST:
            return Cadence(period_s)
        gap_s = self._worker.ticks.first_gap_s(camera_id, self._clock.monotonic_s())
        return Cadence(period_s, first_gap_s=gap_s)

    def _paced(self, cadence: Cadence, feed: Feed) -> Cadence:
        """Slow a live camera's sampling down as the load asks for it."""
        if feed.overflow is Overflow.LATEST:
            period_s = 1.0 / self._worker.settings.sample_fps
            cadence.period_s = period_s * self._worker.load.step.period_ratio
        return cadence

    def _play(self, camera: _Camera, source: FrameSource) -> None:
        worker = self._worker
        camera.waiting_since_s = self._clock.monotonic_s()
        for frame in source.frames():
            camera.waiting_since_s = None
            if camera.stop.is_set():
                return
            camera.failures = 0
            frame = self._masked(frame)
            self._note_arrival(camera, frame)
            dropped = worker.lanes.lane(frame.camera_id, overflow=camera.feed.overflow).offer(frame)
            if dropped is not None:
                worker.metrics.frame_dropped(dropped.camera_id)
                self._settle(dropped)
            camera.waiting_since_s = self._clock.monotonic_s()

    def _masked(self, frame: Frame) -> Frame:
        """Black out what is private: nothing behind this line sees it."""
        settings = self._worker.settings.cameras.get(frame.camera_id)
        if settings is None or not settings.private:
            return frame
        return replace(frame, pixels=blacked_out(frame.pixels, settings.private))

    def _note_arrival(self, camera: _Camera, frame: Frame) -> None:
        """Publish that frames arrive, and what becomes of them if that is less than was asked."""
        worker, camera_id = self._worker, frame.camera_id
        if camera_id not in camera.watches:
            camera.watches[camera_id] = FrozenWatch(worker.settings.pruner.frozen_after)
        if camera.watches[camera_id].is_frozen(frame.pixels, now_s=self._clock.monotonic_s()):
            if worker.status.set(camera_id, "frozen", reason="identical_frames"):
                log.warning("camera_frozen", camera=camera_id)
            return
        state, reason, detail = self._how_it_goes(camera_id)
        if worker.status.set(camera_id, state, reason=reason, detail=detail):
            if state == "degraded":
                log.warning("camera_degraded", camera=camera_id, reason=reason, detail=detail)
            else:
                log.info("camera_online", camera=camera_id)
            worker.metrics.camera_up(camera_id)

    def _how_it_goes(self, camera_id: str) -> tuple[CameraState, str, str]:
        """Return state, reason and detail of a camera whose frames arrive."""
        why = self._worker.admission_backlog.why(camera_id)
        if why is not None:
            return "degraded", "no_memory", why
        load = self._worker.load
        if load.level:
            return "degraded", f"load_{load.step.name}", f"level {load.level}: {load.reason}"
        return "online", "", ""

    def _failed(self, camera: _Camera, reason: str, detail: str) -> None:
        camera.failures += 1
        for watch in camera.watches.values():
            watch.reset()  # the time away is no time of identical frames
        for camera_id in camera.watches.keys() | set(camera.feed.camera_ids):
            self._worker.lanes.lane(camera_id, overflow=camera.feed.overflow).reset()
            self._worker.metrics.camera_failed(camera_id, reason)
            if self._worker.status.set(camera_id, "offline", reason=reason, detail=detail):
                log.warning("camera_offline", camera=camera_id, reason=reason, detail=detail)
        if not camera.watches and not camera.feed.camera_ids and camera.failures == 1:
            log.warning("feed_failed", feed=camera.feed.name, reason=reason, detail=detail)

    def _pause(self, camera: _Camera, reason: str) -> None:
        rtsp = self._worker.settings.rtsp
        # A wrong password is not retried quickly: cameras lock accounts.
        base_s = rtsp.retry_cap if reason == "auth_failed" else rtsp.retry_base
        pause_s = backoff_s(
            camera.failures, base_s=base_s, cap_s=rtsp.retry_cap, rng=self._worker.rng
        )
        self._clock.wait(pause_s, camera.stop)

    def _abandon(self, camera: _Camera) -> None:
        camera.stop.set()
        if camera.source is not None:
            camera.source.close()

    def _live_cameras(self) -> list[_Camera]:
        with self._lock:
            return list(self._cameras.values())

    def _thread(self, name: str, work: Callable[[], None]) -> Thread:
        def guarded() -> None:
            try:
                work()
            except Exception:
                log.critical("thread_failed", thread=name, exc_info=True)
                self._failed_thread.set()

        thread = Thread(target=guarded, name=name, daemon=True)
        thread.start()
        return thread


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGTERM and SIGINT."""

    def ask(_signal: int, _frame: FrameType | None) -> None:
        stop()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
