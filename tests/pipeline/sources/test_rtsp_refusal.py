"""Cameras that refuse: by their certificate, their way to log in, or the way packets travel."""

import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest

from pipeline.clock import SystemClock
from pipeline.errors import SourceError
from pipeline.sources.rtsp import RtspSource, Transport
from pipeline.sources.rtsp_refusal import Tls
from pipeline.types import Frame
from tests.pipeline.sources.clips import grid_of
from tests.servers.rtsp import StartCamera
from tests.servers.tls import certificate, tls_before

SMALL = {"fps": 10, "width": 320, "height": 240, "max_s": 2}
SYSTEMS = Tls()
needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl")


def source(url: str, *, tls: Tls = SYSTEMS, transport: Transport = "tcp") -> RtspSource:
    return RtspSource(
        "yard",
        url,
        wanted=lambda _camera_id, _pts_s: True,
        grid_of=grid_of,
        clock=SystemClock(),
        open_timeout_s=5.0,
        read_timeout_s=3.0,
        transport=transport,
        tls=tls,
    )


def first(url: str, *, tls: Tls = SYSTEMS) -> Frame:
    """Return a camera's first frame. A server that still ends its last client is asked again."""
    until_s = time.monotonic() + 10.0
    while True:
        camera = source(url, tls=tls)
        frames = camera.frames()
        try:
            frame = next(frames)
        except SourceError as error:
            if error.reason != "refused" or time.monotonic() > until_s:
                raise
            time.sleep(0.2)
            continue
        camera.close()
        assert list(frames) == []
        return frame


def refused(camera: RtspSource) -> SourceError:
    with pytest.raises(SourceError) as caught:
        next(camera.frames())
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert "canary" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps"])
def test_a_name_that_does_not_resolve_is_named(scheme: str) -> None:
    """libav says "Input/output error" of it, and so did the camera's status."""
    error = refused(source(f"{scheme}://admin:canary@No-Such-Camera.invalid:554/s?token=canary"))
    assert error.reason == "unreachable"
    assert "the name no-such-camera.invalid does not resolve: " in str(error)


@needs_openssl
def test_a_certificate_is_checked_against_the_authorities_and_the_host(
    rtsp_camera: StartCamera, yard_video: Path, tmp_path: Path
) -> None:
    """With a self-signed certificate of another name, frames came, and credentials went."""
    port = int(re.findall(r":(\d+)/", rtsp_camera(yard_video, **SMALL).url)[0])
    right = certificate(tmp_path, host="127.0.0.1")
    other = certificate(tmp_path, host="camera.example")
    with tls_before(port, right) as good, tls_before(port, other) as bad:
        own, foreign = (f"RTSPS://u:canary@127.0.0.1:{at}/stream".lower() for at in (good, bad))
        assert first(own, tls=Tls(ca_file=right.file)).pixels.any()
        assert first(foreign, tls=Tls(verify=False)).pixels.any()
        for url, tls, why in [
            (own, SYSTEMS, "self-signed certificate"),
            (own, Tls(ca_file=other.file), "self-signed certificate"),
            (foreign, Tls(ca_file=other.file), "not valid for '127.0.0.1'"),
        ]:
            error = refused(source(url, tls=tls))
            assert error.reason == "tls_refused"
            assert why in str(error)


def test_a_camera_without_tls_behind_rtsps_is_named(
    rtsp_camera: StartCamera, yard_video: Path
) -> None:
    url = rtsp_camera(yard_video, **SMALL).url.replace("rtsp:", "rtsps:")
    assert refused(source(url)).reason == "tls_refused"


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_file_of_authorities_that_is_none_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    error = refused(source("rtsps://127.0.0.1:1/stream", tls=Tls(ca_file=file)))
    assert error.reason == "tls_refused"
    assert f"expected a PEM file of certificates, got {file}: " in str(error)


def test_a_camera_that_refuses_tcp_is_watched_over_udp(
    rtsp_camera: StartCamera, yard_video: Path
) -> None:
    """VLC's own server answers 461 to TCP: it was `unreachable` for ever."""
    camera = rtsp_camera(yard_video, transport="udp", **SMALL)
    assert first(camera.url).pixels.any()


