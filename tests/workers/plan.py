"""What is done to the workers, to the broker and to Redis, when: one script, stretched to fit."""

import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.faults import Timeline
from tests.chaos.truth import Span, joined
from tests.chaos.worker_process import WorkerProcess
from tests.servers.kafka import KafkaBroker
from tests.servers.redis import RedisServer

REDIS_AWAY_S = 30.0
BROKER_AWAY_S = 3.0
SETTLED_AFTER_S = 8.0

# Shares of the whole; what lies between two of them is time to settle in, and calm to compare with.
# Redis goes away when the group is about to miss the worker that was killed.
JOIN, BROKER, KILL, AGAIN, STOP, LEAVE = 0.1, 0.2, 0.31, 0.68, 0.78, 0.95


@dataclass
class Plan:
    """The things that take part, and for how long.

    Attributes:
        first: two workers that run from the beginning on; the first one is killed, and comes back.
        third: joins, and leaves.
        session_s: how long the group waits for a sign of life.
    """

    seconds: float
    first: tuple[str, str]
    third: str
    workers: Mapping[str, WorkerProcess]
    broker: KafkaBroker
    redis: RedisServer
    timeline: Timeline
    session_s: float

    @property
    def resumed(self) -> str:
        """The worker that is stopped for longer than its session."""
        return self.first[1]

    def play(self) -> None:
        """Do it all, each at its time; return once all is taken back, but for the one that left."""
        begun_s = time.monotonic()
        errors: list[BaseException] = []
        threads = []
        for at_s, what in self._script():
            time.sleep(max(0.0, begun_s + at_s - time.monotonic()))
            threads.append(threading.Thread(target=_guarded, args=(what, errors)))
            threads[-1].start()
        time.sleep(max(0.0, begun_s + self.seconds - time.monotonic()))
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def _script(self) -> Sequence[tuple[float, Callable[[], None]]]:
        taken_over_s = KILL * self.seconds + self.session_s
        return (
            (JOIN * self.seconds, self._join),
            (BROKER * self.seconds, self._broker_restarts),
            (KILL * self.seconds, self._kill),
            (taken_over_s - self.session_s / 2, self._redis_away),
            (AGAIN * self.seconds, self._comes_back),
            (STOP * self.seconds, self._stop),
            (LEAVE * self.seconds, self._leave),
        )

    def _join(self) -> None:
        with self.timeline.during("join", about=self.third):
            self.workers[self.third].start()

    def _broker_restarts(self) -> None:
        with self.timeline.during("broker"):
            self.broker.stop()
            time.sleep(BROKER_AWAY_S)
            self.broker.start()

    def _kill(self) -> None:
        with self.timeline.during("kill", about=self.first[0]):
            self.workers[self.first[0]].kill()
            time.sleep(self.session_s)  # until the group misses it

    def _redis_away(self) -> None:
        with self.timeline.during("redis"):
            self.redis.kill()
            time.sleep(REDIS_AWAY_S)
            self.redis.start()

    def _comes_back(self) -> None:
        with self.timeline.during("join", about=self.first[0]):
            self.workers[self.first[0]].start()

    def _stop(self) -> None:
        with self.timeline.during("stop", about=self.resumed):
            self.workers[self.resumed].send(signal.SIGSTOP)
            time.sleep(1.8 * self.session_s)
            self.workers[self.resumed].send(signal.SIGCONT)

    def _leave(self) -> None:
        with self.timeline.during("leave", about=self.third):
            self.workers[self.third].stop()
            time.sleep(self.session_s)  # a static member might come back: until then all wait


def _guarded(what: Callable[[], None], errors: list[BaseException]) -> None:
    try:
        what()
    except BaseException as error:  # noqa: BLE001 (raised where the threads are joined)
        errors.append(error)


def disturbed(timeline: Timeline) -> list[Span]:
    """When a camera may be nobody's, or two workers may not know yet that it is another's."""
    return joined([one.span.wider(after_ms=1000 * SETTLED_AFTER_S) for one in timeline.faults])
