"""A real Redis with messages, and real consoles over it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from playwright.sync_api import Browser, BrowserContext, Page

from tests.servers.redis import RedisServer
from tests.worker.console.browsing import chromium, chromium_path, logged_in, sound_page
from tests.worker.console.messages import (
    GATE,
    MASKED,
    PEOPLE,
    Streams,
    answer,
    caption,
    event,
    heartbeat,
    listed,
    status,
)
from tests.worker.console.process import TOKEN, Console

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


@pytest.fixture(scope="module")
def server(
    redis_executable: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    """A Redis of these tests' own: one of them stops it."""
    server = RedisServer(redis_executable, tmp_path_factory.mktemp("redis"), is_persistent=True)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def site(server: RedisServer) -> Iterator[Streams]:
    """A site of two cameras with a quarter of an hour behind them."""
    with redis.Redis(port=server.port) as client:
        streams = Streams(client)
        streams.cameras({"gate": listed(GATE, PEOPLE), "yard": listed(GATE)})
        now = datetime.now(UTC)
        ago = [now - timedelta(seconds=5 * n) for n in range(120, 0, -1)]
        p = [0.95 if 50 <= n < 80 else 0.05 for n in range(120)]
        streams.put(
            *(answer("yes" if q > 0.5 else "no", at, p=q) for at, q in zip(ago, p, strict=True)),
            caption("A person in white opens the gate.", ago[50]),
            caption(MASKED, ago[60]),
            event("start", ago[51], event_id="first"),
            event("end", ago[51], event_id="first", lasts_s=150.0),
            status("online", ago[0]),
            status("offline", ago[9], camera_id="yard", reason="timeout", detail="no packet"),
        )
        client.set("vigil:worker:worker-1", heartbeat(outbox_depth=7, publishing={"state": "ok"}))
        yield streams


@pytest.fixture(scope="module")
def console(
    server: RedisServer, site: Streams, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Console]:
    """A console with a token."""
    assert site is not None
    console = Console(tmp_path_factory.mktemp("console"), server.url, token=TOKEN)
    yield console
    console.close()


@pytest.fixture(scope="module")
def context(browser: Browser, console: Console) -> Iterator[BrowserContext]:
    with logged_in(browser, console) as context:
        yield context


@pytest.fixture
def page(context: BrowserContext, console: Console) -> Iterator[Page]:
    with sound_page(context, console) as page:
        yield page
