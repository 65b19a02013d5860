"""The worker as a process, life after life, and what it logged in each."""

import json
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.chaos import scripted_worker
from tests.chaos.truth import Span

STARTED_WITHIN_S = STOPPED_WITHIN_S = 60.0  # on a machine that may be busy

# Libraries take seconds to load, in which nobody looks at the cameras: each life is forked off a
# process that has loaded them and has done nothing else.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([scripted_worker.__name__])


def now_ms() -> float:
    return 1000 * time.time()


@dataclass(slots=True)
class Life:
    """One process. Its log is complete once it has ended."""

    began_ms: float
    log: list[dict[str, Any]] = field(default_factory=list)
    noise: list[str] = field(default_factory=list)  # lines that are no log lines
    started_ms: float | None = None
    ended_ms: float | None = None
    was_told_to_stop: bool = False
    status: int | None = None


class WorkerProcess:
    """Started, stopped, killed, made to hold its breath; one life after the other."""

    def __init__(self, main: Callable[..., None], *arguments: object) -> None:
        """Make one that calls `main` with these, and last with the connection for its log."""
        self._main = main
        self._arguments = arguments
        self._process: BaseProcess | None = None
        self._reader: threading.Thread | None = None
        self._started = threading.Event()
        self.lives: list[Life] = []
        self.paused: list[Span] = []

    @property
    def life(self) -> Life:
        return self.lives[-1]

    def start(self) -> None:
        """Start it and return when its threads run."""
        self._started.clear()
        self.lives.append(Life(now_ms()))
        # no file: how large the worker's files may be is limited now and then
        log, stderr = _FORKS.Pipe(duplex=False)
        self._process = _FORKS.Process(target=self._main, args=(*self._arguments, stderr))
        self._process.start()
        stderr.close()
        self._reader = threading.Thread(target=self._read, args=(log, self.life), daemon=True)
        self._reader.start()
        assert self._started.wait(STARTED_WITHIN_S), self.life.noise[-20:] or self.life.log[-5:]
        assert self.life.started_ms is not None, self.life.noise[-20:] or self.life.log[-5:]

    def kill(self) -> None:
        """As a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM."""
        self.life.was_told_to_stop = True
        self._end(signal.SIGTERM)

    def pause(self, seconds: float) -> None:
        """Hold its breath, all of its threads at once."""
        begun_ms = now_ms()
        self.send(signal.SIGSTOP)
        time.sleep(seconds)
        self.paused.append(Span(begun_ms, now_ms()))
        self.send(signal.SIGCONT)

    def send(self, what: signal.Signals) -> None:
        os.kill(self._pid, what)

    def limit_files(self, num_bytes: int = resource.RLIM_INFINITY) -> None:
        """Let no file of its grow, or be written, beyond so many bytes."""
        _, most = resource.prlimit(self._pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (num_bytes, most))

    @property
    def spent_s(self) -> float:
        """Processor seconds of this life, of all of its threads."""
        after_name = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End it, whatever it does."""
        if self._process is not None and self._process.is_alive():
            self._end(signal.SIGKILL)

    @property
    def _pid(self) -> int:
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        assert self._process.is_alive(), f"it ended by itself: {self._process.exitcode}"
        self.life.ended_ms = now_ms()
        self.send(how)
        self._process.join(STOPPED_WITHIN_S)
        self.life.status = self._process.exitcode
        assert self._reader is not None
        self._reader.join(STOPPED_WITHIN_S)

    def _read(self, log: Connection, life: Life) -> None:
        with os.fdopen(os.dup(log.fileno()), encoding="utf-8", errors="replace") as lines:
            log.close()
            for line in lines:
                try:
                    told = json.loads(line)
                except ValueError:
                    life.noise.append(line.rstrip())
                    continue
                life.log.append(told)
                if told["event"] == "worker_started":
                    life.started_ms = now_ms()
                    self._started.set()
        self._started.set()
