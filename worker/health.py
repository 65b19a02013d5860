"""Is the worker alive, is it ready, how are its cameras: over HTTP on its own port."""

import json
import socket
import socketserver
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import structlog

from pipeline.clock import Clock

MAX_CONNECTIONS = 32  # the oldest gives way to the newest: a probe is answered whoever idles
CONNECTION_LIVES_S = 5.0  # from its beginning to the end of its answer
PUBLISHED_PORT = 9200  # of the container, in docker-compose.yml and the image
_ANY_ADDRESS = {"": ("127.0.0.1",), "0.0.0.0": ("127.0.0.1",), "::": ("::1", "127.0.0.1")}  # noqa: S104 (to compare)
_OF_CONTAINERS = ("/.dockerenv", "/run/.containerenv", "/var/run/secrets/kubernetes.io")

log = structlog.get_logger("vigil")

Page = tuple[int, str, bytes]


class HealthServer:
    """Serve /livez, /readyz, /status and /metrics until closed; GET and HEAD.

    /livez fails when the inference thread has stopped beating; /readyz also until the model is
    loaded. A camera that is down fails neither: the worker is ready, and /status says so.
    """

    def __init__(
        self,
        bind: str,
        port: int,
        *,
        is_live: Callable[[], bool],
        is_ready: Callable[[], bool],
        status: Callable[[], Mapping[str, object]],
        metrics: Callable[[], bytes],
        clock: Clock,
    ) -> None:
        """Listen on bind:port, IPv4 or IPv6, `::` on both; port 0 picks a free one.

        Raises:
            OSError: the port is taken or may not be bound.
        """
        pages: dict[str, Callable[[], Page]] = {
            "/livez": lambda: _verdict(is_live()),
            "/readyz": lambda: _verdict(is_live() and is_ready()),
            "/status": lambda: (200, "application/json", json.dumps(status()).encode()),
            "/metrics": lambda: (200, "text/plain; version=0.0.4", metrics()),
        }
        family, address = to_listen_on(bind, port)
        self._server = _Server(family, address, pages=pages, clock=clock)
        self.port = int(self._server.server_address[1])
        self._thread = Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    """A thread for each connection, of which there are few, each for a short time."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        family: int,
        address: Any,
        *,
        pages: Mapping[str, Callable[[], Page]],
        clock: Clock,
    ) -> None:
        self.address_family = family
        self.pages = pages
        self._clock = clock
        self._lock = Lock()
        self._begun_s: dict[Any, float] = {}  # connection -> when it began; the oldest is first
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            with suppress(OSError):
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        socketserver.TCPServer.server_bind(self)  # HTTPServer's asks DNS for our name

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if len(self._begun_s) >= MAX_CONNECTIONS:
                self._cut(next(iter(self._begun_s)))
            self._begun_s[request] = self._clock.monotonic_s()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._begun_s.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        limit_s = self._clock.monotonic_s() - CONNECTION_LIVES_S
        with self._lock:
            for request in [one for one, begun_s in self._begun_s.items() if begun_s < limit_s]:
                self._cut(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 (theirs)
        error = sys.exception()
        if not isinstance(error, OSError):  # which is of one that has gone, or was cut off
            log.error("health_request_failed", exc_info=error)

    def _cut(self, request: Any) -> None:
        """Let the thread that waits for this connection find it at its end."""
        del self._begun_s[request]
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path.partition("?")[0])
        self._answer(*page() if page else (404, "text/plain", b"not found\n"))

    def __getattr__(self, name: str) -> Any:
        """Return what answers another method than GET."""
        if name == "do_HEAD":
            return self.do_GET
        if name.startswith("do_"):
            return lambda: self._answer(405, "text/plain", b"expected GET or HEAD\n")
        raise AttributeError(name)

    def _answer(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if code == 405:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: a probe every few seconds is no event."""


def to_listen_on(bind: str, port: int) -> tuple[socket.AddressFamily, Any]:
    """Return the family of an address to listen on, and the address as a socket takes it.

    Raises:
        OSError: it is none.
    """
    family, *_, address = socket.getaddrinfo(
        host_of(bind) or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    return family, address


def host_of(bind: str) -> str:
    """Return an address to listen on without the brackets that IPv6 has in URLs."""
    return bind.strip().removeprefix("[").removesuffix("]")


def hosts_to_ask(bind: str) -> tuple[str, ...]:
    """Return where a worker that listens on `bind` is reached from its own machine."""
    host = host_of(bind)
    return _ANY_ADDRESS.get(host, (host,))


def why_unreachable(bind: str, port: int) -> str:
    """Return why nobody outside this container reaches the port; empty where somebody may."""
    if not any(Path(one).exists() for one in _OF_CONTAINERS):
        return ""
    if is_loopback(host_of(bind)):
        return (
            f"VIGIL_HEALTH__BIND={bind} is reached from inside this container alone, unless it "
            "shares the host's network: leave it out, or set it to 0.0.0.0"
        )
    if port != PUBLISHED_PORT:
        return (
            f"VIGIL_HEALTH__PORT={port}: docker-compose.yml publishes the container's port "
            f"{PUBLISHED_PORT} and no other; VIGIL_HEALTH_PORT chooses the host's port"
        )
    return ""


def is_loopback(host: str) -> bool:
    """Whether an address, without brackets, is reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _verdict(holds: bool) -> Page:  # noqa: FBT001
    return (200, "text/plain", b"ok\n") if holds else (503, "text/plain", b"not ok\n")
