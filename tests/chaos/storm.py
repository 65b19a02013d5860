"""Draws faults at random and does them, overlapping: to Redis, to the worker, to its cameras."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.faults import REDIS_KINDS, STREAMS, RedisFaults, Timeline
from tests.chaos.monitor import Monitor
from tests.chaos.reader import Lane
from tests.chaos.truth import CAMERAS, Span
from tests.chaos.worker_process import WorkerProcess

BLOCKED = "wrong_type"
WORKER_KINDS = ("kill", "term", "stop", "disk")
SMALL_FILE_BYTES = 4096
LONG_S, SHORT_S = (1.5, 8.0), (0.1, 0.5)
CALM_WITHIN_S = 40.0  # the longest pause between two tries is 10 s, and a start takes some


@dataclass(frozen=True, slots=True)
class SetAside:
    """Messages that were refused for their own sake.

    Attributes:
        lane: of them all.
        span: when another program had their stream's key.
        life: number of the process that set them aside.
        number: how many they were by /status.
        counted: the same by the metric.
    """

    lane: Lane
    span: Span
    life: int
    number: int
    counted: int


class Storm:
    """Three threads, each with its own luck.

    Two faults keep apart from others. While another program has a stream's key, nothing else is
    done to Redis or to the worker, so that it is known to the message what must be set aside. And
    while the outbox is in memory the worker is not killed: a kill would lose what is there, as the
    status then says.
    """

    def __init__(
        self,
        seed: int,
        *,
        worker: WorkerProcess,
        faults: RedisFaults,
        monitor: Monitor,
        timeline: Timeline,
        gone: Path,
    ) -> None:
        self._seed = seed
        self._worker = worker
        self._faults = faults
        self._monitor = monitor
        self._timeline = timeline
        self._gone = gone
        self._stop = threading.Event()
        self._worker_is_left_alone = threading.Lock()
        self.set_aside: list[SetAside] = []
        self.errors: list[BaseException] = []

    def rage(self, seconds: float) -> None:
        """Do faults for so long; return once all are taken back."""
        threads = [
            threading.Thread(target=self._guarded, args=(what, f"{self._seed} {what.__name__}"))
            for what in (self._redis, self._workers, self._cameras)
        ]
        for thread in threads:
            thread.start()
        self._stop.wait(seconds)
        self._stop.set()
        for thread in threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def _guarded(self, what: Callable[[random.Random], None], seed: str) -> None:
        try:
            what(random.Random(seed))  # noqa: S311 (it is to be repeatable)
        except BaseException as error:  # noqa: BLE001 (raised where the threads are joined)
            self.errors.append(error)
            self._stop.set()

    def _redis(self, rng: random.Random) -> None:
        for name in _dealt(rng, (*REDIS_KINDS, BLOCKED)):
            if self._stop.wait(rng.uniform(0.5, 3.0)):
                return
            if name == BLOCKED:
                self._block(rng)
                continue
            seconds = rng.uniform(*(LONG_S if REDIS_KINDS[name].is_sure else SHORT_S))
            with ExitStack() as undone:
                undone.enter_context(self._faults.fault(name, rng, seconds=seconds))
                self._stop.wait(seconds / 2)
                if REDIS_KINDS[name].is_setting and rng.random() < 0.4:
                    second = rng.choice([one for one in REDIS_KINDS if one != name])
                    on_top_s = rng.uniform(0.5, 4.0)
                    with self._faults.fault(second, rng, seconds=on_top_s):
                        self._stop.wait(on_top_s)
                self._stop.wait(seconds / 2)
            if rng.random() < 0.7:
                self._monitor.until(lambda sample: sample.is_calm(), limit_s=15)

    def _block(self, rng: random.Random) -> None:
        with self._worker_is_left_alone:
            before = self._monitor.until(lambda one: one.is_calm(), limit_s=CALM_WITHIN_S)
            assert before is not None, "nothing is wrong, and messages do not arrive"
            camera_id, kind, key = rng.choice(STREAMS)
            with self._timeline.during(BLOCKED, about=key) as fault, self._faults.blocked(key):
                self._stop.wait(rng.uniform(2.0, 5.0))
            time.sleep(1.0)  # for what was refused and is being tried again
            after = self._monitor.until(lambda one: one.is_calm(), limit_s=CALM_WITHIN_S)
            assert after is not None, "the key is free again, and messages do not arrive"
            assert after.life == before.life
            total = "vigil_outbox_set_aside_total"
            self.set_aside.append(
                SetAside(
                    (camera_id, kind),
                    fault.span,
                    after.life,
                    after.publishing["set_aside"] - before.publishing["set_aside"],
                    round(after.total(total) - before.total(total)),
                )
            )

    def _workers(self, rng: random.Random) -> None:
        for name in _dealt(rng, WORKER_KINDS):
            if self._stop.wait(rng.uniform(5.0, 13.0)):
                return
            with self._worker_is_left_alone:
                {
                    "kill": self._kill,
                    "term": self._term,
                    "stop": self._hold,
                    "disk": self._fail_disk,
                }[name](rng)

    def _kill(self, rng: random.Random) -> None:
        with self._timeline.during("kill"):
            self._worker.kill()
            if rng.random() < 0.3:  # once more, before it has done much
                self._worker.start()
                self._worker.kill()
            self._stop.wait(rng.uniform(0.0, 2.0))
            self._worker.start()

    def _term(self, _rng: random.Random) -> None:
        with self._timeline.during("term"):
            self._worker.stop()
            self._worker.start()

    def _hold(self, rng: random.Random) -> None:
        with self._timeline.during("stop", reasons=("timeout", "unreachable")):
            self._worker.pause(rng.uniform(0.5, 5.0))

    def _fail_disk(self, rng: random.Random) -> None:
        with self._timeline.during("disk"):
            self._worker.limit_files(SMALL_FILE_BYTES)
            self._stop.wait(rng.uniform(2.0, 6.0))
            self._worker.limit_files()
        is_over = self._monitor.until(
            lambda one: one.status["outbox"] == "ok", limit_s=CALM_WITHIN_S
        )
        assert is_over, "the disk is well again, and the outbox is not"

    def _cameras(self, rng: random.Random) -> None:
        while not self._stop.wait(rng.uniform(5.0, 15.0)):
            camera_id = rng.choice(CAMERAS)
            with self._timeline.during("camera", about=camera_id):
                (self._gone / camera_id).touch()
                self._stop.wait(rng.uniform(1.0, 6.0))
                (self._gone / camera_id).unlink()


def _dealt(rng: random.Random, kinds: Sequence[str]) -> Iterator[str]:
    """Yield kinds for ever, each once before any comes again."""
    while True:
        yield from rng.sample(kinds, len(kinds))
