"""A feed's connection to its source, kept up by one thread: the one place that retries a source."""

import random
from collections.abc import Iterator
from threading import Event

import structlog

from pipeline.clock import Clock
from pipeline.errors import OutboxError, SourceError, VigilError
from pipeline.intake import Intake
from pipeline.retry import backoff_s
from pipeline.sources.base import FrameSource
from pipeline.types import Frame, StatusReason, Tell, Wanted
from worker.parts import Feed

log = structlog.get_logger("vigil")


class Connection:
    """Connects, hands frames to the intake, fails, waits and connects again, until abandoned."""

    def __init__(self, feed: Feed, intake: Intake, *, clock: Clock, rng: random.Random) -> None:
        """Note what to connect to; `run` connects."""
        self.feed = feed
        self.is_done = False
        self._intake = intake
        self._clock = clock
        self._rng = rng
        self._stop = Event()
        self._source: FrameSource | None = None
        self._waiting_since_s: float | None = None  # in the driver, monotonic; None while elsewhere
        self._failures = 0  # in a row

    @property
    def is_stuck(self) -> bool:
        """Whether the thread has been inside its driver for longer than the feed allows."""
        since_s, limit_s = self._waiting_since_s, self.feed.stuck_after_s
        if since_s is None or limit_s is None:
            return False
        return self._clock.monotonic_s() - since_s > limit_s

    def run(self) -> None:
        """Keep the feed running; return once it is abandoned, or played to an end it may have."""
        self._intake.expect(self.feed.camera_ids)
        while not self._stop.is_set():
            source = self._source = self._intake.connect(self._build)
            reason: StatusReason = "ended"
            detail = ""
            try:
                self._play(source)
            except SourceError as error:
                reason, detail = error.reason, str(error)
            except OutboxError as error:  # no status can be stored: the source is not at fault
                reason, detail = "outbox", str(error)
            finally:
                self._waiting_since_s = None
                source.close()
            if self._stop.is_set():
                return
            if reason == "ended" and not self.feed.is_endless:
                self.failed("ended", "the file has been played to its end", is_over=True)
                self.is_done = True
                return
            pause_s = self._pause_s(reason)
            self.failed(reason, detail, next_try_s=pause_s)
            self._clock.wait(pause_s, self._stop)

    def abandon(self) -> None:
        """Make `run` return as soon as its driver does. Any thread."""
        self._stop.set()
        if self._source is not None:
            self._source.close()

    def failed(
        self,
        reason: StatusReason,
        detail: str,
        *,
        is_over: bool = False,
        next_try_s: float | None = None,
    ) -> None:
        """Count a failure and say it: of every camera, or of the feed while it has none."""
        self._failures += 1
        self._intake.lost(reason, detail, is_over=is_over, next_try_s=next_try_s)
        if not self._intake.has_cameras and self._failures == 1:
            log.warning("feed_failed", feed=self.feed.name, reason=reason, detail=detail)

    def _build(self, wanted: Wanted, tell: Tell) -> FrameSource:
        def tell_and_be_alive(camera_id: str, reason: StatusReason, detail: str | None) -> None:
            self._waiting_since_s = self._clock.monotonic_s()
            tell(camera_id, reason, detail)

        return self.feed.build(wanted, tell_and_be_alive)

    def _play(self, source: FrameSource) -> None:
        self._waiting_since_s = self._clock.monotonic_s()
        for frame in self._frames(source):
            self._waiting_since_s = None
            if self._stop.is_set():
                return
            self._failures = 0
            self._intake.take(frame, source)
            self._waiting_since_s = self._clock.monotonic_s()

    def _frames(self, source: FrameSource) -> Iterator[Frame]:
        """Pass on its frames; what no driver should raise is the trouble of its cameras alone."""
        try:
            yield from source.frames()
        except VigilError:
            raise
        except Exception as error:
            log.exception("source_failed", feed=self.feed.name)
            detail = f"its driver failed unforeseen, with {type(error).__name__}"
            raise SourceError("corrupt", detail) from error

    def _pause_s(self, reason: StatusReason) -> float:
        retry = self.feed.retry
        # A wrong password is not retried quickly: cameras lock accounts.
        base_s = retry.cap_s if reason.startswith("auth_") else retry.base_s
        return backoff_s(self._failures + 1, base_s=base_s, cap_s=retry.cap_s, rng=self._rng)
