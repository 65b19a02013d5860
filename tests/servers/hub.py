"""A hub on this machine: as much of its HTTP as its client needs to fetch a model."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class LocalHub:
    """Serves one folder as one repository.

    Attributes:
        url: where it listens.
        asked: every file that was fetched, in order.
        refusal: (status, error code) that every question is answered with, if any.
    """

    def __init__(self, folder: Path, repo: str) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.refusal: tuple[int, str] | None = None
        self._folder = folder
        self._repo = repo

    def answer(self, path: str, *, is_get: bool) -> tuple[int, dict[str, str], bytes]:
        """Give status, headers and body."""
        if self.refusal is not None:
            status, code = self.refusal
            return status, {"X-Error-Code": code}, b""
        if path.startswith(f"/api/models/{self._repo}/tree/"):
            return 200, {"Content-Type": "application/json"}, self._tree()
        if path.startswith(f"/api/models/{self._repo}/revision/"):
            about = {"id": self._repo, "sha": COMMIT, "siblings": []}
            return 200, {"Content-Type": "application/json"}, json.dumps(about).encode()
        revision, _, name = path.removeprefix(f"/{self._repo}/resolve/").partition("/")
        if revision not in ("main", COMMIT):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        file = self._folder / name
        if not file.is_file():
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b""
        if is_get:
            self.asked.append(name)
        body = file.read_bytes()
        etag = f'"{sha256(body).hexdigest()}"'
        return 200, {"ETag": etag, "X-Repo-Commit": COMMIT}, body

    def _tree(self) -> bytes:
        files = [
            {
                "type": "file",
                "path": file.name,
                "size": file.stat().st_size,
                "oid": sha256(file.read_bytes()).hexdigest()[:40],
            }
            for file in sorted(self._folder.iterdir())
        ]
        return json.dumps(files).encode()


@contextmanager
def local_hub(folder: Path, repo: str) -> Iterator[LocalHub]:
    """Serve a folder until the block ends."""
    hub = LocalHub(folder, repo)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(is_get=True)

        def do_HEAD(self) -> None:
            self._answer(is_get=False)

        def _answer(self, *, is_get: bool) -> None:
            status, headers, body = hub.answer(self.path.partition("?")[0], is_get=is_get)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if is_get:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002, the base's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
