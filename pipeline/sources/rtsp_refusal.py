"""Why a camera refused, in its own words: libav says no more than that it did."""

import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import SourceError
from pipeline.host_name import unresolved
from pipeline.redact import redact, split_credentials, url_secrets

PORTS = {"rtsp": 554, "rtsps": 322}  # as libav takes them where none is told
MAX_ANSWER_BYTES = 16 * 2**10

_CHALLENGE = re.compile(r"(?im)^WWW-Authenticate:[ \t]*(?P<method>\w+)(?P<parameters>[^\r\n]*)")
_ALGORITHM = re.compile(r'(?i)\balgorithm\s*=\s*"?([\w-]+)')


@dataclass(frozen=True, slots=True)
class Tls:
    """How the certificate of an rtsps:// camera is judged.

    Attributes:
        verify: whether it is. Where it is not, anybody in between can take the password.
        ca_file: PEM file of the authorities that are trusted; None for the system's.
    """

    verify: bool = True
    ca_file: Path | None = None

    def options(self) -> dict[str, str]:
        """Return libav's options.

        Raises:
            SourceError: `tls_refused` when the file of authorities cannot be read.
        """
        if not self.verify:
            return {"tls_verify": "0"}
        path = self.ca_file or _system_file()
        if self.ca_file is not None:
            self._context()
        return {"tls_verify": "1"} | ({} if path is None else {"ca_file": str(path)})

    def _context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as exc:  # ssl.SSLError is one
            reason = exc.strerror or "no certificate in it"
        raise SourceError(
            "tls_refused", f"expected a PEM file of certificates, got {self.ca_file}: {reason}"
        )

    def secured(self, plain: socket.socket, host: str) -> socket.socket:
        """Return a connection over `plain`.

        Raises:
            ssl.SSLError: the certificate is refused, or the peer does not speak TLS.
        """
        context = self._context()
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(plain, server_hostname=host)


VERIFIED = Tls()


def refusal(url: str, *, tls: Tls, timeout_s: float) -> SourceError | None:
    """Ask a camera that refused once more, without credentials, and return why; None: unknown.

    Args:
        url: rtsp:// or rtsps://; its credentials are not sent.
        tls: how a certificate is judged.
        timeout_s: for connecting, and again for each part of the answer.
    """
    bare, _ = split_credentials(url)
    try:
        answer = _described(bare, tls, timeout_s)
    except ssl.SSLCertVerificationError as exc:
        return SourceError("tls_refused", f"the certificate is refused: {exc.verify_message}")
    except ssl.SSLError as exc:
        return SourceError("tls_refused", f"no TLS with this peer: {exc.reason or 'no answer'}")
    except (OSError, ValueError):
        return None
    offered = [_method(found) for found in _CHALLENGE.finditer(answer)]
    if offered and not {"Basic", "Digest MD5"} & set(offered):
        return SourceError(
            "auth_unsupported",
            f"the camera asks for {' or '.join(sorted(set(offered)))}; Digest MD5 and Basic are "
            "known here, whatever the password",
        )
    return None


def no_such_host(url: str, *, timeout_s: float) -> SourceError | None:
    """Return that the name in a URL does not resolve; None where it does.

    libav says "Input/output error" of such a name, or that time ran out.

    Args:
        url: as it is written; of it the host alone is shown.
        timeout_s: how long the resolver is waited for.
    """
    bare, _ = split_credentials(url)
    try:
        name = urlsplit(bare).hostname
    except ValueError:
        return None
    said = unresolved(name, timeout_s=timeout_s) if name else None
    return None if said is None else SourceError("unreachable", redact(said, *url_secrets(url)))


def _described(url: str, tls: Tls, timeout_s: float) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    request = f"DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    address = host, parts.port or PORTS[parts.scheme]
    with socket.create_connection(address, timeout_s) as plain:
        stream = tls.secured(plain, host) if parts.scheme == "rtsps" else plain
        with stream:
            stream.sendall(request.encode())
            answer = b""
            while b"\r\n\r\n" not in answer and len(answer) < MAX_ANSWER_BYTES:
                part = stream.recv(4096)
                if not part:
                    break
                answer += part
    return answer.decode("latin-1")


def _method(challenge: re.Match[str]) -> str:
    method = challenge["method"].capitalize()
    if method != "Digest":
        return method
    algorithm = _ALGORITHM.search(challenge["parameters"])
    return f"Digest {algorithm[1].upper() if algorithm else 'MD5'}"


def _system_file() -> Path | None:
    """Return the system's authorities, which a wheel's own TLS library may look for elsewhere."""
    paths = ssl.get_default_verify_paths()
    found = [Path(path) for path in (paths.cafile, paths.openssl_cafile) if path]
    return next((path for path in found if path.is_file()), None)
