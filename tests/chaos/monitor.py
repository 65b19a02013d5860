"""What an operator would have seen: /status and /metrics, again and again."""

import json
import re
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from tests.chaos.worker_process import WorkerProcess, now_ms

LOOK_S = 0.3
TIMEOUT_S = 2.0

_SERIES = re.compile(
    r"^(vigil_(?:publish\w+|outbox\w+|camera_up|events_total|fenced_total))(?:\{(.*)\})? (\S+)$",
    re.M,
)
_LABEL = re.compile(r'(camera|kind|reason)="(\w*)"')

Series = dict[tuple[str, ...], float]
"""(name, label values in the order of their names) -> value."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look, all within a moment.

    Attributes:
        at_ms: when it began.
        until_ms: when the worker had answered: on a busy machine seconds later.
        life: number of the process.
        status: the page /status.
        series: of publishing, the outbox and the cameras.
    """

    at_ms: float
    until_ms: float
    life: int
    status: dict[str, Any]
    series: Series

    @property
    def publishing(self) -> dict[str, Any]:
        said: dict[str, Any] = self.status["publishing"]
        return said

    def total(self, name: str) -> float:
        return sum(value for key, value in self.series.items() if key[0] == name)

    def failures(self, reason: str) -> float:
        return self.series.get(("vigil_publish_failures_total", reason), 0.0)

    def is_calm(self) -> bool:
        """Whether messages arrive and none waits."""
        return (
            self.publishing["state"] == "ok"
            and not self.status["outbox_depth"]
            and self.status["outbox"] == "ok"
        )


def series_of(exposition: str) -> Series:
    """Read Prometheus' text; series that other labels tell apart are added up."""
    found: Series = {}
    for name, labels, value in _SERIES.findall(exposition):
        key = name, *(text for _, text in sorted(_LABEL.findall(labels)))
        found[key] = found.get(key, 0.0) + float(value)
    return found


class Monitor:
    """Looks as often as it can; a worker that does not answer leaves no sample."""

    def __init__(self, worker: WorkerProcess, port: int) -> None:
        self._worker = worker
        self._port = port
        self.samples: list[Sample] = []

    def watch(self, stop: threading.Event) -> None:
        """Look until `stop`; a thread of its own."""
        while not stop.wait(LOOK_S):
            self.look()

    def until(self, holds: Callable[[Sample], bool], *, limit_s: float) -> Sample | None:
        """Look until it holds; None where it does not within the limit."""
        end_s = time.monotonic() + limit_s
        while time.monotonic() < end_s:
            sample = self.look()
            if sample is not None and holds(sample):
                return sample
            time.sleep(LOOK_S / 3)
        return None

    def look(self) -> Sample | None:
        """Look now; None where the worker does not answer."""
        life, at_ms = len(self._worker.lives) - 1, now_ms()
        try:
            status, metrics = self._get("/status"), self._get("/metrics")
        except (OSError, HTTPException):
            return None
        if life != len(self._worker.lives) - 1:  # one page of each
            return None
        sample = Sample(at_ms, now_ms(), life, json.loads(status), series_of(metrics))
        self.samples.append(sample)
        return sample

    def _get(self, page: str) -> str:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self._port}{page}", timeout=TIMEOUT_S
        ) as answer:
            return str(answer.read().decode())