def test_a_camera_that_refuses_udp_is_told_apart_from_one_that_is_not_there(
    rtsp_camera: StartCamera, yard_video: Path
) -> None:
    camera = rtsp_camera(yard_video, transport="tcp", **SMALL)
    error = refused(source(camera.url, transport="udp"))
    assert error.reason == "transport_refused"
    assert first(camera.url).pixels.any()


Answer = Callable[[str], str]


@contextmanager
def answering(answer: Answer) -> Iterator[tuple[str, list[str]]]:
    """Yield the address of a peer that answers each request so, and the requests it has had."""
    asked: list[str] = []

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with suppress(OSError), connection, connection.makefile("rwb") as stream:
                request = ""
                for line in stream:
                    request += line.decode()
                    if line != b"\r\n":
                        continue
                    asked.append(request)
                    number = re.findall(r"(?i)cseq: *(\d+)", request)[0]
                    status, _, rest = answer(request).partition("\r\n")
                    stream.write(f"{status}\r\nCSeq: {number}\r\n{rest}".encode())
                    stream.flush()
                    request = ""

    with socket.create_server(("127.0.0.1", 0)) as listening:
        Thread(target=serve, args=(listening,), daemon=True).start()
        yield f"rtsp://admin:canary@127.0.0.1:{listening.getsockname()[1]}/s", asked


OPTIONS = "RTSP/1.0 200 OK\r\nPublic: DESCRIBE, SETUP, PLAY\r\n\r\n"


@pytest.mark.parametrize(
    ("offers", "reason", "words"),
    [
        (['Digest realm="a", nonce="b", algorithm=SHA-256'], "auth_unsupported", "Digest SHA-256;"),
        (['Digest realm="a", algorithm="SHA-512-256", nonce="b"'], "auth_unsupported", "SHA-512"),
        (["Bearer realm=a"], "auth_unsupported", "asks for Bearer;"),
        (
            ['Digest realm="a", nonce="b", algorithm=SHA-256', 'Digest realm="a", nonce="b"'],
            "auth_failed",
            "",
        ),
        (['Digest realm="a", nonce="b", algorithm=SHA-256', "Basic realm=a"], "auth_failed", ""),
    ],
)
def test_a_way_to_log_in_that_is_not_known_is_named_not_the_password(
    offers: list[str], reason: str, words: str
) -> None:
    """go2rtc#2344, ZLMediaKit#1702: SHA-256 digest alone was blamed on the password."""

    def answer(request: str) -> str:
        if request.startswith("OPTIONS"):
            return OPTIONS
        challenges = "".join(f"WWW-Authenticate: {offer}\r\n" for offer in offers)
        return f"RTSP/1.0 401 Unauthorized\r\n{challenges}\r\n"

    with answering(answer) as (url, asked):
        error = refused(source(url))
    assert error.reason == reason
    assert words in str(error)
    assert "Authorization" not in asked[-1]


SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=camera
t=0 0
m=audio 0 RTP/AVP 0
a=control:sound
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
a=control:picture
m=application 0 RTP/AVP 107
a=rtpmap:107 vnd.onvif.metadata/90000
a=control:metadata
""".replace("\n", "\r\n")


def test_tracks_that_are_not_used_are_not_asked_for() -> None:
    """USDX#902, SharpRTSP#146: sound and metadata of a camera were set up and thrown away."""

    def answer(request: str) -> str:
        if request.startswith("OPTIONS"):
            return OPTIONS
        if request.startswith("DESCRIBE"):
            return (
                "RTSP/1.0 200 OK\r\nContent-Type: application/sdp\r\n"
                f"Content-Length: {len(SDP)}\r\n\r\n{SDP}"
            )
        if request.startswith("SETUP"):
            return "RTSP/1.0 200 OK\r\nSession: 1\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n"
        return "RTSP/1.0 404 Not Found\r\n\r\n"

    with answering(answer) as (url, asked):
        assert refused(source(url)).reason == "not_found"
    set_up = [request.split()[1].rpartition("/")[2] for request in asked if "SETUP" in request[:5]]
    assert set_up == ["picture"]


def test_a_camera_that_has_no_place_left_is_told_from_one_that_is_not_there() -> None:
    def answer(request: str) -> str:
        if request.startswith("OPTIONS"):
            return OPTIONS
        return "RTSP/1.0 453 Not Enough Bandwidth\r\n\r\n"

    with answering(answer) as (url, _asked):
        assert refused(source(url)).reason == "refused"
