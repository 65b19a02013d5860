"""Variables as they were meant: names in capitals, values without what files and shells leave on.

Everything that is read passes through here once: the process's environment, an env file, and the
files that hold secrets. What a value means is `worker.values`' affair.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.errors import ConfigError

_BOM = "\ufeff"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_QUOTED = re.compile(r"'(?P<single>[^']*)'|\"(?P<double>(?:[^\"\\]|\\.)*)\"")
_AFTER_QUOTES = re.compile(r"\s*(?:\s#.*)?")
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


def clean(value: str) -> str:
    """Return a value without a byte order mark, blanks around it, and quotes around all of it.

    Quotes that are not one pair stay: `"OPEN" or "CLOSED"` is what it says.
    """
    value = value.strip().lstrip(_BOM).strip()
    mark = value[:1]
    if len(value) >= 2 and mark in ("'", '"') and value[1:].find(mark) == len(value) - 2:
        return value[1:-1].strip()
    return value


def named(environ: Mapping[str, str], *, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield (name in capitals, clean value) of the variables that begin with `prefix`."""
    for name, value in environ.items():
        upper = name.lstrip(_BOM).strip().upper()
        if upper.startswith(prefix):
            yield upper, clean(value)


def read_text(path: str) -> str:
    """Return a file's text; a byte order mark is no part of it.

    Raises:
        ConfigError: it cannot be read; the message says why and not which file.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, RuntimeError, ValueError) as error:  # ValueError: bytes, or a name, of no text
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"expected a readable file: {reason}") from None
    if "\0" in text:
        raise ConfigError("expected a readable file: it is not UTF-8 text")
    return text


def read_env_file(path: str) -> dict[str, str]:
    """Read lines `NAME=value` as Docker Compose reads an `env_file`.

    A `#` at the start of a line or after a blank begins a comment, unless it stands in quotes.
    Single quotes take everything as it is; in double quotes a backslash escapes. The text between
    two quotes may have no line end. A line with a name alone sets nothing.

    Raises:
        ConfigError: the file cannot be read, or holds a line that sets nothing, or a `$` that
            Compose would replace. The message has the line's number or its name, not its value.
    """
    try:
        lines = read_text(path).splitlines()
    except ConfigError as error:
        raise ConfigError(f"--env {path}: {error}") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip().removeprefix("export ").strip()
        if not text or text.startswith("#"):
            continue
        name, has_value, value = text.partition("=")
        name = name.strip()
        if not _NAME.fullmatch(name):
            raise ConfigError(f"--env {path}: line {number}: expected NAME=value")
        if has_value:
            found[name] = _unescaped(name, value.strip())
    return found


def _unescaped(name: str, value: str) -> str:
    quoted = _QUOTED.match(value)
    if quoted and _AFTER_QUOTES.fullmatch(value[quoted.end() :]):
        if quoted["single"] is not None:
            return quoted["single"]
        literal = re.sub(r"\\\$", "", quoted["double"])
        text = re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), quoted["double"])
    else:
        literal = text = "" if value.startswith("#") else re.split(r"\s#", value, maxsplit=1)[0]
    if "$" in literal:
        raise ConfigError(
            f"{name}: expected single quotes around a value with $: Docker Compose would replace "
            "what follows it"
        )
    return text.strip()
