"""The worker as a process, life after life, and what it logged in each."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.truth import Span

ROOT = Path(__file__).resolve().parents[2]
STARTED_WITHIN_S = 60.0  # most of it loads libraries, on a machine that may be busy
STOPPED_WITHIN_S = 60.0


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

    def __init__(self, arguments: tuple[str, ...], variables: Mapping[str, str]) -> None:
        self._command = [sys.executable, "-m", "tests.chaos.scripted_worker", *arguments]
        self._variables = variables
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._started = threading.Event()
        self.lives: list[Life] = []
        self.paused: list[Span] = []

    @property
    def life(self) -> Life:
        return self.lives[-1]

    def start(self) -> None:
        """Start it and return when its threads run."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("VIGIL_")}
        self._started.clear()
        self.lives.append(Life(now_ms()))
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=environment | dict(self._variables),
            stderr=subprocess.PIPE,  # no file: how large its files may be is limited now and then
            text=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self.life,), daemon=True)
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
        assert self._process is not None
        begun_ms = now_ms()
        self._process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.paused.append(Span(begun_ms, now_ms()))
        self._process.send_signal(signal.SIGCONT)

    def limit_files(self, num_bytes: int = resource.RLIM_INFINITY) -> None:
        """Let no file of its grow, or be written, beyond so many bytes."""
        assert self._process is not None
        _, most = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (num_bytes, most))

    def close(self) -> None:
        """End it, whatever it does."""
        if self._process is not None and self._process.poll() is None:
            self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        assert self._process.poll() is None, f"it ended by itself: {self._process.poll()}"
        self.life.ended_ms = now_ms()
        self._process.send_signal(how)
        self.life.status = self._process.wait(STOPPED_WITHIN_S)
        assert self._reader is not None
        self._reader.join(STOPPED_WITHIN_S)

    def _read(self, life: Life) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        with self._process.stderr as lines:
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
