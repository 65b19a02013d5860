"""`vigil console`: a page over Redis. It loads no model, nor torch."""

import argparse

from pipeline.clock import SystemClock
from pipeline.errors import ConfigError
from worker import environment, log

SUMMARY = "serve a page that shows cameras, events and answers from Redis (Ctrl-C or SIGTERM)"


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing: the settings say it all."""


def run(_arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigError: a setting is wrong, starlette and uvicorn are not installed, or something that
            the console needs of this machine is not there.
    """
    settings = environment.load_for_console()
    secrets = environment.secrets_of(settings)
    log.configure(level=settings.log_level, style=settings.log_format, secrets=secrets)
    import asyncio

    try:
        from worker.console.server import serve
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"console: expected the package {error.name}, as pip install '.[console]' installs it"
        ) from None
    asyncio.run(serve(settings, clock=SystemClock()))
    return 0
