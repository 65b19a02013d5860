"""A real Redis with messages, and real consoles over it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from playwright.sync_api import Browser

from tests.worker.console.browsing import chromium, chromium_path
from tests.worker.console.messages import Streams
from tests.worker.console.process import Console

StartConsole = Callable[..., Console]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = chromium_path()
    if executable is None:
        pytest.skip("no chromium on the PATH")
    with chromium(executable) as started:
        yield started


@pytest.fixture
def streams(redis_url: str) -> Iterator[Streams]:
    with redis.Redis.from_url(redis_url) as client:
        yield Streams(client)


@pytest.fixture
def start_console(redis_url: str, tmp_path: Path) -> Iterator[StartConsole]:
    """Start consoles with settings of their own; over the shared Redis, or another's address."""
    started: list[Console] = []

    def start(url: str = redis_url, **settings: str) -> Console:
        folder = tmp_path / f"console-{len(started)}"
        folder.mkdir()
        console = Console(folder, url, **settings)
        started.append(console)
        return console

    yield start
    for console in started:
        console.close()
