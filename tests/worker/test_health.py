"""The worker's own port: who may ask, for how long, and what is said where nobody can."""

import http.client
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.clock import SystemClock
from tests.fakes import FakeClock
from tests.worker.supervised import until
from worker import health
from worker.health import MAX_CONNECTIONS, HealthServer, hosts_to_ask, why_unreachable


def serve(
    bind: str = "127.0.0.1", *, clock: FakeClock | None = None, num_metrics: int = 1
) -> HealthServer:
    return HealthServer(
        bind,
        0,
        is_live=lambda: True,
        is_ready=lambda: False,
        status=lambda: {"cameras": {}},
        metrics=lambda: b"vigil_x 1\n" * num_metrics,
        clock=clock or SystemClock(),
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def server(clock: FakeClock) -> Iterator[HealthServer]:
    served = serve(clock=clock)
    yield served
    served.close()


def ask(port: int, method: str, path: str, host: str = "127.0.0.1") -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    connection.request(method, path)
    return connection.getresponse()


@pytest.fixture
def num_threads() -> Callable[[], int]:
    """Count the threads that serve connections; those of earlier tests' servers do not count."""
    before = set(threading.enumerate())

    def count() -> int:
        return sum(
            "process_request_thread" in one.name
            for one in threading.enumerate()
            if one not in before
        )

    return count


@pytest.mark.parametrize(
    ("path", "status"), [("/livez", 200), ("/readyz", 503), ("/status", 200), ("/none", 404)]
)
def test_head_is_answered_as_get_without_the_body(
    path: str, status: int, server: HealthServer
) -> None:
    """vmware-archive/healthcheck#29: monitors ask by HEAD, which was 501."""
    got, head = (ask(server.port, method, path) for method in ("GET", "HEAD"))
    assert (got.status, head.status) == (status, status)
    assert head.headers["Content-Length"] == str(len(got.read()))
    assert head.read() == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
def test_another_method_is_refused_with_those_that_are_not(
    method: str, server: HealthServer
) -> None:
    refused = ask(server.port, method, "/livez")
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")


def test_300_idle_connections_hold_neither_a_thread_each_nor_up_a_probe(
    server: HealthServer, clock: FakeClock, num_threads: Callable[[], int]
) -> None:
    """acelink#50: a monitor that connects and never asks. It was a thread each, for ever."""
    idle = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(300)]
    assert ask(server.port, "GET", "/livez").read() == b"ok\n"
    until(lambda: num_threads() <= MAX_CONNECTIONS)
    assert idle[0].recv(1) == b"", "the oldest gave way"
    clock.seconds += 6.0
    assert idle[-1].recv(1) == b"", "none stays for long"
    until(lambda: num_threads() == 0)
    for one in idle:
        one.close()


@pytest.mark.parametrize("sent", [b"", b"GE", b"GET /livez HTTP/1.1\r\nHost: x\r\n"])
def test_half_a_request_is_given_up_however_slowly_it_goes_on(
    sent: bytes, server: HealthServer, clock: FakeClock, num_threads: Callable[[], int]
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as one:
        one.sendall(sent)
        until(lambda: num_threads() == 1)
        for _ in range(3):
            clock.seconds += 1.9
            one.sendall(b"X")  # a byte now and then is no whole request
        until(lambda: num_threads() == 0)


def test_one_that_does_not_read_its_answer_is_given_up(
    clock: FakeClock, num_threads: Callable[[], int]
) -> None:
    served = serve(clock=clock, num_metrics=3_000_000)  # more than the sockets' buffers take
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as one:
        one.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert one.recv(1) == b"H"
        assert num_threads() == 1
        clock.seconds += 6.0
        until(lambda: num_threads() == 0)
    served.close()


@pytest.mark.parametrize("bind", ["::1", "[::1]", "::", "0.0.0.0", "", "localhost", "127.0.0.1"])  # noqa: S104 (to be tried)
def test_every_way_to_write_an_address_is_listened_on_and_asked(bind: str) -> None:
    if ":" in bind and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    served = serve(bind)
    for host in hosts_to_ask(bind):
        assert ask(served.port, "GET", "/status", host).status == 200
    assert json.loads(ask(served.port, "GET", "/status", hosts_to_ask(bind)[0]).read())
    served.close()


def test_a_page_that_fails_is_logged_and_the_next_is_served(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken() -> bytes:
        raise ValueError("no such series")

    served = HealthServer(
        "127.0.0.1",
        0,
        is_live=lambda: True,
        is_ready=lambda: True,
        status=dict,
        metrics=broken,
        clock=SystemClock(),
    )
    with pytest.raises(http.client.RemoteDisconnected):
        ask(served.port, "GET", "/metrics")
    assert ask(served.port, "GET", "/livez").status == 200
    served.close()
    assert "health_request_failed" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("bind", "port", "words"),
    [
        ("0.0.0.0", 9200, "^$"),  # noqa: S104 (to be tried)
        ("::", 9200, "^$"),
        ("127.0.0.1", 9200, r"VIGIL_HEALTH__BIND=127\.0\.0\.1 .*this container alone"),
        ("[::1]", 9200, r"VIGIL_HEALTH__BIND=\[::1\] "),
        ("localhost", 9200, "VIGIL_HEALTH__BIND=localhost "),
        ("0.0.0.0", 8080, "VIGIL_HEALTH__PORT=8080: .* publishes .* 9200"),  # noqa: S104 (to be tried)
    ],
)
def test_a_port_that_nobody_outside_the_container_reaches_is_told(
    bind: str, port: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_OF_CONTAINERS", (str(tmp_path),))
    assert re.search(words, why_unreachable(bind, port))
    monkeypatch.setattr(health, "_OF_CONTAINERS", (str(tmp_path / "none"),))
    assert why_unreachable(bind, port) == ""
