"""How the address of a Redis is written; read strictly, and without the driver.

redis-py takes `/abc` for database 0 and `/1/2` for database 12 (redis-py#728, redis-py#4308), so
what it would guess at is refused here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode

from pipeline.errors import ConfigError
from pipeline.redact import encode_credentials, split_credentials

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
_SENTINEL_PORT = 26379
_OF_SENTINELS = ("sentinel_username", "sentinel_password")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:@\s]*)(?::(\d+))?")
_NUMBER = re.compile(r"\d*")


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where a Redis is.

    Attributes:
        url: `redis://`, `rediss://` or `unix://`, as redis-py reads it without a guess. It names
            no host where there are sentinels.
        sentinels: (host, port) of each sentinel; () where the server is connected to directly.
        service: the name by which the sentinels know the server.
        sentinel_login: `username` and `password` for the sentinels themselves, where given.
    """

    url: str
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""
    sentinel_login: Mapping[str, str] | None = None


def read_address(url: str) -> RedisAddress:
    """Read `redis://`, `rediss://`, `unix:///PATH` or `redis+sentinel://HOST,HOST/SERVICE/N`.

    Args:
        url: user and password may stand before an @, options of redis-py after a ?.

    Raises:
        ConfigError: says what was expected; never what was given.
    """
    scheme, found, rest = encode_credentials(url).partition("://")
    scheme = scheme.lower()
    if not found or scheme not in SCHEMES:
        raise ConfigError(
            "expected redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://"
        )
    bare, userinfo = split_credentials(f"{scheme}://{rest}")
    place, _, query = bare.partition("://")[2].partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    login = "" if userinfo is None else f"{userinfo}@"
    authority, _, path = place.partition("/")
    if not _NUMBER.fullmatch(options.get("db", "")):
        raise _no_database()
    if scheme == "unix":
        if authority or not path:
            raise ConfigError("expected unix:///PATH, with ?db=1 behind it for database 1")
        return RedisAddress(_joined(f"unix://{login}/{path}", options))
    hosts = [_host(one) for one in authority.split(",")]
    if scheme.endswith("+sentinel"):
        service, _, path = path.partition("/")
        return _behind_sentinels(
            _joined(f"{scheme.partition('+')[0]}://{login}/{_database(path)}", options),
            sentinels=hosts,
            service=service,
        )
    if not hosts[0][0]:
        raise ConfigError("expected a host, such as redis://redis:6379/0")
    if len(hosts) > 1:
        raise ConfigError("expected one host, or redis+sentinel:// before several")
    return RedisAddress(_joined(f"{scheme}://{login}{authority}/{_database(path)}", options))


def with_authorities(url: str, ca_file: str) -> str:
    """Return a URL whose server must show a certificate of these authorities (a PEM file).

    Raises:
        ConfigError: the URL asks for no certificate.
    """
    if not url.lower().startswith("rediss"):
        raise ConfigError(
            "expected rediss:// or rediss+sentinel:// in the URL, since CA_FILE is set"
        )
    return f"{url}{'&' if '?' in url else '?'}ssl_ca_certs={quote(ca_file, safe='')}"


def _behind_sentinels(url: str, *, sentinels: list[tuple[str, int]], service: str) -> RedisAddress:
    if not service or any(not host for host, _ in sentinels):
        raise ConfigError(
            "expected redis+sentinel://HOST:26379,HOST:26379/SERVICE/0, where SERVICE is the name "
            "that the sentinels have for the server"
        )
    base, _, query = url.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    login = {
        name.removeprefix("sentinel_"): options.pop(name)
        for name in _OF_SENTINELS
        if name in options
    }
    ports = tuple((host, port or _SENTINEL_PORT) for host, port in sentinels)
    return RedisAddress(_joined(base, options), ports, service, login)


def _host(text: str) -> tuple[str, int]:
    """Split HOST:PORT; port 0 where there is none."""
    match = _HOST.fullmatch(text)
    if match is None or (match[2] is not None and not 1 <= int(match[2]) <= 65535):
        raise ConfigError("expected HOST:PORT, with a port from 1 to 65535")
    return match[1].strip("[]"), int(match[2] or 0)


def _database(path: str) -> str:
    if not _NUMBER.fullmatch(path):
        raise _no_database()
    return path


def _no_database() -> ConfigError:
    return ConfigError("expected the number of a database, such as /0, behind the host")


def _joined(base: str, options: Mapping[str, str]) -> str:
    return f"{base}?{urlencode(options, quote_via=quote)}" if options else base
