"""The real console in a process of its own, and requests to it."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import urlencode

import redis

from tests.servers.redis import RedisServer, free_port

SOON_S = 20.0
TOKEN = "a-token-of-the-tests"


class Console:
    """One `vigil console`.

    Attributes:
        port: where it listens.
        log: what it has logged.
        history: its file.
    """

    def __init__(self, folder: Path, redis_url: str, **settings: str) -> None:
        self.port = free_port()
        self.history = folder / "console.sqlite"
        self.log = folder / "console.log"
        self._redis_url = redis_url
        self._settings = settings
        self._running: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it; return once it answers."""
        environment = {
            **os.environ,
            "VIGIL_REDIS__URL": self._redis_url,
            "VIGIL_CONSOLE__PORT": str(self.port),
            "VIGIL_CONSOLE__PATH": str(self.history),
            **{f"VIGIL_CONSOLE__{name.upper()}": value for name, value in self._settings.items()},
        }
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                [sys.executable, "-m", "worker", "console"], env=environment, stderr=log
            )
        until(lambda: self._running is not None and self._answers())

    def kill(self) -> None:
        """End it at once."""
        assert self._running is not None
        self._running.kill()
        self._running.wait()

    def stop(self) -> int:
        """Ask it to end; return its exit status."""
        assert self._running is not None
        self._running.send_signal(signal.SIGTERM)
        return self._running.wait(SOON_S)

    def close(self) -> None:
        if self._running is not None and self._running.poll() is None:
            self.kill()

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def request(
        self,
        path: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] = {},
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers (names in small letters) and body; follow nothing."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SOON_S)
        try:
            connection.request(method, f"/{path}", body=body, headers=dict(headers))
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, told, answer.read()
        finally:
            connection.close()

    def get(self, path: str, **query: object) -> Any:
        """Return what a path answers in JSON."""
        asked = f"{path}?{urlencode(query)}" if query else path
        status, _, body = self.request(asked)
        assert status == 200, body
        return json.loads(body)

    def post(self, path: str, told: object, headers: Mapping[str, str] | None = None) -> int:
        """Send JSON as a page of ours does; return the status."""
        own = {"sec-fetch-site": "same-origin"} if headers is None else headers
        status, _, _ = self.request(
            path, method="POST", body=json.dumps(told).encode(), headers=own
        )
        return status

    def num_messages(self) -> int:
        return int(self.get("api/health")["history"]["messages"])

    def _answers(self) -> bool:
        assert self._running is not None
        assert self._running.poll() is None, self.log.read_text()
        try:
            return self.request("livez")[0] == 200
        except OSError:
            return False


def until(holds: Callable[[], object], what: str = "it does not become so") -> None:
    end_s = time.monotonic() + SOON_S
    while not holds():
        assert time.monotonic() < end_s, what
        time.sleep(0.02)


@contextmanager
def working(server: RedisServer, work: Callable[[Any], None]) -> Iterator[None]:
    """Do a worker's part again and again, in a thread, for as long as the block lasts."""
    stop = Event()

    def run() -> None:
        with redis.Redis(port=server.port) as client:
            while not stop.wait(0.1):
                work(client)

    thread = Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
