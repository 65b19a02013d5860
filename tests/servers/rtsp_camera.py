"""A scripted RTSP camera in pure Python: it lies about time, loses packets, stalls, ends, refuses.

    units = coded(pictures, fps=10, gop_s=1)
    with ScriptedCamera([Track(units, network=lose(0.02), stamp_of=stamp_in(1000))]) as camera:
        RtspSource("yard", camera.url, ...)

What a `Track` sends is its `units`, stamped by `stamp_of`, sent at `send_at_s`, through `network`,
with the sender reports of `report_of`. What the server does is in `Manners`. A sequence of several
groups of tracks serves one group to each connection, the last one to all that follow.
"""

import hashlib
import heapq
import re
import socket
import ssl
import struct
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, dropwhile
from threading import Event, Lock, Thread
from time import monotonic
from types import TracebackType
from typing import Literal, Self

from tests.servers.rtp import (
    FIRST_STAMP,
    Codec,
    Network,
    Packet,
    Unit,
    honest_stamp,
    lossless,
    packets,
    payloads,
    sprop,
)

NTP_EPOCH_S = 2_208_988_800  # 1900 to 1970
SSRC = 0x5EED0000
MODES = {"h264": "packetization-mode=1", "h265": "sprop-max-don-diff=0", "av1": "profile=0"}
SOUND_UNIT = Unit((b"\xff" * 160,), 0.0, is_key=True)  # 20 ms of silence, PCMU


@dataclass(frozen=True, slots=True)
class Report:
    """What a sender report says: an RTP stamp, and its wall-clock time (Unix, in seconds).

    Stamps are counted as by `stamp_of`, which the first one on the wire is added to.
    """

    wall_s: float
    stamp: int


@dataclass(frozen=True, slots=True)
class Track:
    """One track, and how it misbehaves.

    Attributes:
        units: what is sent, in this order; start in the middle to join in mid-GOP.
        codec: how they are coded; None for sound (PCMU).
        rounds: how often; None for ever. Time goes on from round to round.
        round_s: how long a round lasts; by default up to its last unit, and one more.
        stamp_of: (number of the unit, true time in seconds) -> its RTP stamp.
        send_at_s: the same -> when it is sent, from PLAY on; a hole in it is a stall.
        network: what happens to the packets under way.
        report_of: the same -> the sender report that goes before the unit, if any.
        began_s: monotonic time of the first unit: clients come in at what is sent then, from the
            next key frame on; by default it begins anew for each.
        tells_parameter_sets: whether the SDP has them.
        sdp: further lines of its part of the SDP.
    """

    units: Sequence[Unit]
    codec: Codec | None = "h264"
    rounds: int | None = 1
    round_s: float | None = None
    stamp_of: Callable[[int, float], int] = honest_stamp
    send_at_s: Callable[[int, float], float] = lambda _number, t_s: t_s
    network: Network = lossless
    report_of: Callable[[int, float], Report | None] = lambda _number, _t_s: None
    began_s: float | None = None
    tells_parameter_sets: bool = True
    sdp: tuple[str, ...] = ()

    def description(self, index: int) -> list[str]:
        kind = 96 + index
        if self.codec is None:
            head = [f"m=audio 0 RTP/AVP {kind}", f"a=rtpmap:{kind} PCMU/8000"]
        else:
            has_sets = self.tells_parameter_sets and self.codec != "av1"
            sets = sprop(self.units, self.codec) if has_sets else ""
            mode = MODES[self.codec]
            head = [
                f"m=video 0 RTP/AVP {kind}",
                f"a=rtpmap:{kind} {self.codec.upper()}/90000",
                f"a=fmtp:{kind} {mode}{sets}",
            ]
        return [*head, *self.sdp, f"a=control:track{index}"]

    def payloads(self, unit: Unit) -> Sequence[bytes]:
        """Return what the packets of a unit carry."""
        return unit.nals if self.codec is None else payloads(unit, self.codec)

    def in_time(self) -> Iterator[Unit]:
        """Yield the units of all rounds, with times that go on."""
        last_s = max(unit.t_s for unit in self.units)
        round_s = self.round_s or last_s + last_s / max(1, len(self.units) - 1)
        for number in count() if self.rounds is None else range(self.rounds):
            yield from (replace(unit, t_s=unit.t_s + number * round_s) for unit in self.units)

    def sent(self, index: int) -> Iterator[tuple[float, int, bytes]]:
        """Yield (when, channel, RTP or RTCP packet); channels are even for RTP, odd for RTCP."""
        times_s: dict[int, float] = {}
        since_s = monotonic() - self.began_s if self.began_s is not None else 0.0

        def noted() -> Iterator[Unit]:
            to_come = dropwhile(
                lambda unit: since_s and not (unit.is_key and unit.t_s >= since_s), self.in_time()
            )
            for number, unit in enumerate(to_come):
                times_s[number] = unit.t_s
                times_s.pop(number - 1_000, None)
                yield unit

        latest = -1
        for packet in self.network(packets(noted(), self.payloads, self.stamp_of)):
            t_s = times_s[packet.unit]
            at_s = self.send_at_s(packet.unit, t_s) - since_s
            if packet.unit > latest:
                latest = packet.unit
                report = self.report_of(packet.unit, t_s)
                if report is not None:
                    yield at_s, 2 * index + 1, _sender_report(report, ssrc=SSRC + index)
            yield at_s, 2 * index, self._encoded(packet, index)

    def _encoded(self, packet: Packet, index: int) -> bytes:
        return packet.encoded(payload_type=96 + index, ssrc=SSRC + index)


