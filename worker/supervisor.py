"""Keeps a worker's parts running: threads, their beats, restarts, and the drain at the end."""

import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Event, Lock, Thread
from types import FrameType

import structlog

from pipeline.cadence import Cadence
from pipeline.clock import Clock
from pipeline.errors import ConfigError, OutboxError
from worker.connection import Connection
from worker.device_memory import resident_bytes
from worker.health import HealthServer, why_unreachable
from worker.parts import Feed, Process
from worker.publishing import Publishing

DRAIN_S = 5.0  # for what waits for Redis when the worker stops
FINISH_S = 30.0  # for the step in hand; compose kills after 45 s
END_S = FINISH_S + 2 * DRAIN_S
NOTICE_S = 2.0  # after a stall, for the orderly end to begin, where a thread can still run
SUMMARY_EVERY_S = 60.0
TICK_S = 0.2

log = structlog.get_logger("vigil")


class Supervisor:
    """Run a worker until it is told to stop, or until a part of it cannot be helped.

    A feed that fails is rebuilt for ever, with jittered backoff; one that hangs in its driver is
    abandoned with its thread and replaced. Redis may come and go, and the outbox's disk. What
    nobody foresaw, and a model that fails or stops beating, ends the process with status 1, for its
    container to restart it: what was not stored was not settled either, so nothing is lost.
    """

    def __init__(
        self, worker: Process, *, end_after: Callable[[float], None] = lambda _seconds: None
    ) -> None:
        """Note what to run.

        Args:
            worker: the parts.
            end_after: ends the process in so many seconds, whatever hangs, unless called before.
        """
        self._worker = worker
        self._end_after = end_after
        self._clock: Clock = worker.clock
        self._stop = Event()
        self._lock = Lock()
        self._beating = Lock()
        self._connections: dict[str, Connection] = {}
        self._beat_s = self._clock.monotonic_s()
        self._publishing = Publishing(
            worker.new_publisher,
            worker.outbox,
            clock=worker.clock,
            observer=worker.metrics,
            rng=worker.rng,
        )
        self._failed_thread = Event()
        self._is_ready = Event()

    def stop(self) -> None:
        """Ask `run` to return. Any thread."""
        self._stop.set()

    def run(self, *, health_port: int | None = None) -> int:
        """Run until `stop` or a fatal failure; return the process's exit status.

        Args:
            health_port: listen here instead of on `worker.health.port`.

        Raises:
            ConfigError: the health server's port is taken.
        """
        worker = self._worker
        health = worker.health
        try:
            server = HealthServer(
                health.bind,
                health.port if health_port is None else health_port,
                is_live=self._is_live,
                is_ready=self._is_ready.is_set,
                status=self._status,
                metrics=worker.metrics.exposition,
                clock=self._clock,
            )
        except OSError as error:
            raise ConfigError(
                f"VIGIL_HEALTH__PORT: cannot listen: {error.strerror} (VIGIL_HEALTH__BIND is "
                f"{health.bind})"
            ) from None
        if why := why_unreachable(health.bind, server.port):
            log.warning("health_port_unreachable", detail=why)
        self._beat()
        stop_publishing = Event()
        publishing = self._thread(
            "publish", lambda: self._publishing.run(stop_publishing, fields=self._heartbeat)
        )
        serving = [
            self._thread(name, partial(serve, stop_publishing))
            for name, serve in worker.serve.items()
        ]
        inference = self._thread("infer", self._infer)
        for feed in worker.feeds:
            self._start_feed(feed)
        if (adopt := worker.adopt) is not None:
            self._thread("orphans", lambda: adopt(self._stop))
        log.info("worker_started", feeds=len(worker.feeds), health_port=server.port, **worker.about)
        self._is_ready.set()
        status = self._watch()
        with self._beating:  # from here on for what is done at the end, and for the exit
            self._end_after(END_S)
        # Stop in the order of the data's way, so that nothing on it is lost.
        for connection in self._live_connections():
            connection.abandon()
        worker.lanes.close()
        inference.join(timeout=FINISH_S if status == 0 else DRAIN_S)
        with suppress(OutboxError):  # it may be why we stop
            for camera_id in worker.status.snapshot():
                if worker.status.state(camera_id) != "offline":
                    worker.status.set(camera_id, "offline", reason="worker_stopped")
        stop_publishing.set()
        publishing.join(timeout=DRAIN_S)
        for thread in serving:
            thread.join(timeout=DRAIN_S)
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
                log.error("inference_stalled", limit_s=self._worker.health.stall_after_s)
                self._stop.set()
                return 1
            for connection in self._live_connections():
                if connection.is_stuck:
                    self._replace(connection)
            if summary.due(self._clock.monotonic_s()):
                self._summarise()
            if self._worker.feeds and all(one.is_done for one in self._live_connections()):
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
        return self._clock.monotonic_s() - self._beat_s < self._worker.health.stall_after_s

    def _replace(self, connection: Connection) -> None:
        log.error("camera_thread_stuck", camera=connection.feed.name)
        connection.abandon()
        connection.failed("stalled", "the driver did not return in time")
        self._start_feed(connection.feed)

    def _summarise(self) -> None:
        for camera_id, counts in self._worker.lanes.counts().items():
            if (state := self._worker.status.state(camera_id)) is None:
                continue  # another worker has it
            log.info(
                "camera_summary",
                camera=camera_id,
                state=state,
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
            "outbox": self._worker.outbox.trouble or "ok",
            "publishing": self._publishing.status(),
            "load": {"level": self._worker.load.level, "reason": self._worker.load.reason},
            "cameras": self._worker.status.snapshot(),
        }

    # -- inference ------------------------------------------------------------------------------

    def _infer(self) -> None:
        self._worker.new_runner().run(self._stop, beat=self._beat)

    def _beat(self) -> None:
        self._beat_s = self._clock.monotonic_s()
        with self._beating:
            if not self._stop.is_set():
                self._end_after(self._worker.health.stall_after_s + NOTICE_S)

    def _heartbeat(self) -> dict[str, object]:
        worker = self._worker
        return {
            "live": self._is_live(),
            **worker.about,
            "load": {"level": worker.load.level, "reason": worker.load.reason},
            "outbox_depth": worker.outbox.num_waiting,
            "frames_dropped": sum(one.dropped for one in worker.lanes.counts().values()),
            "memory_bytes": resident_bytes(),
        }

    # -- feeds ----------------------------------------------------------------------------------

    def _start_feed(self, feed: Feed) -> None:
        worker = self._worker
        connection = Connection(feed, worker.new_intake(feed), clock=worker.clock, rng=worker.rng)
        with self._lock:
            self._connections[feed.name] = connection
        self._thread(f"feed-{feed.name}", connection.run)

    def _live_connections(self) -> list[Connection]:
        with self._lock:
            return list(self._connections.values())

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
