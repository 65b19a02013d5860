"""Certificates for a server on this machine, and the authority behind them, made by openssl."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Certificates:
    """PEM files.

    Attributes:
        ca: of the authority that signed `certificate`.
        certificate: of 127.0.0.1 and localhost.
        key: of that certificate.
        wrong_ca: of another authority.
    """

    ca: Path
    certificate: Path
    key: Path
    wrong_ca: Path


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Make an authority, a certificate of its own, and another authority."""
    folder = tmp_path_factory.mktemp("certificates")
    made = Certificates(*(folder / f"{name}.pem" for name in ("ca", "server", "key", "wrong")))
    # without its usage Python 3.13 takes an authority for none
    subject = ("-subj", "/CN=an authority", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    for ca in (made.ca, made.wrong_ca):
        _openssl("req", "-x509", *_new_key(ca.with_suffix(".key")), "-out", str(ca), *subject)
    signed = ("-CA", str(made.ca), "-CAkey", str(made.ca.with_suffix(".key")))
    ends = ("-addext", "basicConstraints=CA:FALSE")
    names = ("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", *ends)
    out = ("-out", str(made.certificate), "-subj", "/CN=redis")
    _openssl("req", "-x509", *_new_key(made.key), *out, *signed, *names)
    return made


def _new_key(path: Path) -> tuple[str, ...]:
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    return (*curve, "-nodes", "-days", "2", "-keyout", str(path))


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
