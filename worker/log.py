"""Structured logs on stderr, every line of them redacted."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from pipeline.redact import redact

# Drivers that log every retry of their own at warning level; what they mean reaches the log as our
# own events, once per change of state.
_QUIET = {"kafka": logging.CRITICAL, "libav": logging.CRITICAL, "PIL": logging.WARNING}


def configure(*, level: str, style: str, secrets: tuple[str, ...] = ()) -> None:
    """Send structlog's and the standard library's lines to stderr.

    Args:
        level: least severe line that is logged: debug, info, warning or error.
        style: `json` for one object a line, `console` for people.
        secrets: literal strings blanked wherever they appear, tracebacks included.
    """

    def without_credentials(
        _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        return {key: _redacted(value, secrets) for key, value in event.items()}

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        without_credentials,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)


def _redacted(value: object, secrets: tuple[str, ...]) -> object:
    """Blank credentials in a value of any shape; objects are logged as their redacted text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {key: _redacted(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted(item, secrets) for item in value]
    return redact(str(value), *secrets)
