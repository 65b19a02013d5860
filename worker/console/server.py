"""Builds the console from the settings and serves it until it is told to stop."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from pipeline.clock import Clock
from pipeline.errors import ConfigError
from worker.console.access import Access, Guard
from worker.console.answers import Answers, Parts
from worker.console.follower import Follower
from worker.console.history import History
from worker.console.pages import Pages
from worker.console.recall import Recall
from worker.console.redis import ConsoleRedis
from worker.console.threads import Threads
from worker.console.wall import Wall
from worker.health import host_of
from worker.settings import Settings

STOP_S = 2
_STATIC = Path(__file__).parent / "static"

log = structlog.get_logger("vigil")


class _Server(uvicorn.Server):
    """uvicorn's, which tells open pages when it is to stop: they would hold it up."""

    closing: asyncio.Event

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT, and end with 0: uvicorn's own raises the signal again."""
        loop = asyncio.get_running_loop()
        for one in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(one, self._stop)
        yield

    def _stop(self) -> None:
        self.closing.set()
        self.should_exit = True


async def serve(settings: Settings, *, clock: Clock) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigError: the address of Redis, the history's file or the port cannot be used.
    """
    console = settings.console
    redis = ConsoleRedis(settings.redis.address, prefix=settings.redis.prefix)
    history = History(
        Path(console.path), keep_ms=round(1000 * console.keep), max_bytes=console.max_bytes
    )
    parts = Parts(
        wall=Wall(clock),
        redis=redis,
        history=history,
        recall=Recall(Path(console.path)),
        threads=Threads(),
        closing=asyncio.Event(),
    )
    token = console.token.get_secret_value()
    access = Access(token, base_path=console.base_path, clock=clock)
    server = _Server(
        uvicorn.Config(
            application(parts, access),
            host=host_of(console.bind),
            port=console.port,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_S,
            limit_concurrency=1024,
            proxy_headers=False,
        )
    )
    server.closing = parts.closing
    log.info("console_starts", bind=console.bind, port=console.port, has_token=access.is_closed)
    try:
        await server.serve()
    except SystemExit:  # uvicorn's word for a port that it cannot have; it has logged why
        raise ConfigError(
            "VIGIL_CONSOLE__BIND and VIGIL_CONSOLE__PORT: expected an address of this machine and "
            "a port that is free"
        ) from None
    finally:
        parts.threads.close()
        parts.recall.close()
        history.close()


def application(parts: Parts, access: Access) -> ASGIApp:
    """Return the whole console, at its base path and without it: a proxy may take that off."""
    routes = _routes(Answers(parts), Pages(access))
    mounts: list[BaseRoute] = [Mount("/", routes=routes)]
    if access.base_path:
        mounts.insert(0, Mount(access.base_path, routes=routes))

    @asynccontextmanager
    async def followed(_app: Starlette) -> AsyncIterator[None]:
        follower = Follower(parts.redis, parts.history, parts.wall, in_history=parts.threads.write)
        tasks = [asyncio.create_task(one) for one in (follower.run(), follower.watch())]
        for task in tasks:
            task.add_done_callback(_end_with)
        yield
        for task in tasks:
            task.remove_done_callback(_end_with)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await parts.redis.close()

    def _end_with(task: asyncio.Task[None]) -> None:
        """What nobody foresaw ends the process, for its container to start it again."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("console_fails", exc_info=error)
            raise SystemExit(1)

    app = Starlette(
        routes=mounts,
        lifespan=followed,
        exception_handlers={HTTPException: _in_words},  # type: ignore[dict-item] # Starlette's own example
    )
    return Guard(app, access)


def _routes(answers: Answers, pages: Pages) -> list[BaseRoute]:
    api: list[BaseRoute] = [
        Route("/cameras", answers.cameras),
        Route("/live", answers.live),
        Route("/look", answers.look, methods=["POST"]),
        Route("/cameras/{camera_id}/picture", answers.picture),
        Route("/cameras/{camera_id}/shot", answers.shot),
        Route("/cameras/{camera_id}/course", answers.course),
        Route("/health", answers.health),
        Route("/events", answers.events),
        Route("/events/review", answers.review, methods=["POST"]),
        Route("/events/{event_id}/mark", answers.mark, methods=["POST"]),
        Route("/events/{event_id}", answers.event),
        Route("/events/{event_id}/{role}", answers.evidence),
        Route("/search", answers.search),
        Route("/export/{name}", answers.export),
        Route("/ask", answers.ask, methods=["POST"]),
        Route("/command", answers.command, methods=["POST"]),
    ]

    return [
        Route("/", pages.cameras),
        Route("/camera/{camera_id}", pages.camera),
        Route("/inbox", pages.inbox),
        Route("/health", pages.health),
        Route("/login", pages.login, methods=["GET", "POST"]),
        Route("/logout", pages.logout, methods=["POST"]),
        Route("/livez", pages.livez),
        Mount("/api", routes=api),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]


async def _in_words(_request: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, status_code=error.status_code)
