"""Time as a parameter: the only file that touches a clock."""

import time
from datetime import UTC, datetime
from threading import Event
from typing import Protocol


class Clock(Protocol):
    """Three clocks and a pause. Wall-clock may jump; monotonic never goes back."""

    def now(self) -> datetime:
        """Wall-clock time, aware, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go back; only differences mean anything."""
        ...

    def spent_s(self) -> float:
        """Seconds of a processor that this thread has had; only differences mean anything."""
        ...

    def wait(self, seconds: float, stop: Event) -> bool:
        """Pause; return early and True as soon as `stop` is set."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()

    def spent_s(self) -> float:
        return time.thread_time()

    def wait(self, seconds: float, stop: Event) -> bool:
        return stop.wait(max(0.0, seconds))

    def pause(self, seconds: float) -> None:
        """Pause, whatever happens: for commands and start-up alone, no stage may use it."""
        time.sleep(max(0.0, seconds))
