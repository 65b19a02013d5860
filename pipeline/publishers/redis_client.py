"""Makes the driver's client: for one server, with or without TLS, or for one behind Sentinel."""

import ssl
from typing import Any

import redis
import redis.asyncio as aio
import redis.asyncio.sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from pipeline.errors import ConfigError
from pipeline.publishers.redis_address import RedisAddress, read_address

CONNECT_TIMEOUT_S = 1.0
SOCKET_TIMEOUT_S = 2.0  # the driver's own defaults blocked 60 s on a half-open server


def connect(url: str) -> redis.Redis:
    """Return a client that has not connected, with none of the driver's own retries.

    Raises:
        ConfigError: the address cannot be read, or has options that the driver does not know; the
            text says what was expected, never what was given.
    """
    address = read_address(url)
    refused = None
    try:
        client = _through_sentinels(address) if address.sentinels else _directly(address)
        # unknown options in the address show only here
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)
    except (TypeError, ValueError, RedisError) as exc:
        refused = type(exc).__name__
    else:
        return client
    # outside the except: the driver's text may carry a piece of the password
    raise ConfigError(
        "expected an address with options that redis-py knows and any / of a password written as "
        f"%2F, got one that it refuses ({refused})"
    )


def connect_async(url: str) -> aio.Redis:
    """Return the like of `connect`'s for a program of one event loop.

    Raises:
        ConfigError: as `connect`.
    """
    connect(url).close()  # refuses what cannot be used, before there is a loop
    address = read_address(url)
    options = _options() | {"retry": AsyncRetry(NoBackoff(), 0)}
    if not address.sentinels:
        return aio.Redis.from_url(address.url, **options)
    options |= _read(address)
    sentinels = redis.asyncio.sentinel.Sentinel(  # type: ignore[no-untyped-call]  # as in `connect`
        address.sentinels, sentinel_kwargs=_for_sentinels(address, options), **options
    )
    client: aio.Redis = sentinels.master_for(address.service)
    return client


def check_certificates(url: str) -> None:
    """Read the files that the address names, as the driver will when it connects.

    Raises:
        ConfigError: one is missing or holds no certificate.
    """
    options = _read(read_address(url))
    authorities = options.get("ssl_ca_certs"), options.get("ssl_ca_path")
    certificate = options.get("ssl_certfile")
    try:
        context = ssl.create_default_context()
        if any(authorities):
            context.load_verify_locations(*authorities)
        if certificate:
            password = options.get("ssl_password") or ""
            context.load_cert_chain(certificate, options.get("ssl_keyfile"), lambda: password)
    except ssl.SSLError:
        reason = "not a certificate in PEM form"
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
    else:
        return
    raise ConfigError(
        f"expected readable certificates in CA_FILE or in the options for TLS: {reason}"
    )


def _directly(address: RedisAddress) -> redis.Redis:
    return redis.Redis.from_url(address.url, **_options())


def _through_sentinels(address: RedisAddress) -> redis.Redis:
    options = _options() | _read(address)
    sentinels = Sentinel(  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        address.sentinels, sentinel_kwargs=_for_sentinels(address, options), **options
    )
    client: redis.Redis = sentinels.master_for(address.service)  # type: ignore[no-untyped-call]
    return client


def _for_sentinels(address: RedisAddress, options: dict[str, Any]) -> dict[str, Any]:
    """Return of the server's options those that are the sentinels' too, and their own login."""
    shared = {name: value for name, value in options.items() if name.startswith("ssl")}
    own = dict(address.sentinel_login or {})
    return _options() | {"retry": options["retry"]} | shared | own


def _read(address: RedisAddress) -> dict[str, Any]:
    options: dict[str, Any] = parse_url(address.url)  # type: ignore[no-untyped-call]
    secure = {"ssl": True} if address.url.startswith("rediss") else {}
    return {name: value for name, value in options.items() if name != "connection_class"} | secure


def _options() -> dict[str, Any]:
    return {
        "protocol": 2,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": SOCKET_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
    }
