"""What a start is refused for: `vigil run` and `vigil check` both ask here.

What is away now and may come (a camera, Redis, a topic) is no reason: it is waited for.
"""

import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from errno import EACCES, EADDRINUSE
from functools import partial

from model import Engine
from model.errors import ModelError
from pipeline.clock import Clock
from pipeline.errors import ConfigError, VigilError
from worker.environment import variables
from worker.feeds import feeds_of
from worker.health import to_listen_on
from worker.loading import sketch_engine, try_questions
from worker.own_outbox import try_outbox
from worker.publishers import redis_publishers
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class Start:
    """What a start would meet.

    Attributes:
        refused: a line for each thing that it would be refused for.
        model: the model without its weights, and how many bytes of those are not on this machine
            yet; None where it was refused.
    """

    refused: tuple[str, ...]
    model: tuple[Engine, int] | None


def refuse(settings: Settings, *, clock: Clock) -> None:
    """Refuse what would fail later, before weights are loaded.

    Raises:
        ConfigError: a line for each thing that is wrong.
    """
    start = judged(settings, clock=clock)
    if start.refused:
        raise ConfigError("\n".join(start.refused))


def judged(settings: Settings, *, clock: Clock) -> Start:
    """Try all that a start would meet but the weights, and leave nothing behind."""
    refused = _words(lambda: feeds_of(settings, clock=clock))
    certificates = [
        line
        for variable, value, _ in variables(settings)
        if variable.endswith(("CAFILE", "CA_FILE")) and value
        for line in _words(partial(_try_certificates, variable, str(value)))
    ]
    refused += certificates
    if not certificates:
        refused += _words(lambda: _try_redis(settings, clock=clock))
    refused += _words(lambda: _try_port(settings))
    refused += _words(lambda: try_outbox(settings, clock=clock))
    sketches: list[tuple[Engine, int]] = []
    refused += _words(lambda: sketches.append(sketch_engine(settings)))
    for engine, _ in sketches:
        refused += _words(partial(try_questions, engine, settings))
    return Start(tuple(refused), sketches[0] if sketches else None)


def _words(attempt: Callable[[], object]) -> list[str]:
    try:
        attempt()
    except (VigilError, ModelError) as error:
        return str(error).splitlines()
    return []


def _try_port(settings: Settings) -> None:
    """Refuse a health port that is taken, and an address that is none of this machine.

    Raises:
        ConfigError: it cannot be listened on.
    """
    try:
        family, address = to_listen_on(settings.health.bind, settings.health.port)
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        setting = "PORT" if error.errno in (EADDRINUSE, EACCES) else "BIND"
        raise ConfigError(f"VIGIL_HEALTH__{setting}: cannot listen: {error.strerror}") from None


def _try_redis(settings: Settings, *, clock: Clock) -> None:
    """Refuse an address or a server that no waiting will mend.

    Raises:
        ConfigError: see `RedisPublisher.check_server`.
    """
    try:
        with closing(redis_publishers(settings, clock=clock)()) as publisher:
            publisher.check_server()
    except ConfigError as error:
        raise ConfigError(f"VIGIL_REDIS__URL: {error}") from None


def _try_certificates(variable: str, path: str) -> None:
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise ConfigError(f"{variable}: expected a file of certificates in PEM") from None
    except OSError as error:
        raise ConfigError(f"{variable}: expected a readable file: {error.strerror}") from None
