"""TLS in front of a server that has none, with certificates made for the test."""

import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate and its key."""

    file: Path
    key: Path


def certificate(folder: Path, *, host: str) -> Certificate:
    """Make a certificate for `host`, a name or an IPv4 address."""
    made = Certificate(folder / f"{host}.pem", folder / f"{host}.key")
    kind = "IP" if host[0].isdigit() else "DNS"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    files = ["-keyout", str(made.key), "-out", str(made.file)]
    subject = ["-subj", f"/CN={host}", "-addext", f"subjectAltName={kind}:{host}"]
    subprocess.run([*command.split(), *files, *subject], check=True, capture_output=True)
    return made


@contextmanager
def tls_before(port: int, shown: Certificate) -> Iterator[int]:
    """Yield the port at which the server on `port` is reached over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.file, shown.key)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        Thread(target=_serve, args=(listening, context, port), daemon=True).start()
        yield listening.getsockname()[1]


def _serve(listening: socket.socket, context: ssl.SSLContext, port: int) -> None:
    while True:
        try:
            plain, _ = listening.accept()
        except OSError:
            return
        Thread(target=_join, args=(plain, context, port), daemon=True).start()


def _join(plain: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with (
        suppress(OSError),
        plain,
        context.wrap_socket(plain, server_side=True) as client,
        socket.create_connection(("127.0.0.1", port)) as server,
    ):
        back = Thread(target=_pump, args=(client, server), daemon=True)
        back.start()
        _pump(server, client)
        back.join()


def _pump(giver: socket.socket, taker: socket.socket) -> None:
    with suppress(OSError):
        while part := giver.recv(65536):
            taker.sendall(part)
    for end in (giver, taker):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
