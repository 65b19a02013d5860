"""Is the worker alive, is it ready, how are its cameras: over HTTP on its own port."""

import json
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class HealthServer:
    """Serve /livez, /readyz, /status and /metrics until closed.

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
    ) -> None:
        """Listen on bind:port; port 0 picks a free one.

        Raises:
            OSError: the port is taken or may not be bound.
        """

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                pages: dict[str, Callable[[], tuple[int, str, bytes]]] = {
                    "/livez": lambda: _verdict(is_live()),
                    "/readyz": lambda: _verdict(is_live() and is_ready()),
                    "/status": lambda: (200, "application/json", json.dumps(status()).encode()),
                    "/metrics": lambda: (200, "text/plain; version=0.0.4", metrics()),
                }
                page = pages.get(self.path.partition("?")[0])
                code, kind, body = page() if page else (404, "text/plain", b"not found\n")
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing: a probe every few seconds is no event."""

        self._server = ThreadingHTTPServer((bind, port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _verdict(holds: bool) -> tuple[int, str, bytes]:  # noqa: FBT001
    return (200, "text/plain", b"ok\n") if holds else (503, "text/plain", b"not ok\n")
