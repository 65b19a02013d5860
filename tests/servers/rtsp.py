"""A real RTSP server for the tests, and peers that misbehave."""

import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

import pytest

SYSTEM_PYTHON = "/usr/bin/python3"  # GStreamer's bindings are Debian packages
SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "camera" / "rtsp_server.py"
READY_WITHIN_S = 60.0


@dataclass
class RtspCamera:
    """A running server.

    Attributes:
        url: rtsp://127.0.0.1:port/path, without credentials.
    """

    url: str
    process: subprocess.Popen[str]

    def with_credentials(self, userinfo: str) -> str:
        """The URL with `user:password`, as it is given."""
        return self.url.replace("://", f"://{userinfo}@", 1)

    def freeze(self) -> None:
        """Stop sending, with the connections open."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def kill(self) -> None:
        """Die without a word. May be called again."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


StartCamera = Callable[..., RtspCamera]


@pytest.fixture
def rtsp_camera(tmp_path: Path) -> Iterator[StartCamera]:
    """Start servers: `rtsp_camera(file, codec="h265", gop_s=10, user="admin", password="...")`.

    Keywords are the server's options; `password` is written to its file.
    """
    missing = _what_is_missing()
    if missing:
        pytest.skip(missing)
    cameras: list[RtspCamera] = []

    def start(
        file: Path | None = None, *, password: str | None = None, **options: object
    ) -> RtspCamera:
        command = [SYSTEM_PYTHON, str(SCRIPT), "--host=127.0.0.1", "--port=0"]
        if file is not None:
            command.append(f"--file={file}")
        if password is not None:
            secret = tmp_path / "camera-password"
            secret.write_text(password, encoding="utf-8")
            command.append(f"--password-file={secret}")
        for name, value in options.items():
            option = f"--{name.replace('_', '-')}"
            command.append(option if value is True else f"{option}={value}")
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        cameras.append(RtspCamera("", process))
        cameras[-1].url = _ready_url(process)
        return cameras[-1]

    yield start
    for camera in cameras:
        camera.kill()
        if camera.process.stdout:
            camera.process.stdout.close()


@pytest.fixture
def black_hole_port() -> Iterator[int]:
    """A TCP port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=8) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def refused_port() -> int:
    """A TCP port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


def _ready_url(process: subprocess.Popen[str]) -> str:
    output = process.stdout
    assert output is not None
    until_s = time.monotonic() + READY_WITHIN_S
    said = []
    while time.monotonic() < until_s and (line := _line_before(output, until_s)):
        if line.startswith("ready "):
            return line.split()[1]
        said.append(line)
    return pytest.fail(f"the RTSP server did not get ready: {''.join(said) or 'no output'}")


def _line_before(output: IO[str], until_s: float) -> str:
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        ready = selector.select(max(0.0, until_s - time.monotonic()))
    return output.readline() if ready else ""


@cache
def _what_is_missing() -> str:
    """What keeps the server from running here, or an empty string."""
    words = "gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    try:
        subprocess.run(
            [SYSTEM_PYTHON, "-c", f"import gi; {words}"], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        return f"{SYSTEM_PYTHON} has no GStreamer RTSP server (gir1.2-gst-rtsp-server-1.0)"
    return ""
