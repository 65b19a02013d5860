"""The worker as an operator runs it: a process, its environment, its log."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.publishers.subscriber import Subscriber
from tests.wire import validate

ROOT = Path(__file__).resolve().parents[2]


class WorkerProcess:
    """`vigil run`, or another command, with these variables, and what it has logged."""

    def __init__(self, folder: Path, variables: Mapping[str, str], *, command: str) -> None:
        self._command = command
        self._folder = folder
        self._variables = variables
        self._log = folder / "worker.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("VIGIL_")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker", self._command],
                cwd=ROOT,
                env=environment
                | {
                    "VIGIL_OUTBOX__PATH": str(self._folder / "outbox.sqlite"),
                    "VIGIL_INGEST__BUFFER__PATH": str(self._folder / "ingest.sqlite"),
                    "VIGIL_HEALTH__PORT": "0",
                    "VIGIL_MODEL__PATH": "nano",
                    "VIGIL_MODEL__THREADS": "1",
                    "VIGIL_MODEL__MAX_CAPTION_TOKENS": "8",
                }
                | dict(self._variables),
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """As a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM; return the exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Let it end by itself; return the exit status."""
        assert self._process is not None
        return self._process.wait(timeout=30)

    @property
    def maps(self) -> str:
        """What the process has in its memory, libraries among it."""
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/maps").read_text()

    def get(self, page: str) -> str:
        """A page of its health server."""
        port = re.findall(r'"health_port": (\d+)', self.log)[-1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=5) as answer:
            return str(answer.read().decode())

    @property
    def log(self) -> str:
        return self._log.read_text()


StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[StartWorker]:
    """Start workers; whatever happens, none outlives the test."""
    workers: list[WorkerProcess] = []

    def start(command: str = "run", **variables: str) -> WorkerProcess:
        folder = tmp_path / f"worker-{len(workers)}"
        folder.mkdir()
        worker = WorkerProcess(folder, variables, command=command)
        workers.append(worker)
        worker.start()
        return worker

    yield start
    for worker in workers:
        worker.stop()


class Inbox:
    """What a subscriber has received, every message checked against its schema."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber
        self.received: list[tuple[str, dict[str, Any]]] = []

    def until(self, holds: Callable[["Inbox"], object], *, limit_s: float) -> None:
        """Receive until it holds; fail after the time limit."""
        end_s = time.monotonic() + limit_s
        while not holds(self):
            seen = [(channel, said.get("state")) for channel, said in self.said()]
            assert time.monotonic() < end_s, f"not within {limit_s} s, received {seen}"
            for channel, message in self._subscriber.receive(timeout_s=0.2):
                validate(message)
                self.received.append((channel, message))
                if holds(self):
                    return

    def said(self) -> list[tuple[str, dict[str, Any]]]:
        return [(channel, message["data"]) for channel, message in self.received]

    def on(self, channel: str) -> list[dict[str, Any]]:
        return [said for name, said in self.said() if name == channel]


@pytest.fixture
def inbox(redis_url: str) -> Iterator[Inbox]:
    """A subscriber of everything, from before the worker starts."""
    with Subscriber(redis_url) as subscriber:
        yield Inbox(subscriber)
