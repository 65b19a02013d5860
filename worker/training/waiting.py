"""Tells of a wait while whatever is waited for says nothing."""

from collections.abc import Callable
from threading import Event, Thread
from types import TracebackType
from typing import Self

SAID_EVERY_S = 5.0


class Waiting:
    """Says every few seconds, on a thread of its own, what is being done and for how long."""

    def __init__(
        self,
        doing: str,
        *,
        say: Callable[[str], None],
        now_s: Callable[[], float],
        every_s: float = SAID_EVERY_S,
    ) -> None:
        """Say what is done, once, and again until the block ends or `over` is called."""
        self._doing, self._say, self._now_s, self._every_s = doing, say, now_s, every_s
        self._is_over = Event()
        self._thread = Thread(target=self._run, name="waiting", daemon=True)

    def __enter__(self) -> Self:
        self._begun_s = self._now_s()
        self._say(self._doing)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.over()

    def over(self) -> None:
        """Say no more."""
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(self._every_s):
            self._say(f"{self._doing}: {self._now_s() - self._begun_s:.0f} s so far")