def sound(*, seconds: float) -> Track:
    """Return a track of silence."""
    units = [replace(SOUND_UNIT, t_s=number * 0.02) for number in range(round(seconds * 50))]
    return Track(units, codec=None, stamp_of=lambda _number, t_s: round(t_s * 8_000))


def _sender_report(report: Report, *, ssrc: int) -> bytes:
    ntp_s = report.wall_s + NTP_EPOCH_S
    whole = int(ntp_s)
    fraction = int((ntp_s - whole) * 2**32)
    stamp = FIRST_STAMP + report.stamp & 0xFFFFFFFF
    return struct.pack("!BBHIIIIII", 0x80, 200, 6, ssrc, whole & 0xFFFFFFFF, fraction, stamp, 0, 0)


@dataclass(frozen=True, slots=True)
class Auth:
    """Credentials, and how they are asked for."""

    user: str
    password: str
    scheme: Literal["basic", "digest"] = "digest"
    algorithm: Literal["MD5", "SHA-256"] = "MD5"
    realm: str = "camera"
    nonce: str = "0a1b2c3d"

    @property
    def challenge(self) -> str:
        if self.scheme == "basic":
            return f'Basic realm="{self.realm}"'
        told = "" if self.algorithm == "MD5" else f", algorithm={self.algorithm}"
        return f'Digest realm="{self.realm}", nonce="{self.nonce}"{told}'

    def admits(self, method: str, header: str) -> bool:
        if self.scheme == "basic":
            sent = header.removeprefix("Basic ")
            return header != sent and b64decode(sent) == f"{self.user}:{self.password}".encode()
        said = dict(re.findall(r'(\w+)="?([^",]*)"?', header.removeprefix("Digest ")))
        if said.get("algorithm", "MD5") != self.algorithm:
            return False
        secret = self._digest(f"{self.user}:{self.realm}:{self.password}")
        asked = self._digest(f"{method}:{said.get('uri', '')}")
        between = self.nonce
        if "qop" in said:
            between += f":{said.get('nc')}:{said.get('cnonce')}:{said['qop']}"
        return said.get("response") == self._digest(f"{secret}:{between}:{asked}")

    def _digest(self, text: str) -> str:
        make = hashlib.md5 if self.algorithm == "MD5" else hashlib.sha256
        return make(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Manners:
    """What the server does.

    Attributes:
        auth: asked for with every request, if any.
        transports: which it speaks; it answers 461 to the others.
        at_end: after the last packet it hangs up, or keeps the connection and is silent.
        tls: makes it rtsps://.
    """

    auth: Auth | None = None
    transports: tuple[Literal["tcp", "udp"], ...] = ("tcp", "udp")
    at_end: Literal["close", "silence"] = "close"
    tls: ssl.SSLContext | None = None


@dataclass
class _Connection:
    """One client."""

    socket: socket.socket
    tracks: Sequence[Track]
    lock: Lock = field(default_factory=Lock)
    stopped: Event = field(default_factory=Event)
    channels: dict[int, int] = field(default_factory=dict)  # ours -> the client's, interleaved
    ports: dict[int, int] = field(default_factory=dict)  # ours -> the client's UDP port


class ScriptedCamera:
    """The server, for one `with` block.

    Attributes:
        url: rtsp://127.0.0.1:port/stream, without credentials.
        requests: (method, URL) of every request so far, of all connections.
        num_connections: how many clients came so far.
    """

    def __init__(
        self, *groups: Sequence[Track], manners: Manners = Manners(), port: int = 0
    ) -> None:
        """Listen; serve the groups of tracks in turn, one to a connection."""
        self._groups = groups
        self._manners = manners
        self._listening = socket.create_server(("127.0.0.1", port))
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", 0))
        self._threads: list[Thread] = []
        self._connections: list[_Connection] = []
        self.requests: list[tuple[str, str]] = []
        scheme = "rtsps" if manners.tls else "rtsp"
        self.url = f"{scheme}://127.0.0.1:{self._listening.getsockname()[1]}/stream"

    @property
    def num_connections(self) -> int:
        return len(self._connections)

    def with_credentials(self, userinfo: str) -> str:
        return self.url.replace("://", f"://{userinfo}@", 1)

    def setups(self) -> list[str]:
        """Return the names of the tracks that clients have set up."""
        return [url.rpartition("/")[2] for method, url in self.requests if method == "SETUP"]

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _exc: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._connections:
            self._hang_up(connection)
        for thread in self._threads:
            thread.join(timeout=5)
        self._udp.close()

    def _start(self, work: Callable[[], None]) -> None:
        thread = Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listening.accept()
                if self._manners.tls is not None:
                    accepted = self._manners.tls.wrap_socket(accepted, server_side=True)
            except ssl.SSLError:
                continue
            except OSError:
                return
            group = self._groups[min(len(self._connections), len(self._groups) - 1)]
            connection = _Connection(accepted, group)
            self._connections.append(connection)
            self._start(partial(self._serve, connection))

    def _hang_up(self, connection: _Connection) -> None:
        connection.stopped.set()
        with suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)
        connection.socket.close()

    # ------------------------------------------------------------ requests

    def _serve(self, connection: _Connection) -> None:
        try:
            with connection.socket.makefile("rb") as incoming:
                while not connection.stopped.is_set() and (byte := incoming.read(1)):
                    if byte == b"$":  # the client's receiver reports
                        incoming.read(struct.unpack("!BH", incoming.read(3))[1])
                    elif byte.isalpha():
                        self._answer(connection, (byte + incoming.readline()).decode(), incoming)
        except (OSError, ValueError, struct.error):
            pass
        finally:
            self._hang_up(connection)

    def _answer(self, connection: _Connection, line: str, incoming: object) -> None:
        method, url, _ = line.split(maxsplit=2)
        headers: dict[str, str] = {}
        while text := incoming.readline().decode().strip():  # type: ignore[attr-defined]
            name, _, value = text.partition(":")
            headers[name.lower()] = value.strip()
        self.requests.append((method, url))
        status, answer, body = self._reply(connection, method, url=url, headers=headers)
        answer = {"CSeq": headers.get("cseq", "0"), "Session": "1;timeout=60"} | answer
        if body:
            answer |= {"Content-Length": str(len(body)), "Content-Type": "application/sdp"}
        head = "".join(f"{name}: {value}\r\n" for name, value in answer.items())
        with connection.lock:
            connection.socket.sendall(f"RTSP/1.0 {status}\r\n{head}\r\n{body}".encode())
        if method == "PLAY" and status.startswith("200"):
            self._start(partial(self._play, connection))
        if method == "TEARDOWN":
            connection.stopped.set()

    def _reply(
        self, connection: _Connection, method: str, *, url: str, headers: dict[str, str]
    ) -> tuple[str, dict[str, str], str]:
        auth = self._manners.auth
        is_admitted = auth is None or auth.admits(method, headers.get("authorization", ""))
        if auth is not None and not is_admitted and method != "OPTIONS":
            return "401 Unauthorized", {"WWW-Authenticate": auth.challenge}, ""
        if method == "DESCRIBE":
            return "200 OK", {"Content-Base": f"{url}/"}, self._sdp(connection)
        if method == "SETUP":
            return self._set_up(connection, url, headers.get("transport", ""))
        public = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"
        return "200 OK", {"Public": public} if method == "OPTIONS" else {}, ""

    def _sdp(self, connection: _Connection) -> str:
        lines = ["v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=camera", "c=IN IP4 0.0.0.0", "t=0 0"]
        for index, track in enumerate(connection.tracks):
            lines += track.description(index)
        return "\r\n".join(lines) + "\r\n"

    def _set_up(
        self, connection: _Connection, url: str, transport: str
    ) -> tuple[str, dict[str, str], str]:
        index = int(url.rpartition("track")[2])
        wanted = "tcp" if "/TCP" in transport else "udp"
        numbers = re.search(r"(?:interleaved|client_port)=(\d+)", transport)
        if wanted not in self._manners.transports or numbers is None:
            return "461 Unsupported Transport", {}, ""
        first = int(numbers[1])
        if wanted == "tcp":
            connection.channels |= {2 * index: first, 2 * index + 1: first + 1}
            return "200 OK", {"Transport": transport}, ""
        connection.ports |= {2 * index: first, 2 * index + 1: first + 1}
        port = self._udp.getsockname()[1]
        return "200 OK", {"Transport": f"{transport};server_port={port}-{port + 1}"}, ""

    # ------------------------------------------------------------ packets

    def _play(self, connection: _Connection) -> None:
        began_s = monotonic()
        tracks = enumerate(connection.tracks)
        set_up = [
            t.sent(i) for i, t in tracks if {2 * i} & {*connection.channels, *connection.ports}
        ]
        try:
            for at_s, channel, data in heapq.merge(*set_up, key=lambda one: one[0]):
                if connection.stopped.wait(max(0.0, began_s + at_s - monotonic())):
                    return
                self._send(connection, channel, data)
        except OSError:
            return
        if self._manners.at_end == "close":
            self._hang_up(connection)

    def _send(self, connection: _Connection, channel: int, data: bytes) -> None:
        if channel in connection.ports:
            peer = connection.socket.getpeername()[0]
            self._udp.sendto(data, (peer, connection.ports[channel]))
            return
        head = struct.pack("!cBH", b"$", connection.channels[channel], len(data))
        with connection.lock:
            connection.socket.sendall(head + data)
