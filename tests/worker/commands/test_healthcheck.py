"""`vigil healthcheck` by a process of its own, as a container's runtime calls it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from pipeline.clock import SystemClock
from worker.demo.embedded_redis import free_port
from worker.health import HealthServer

ROOT = Path(__file__).resolve().parents[3]
PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy")


def healthcheck(port: int, **variables: str) -> tuple[int, str]:
    """Exit status, and what it says."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("VIGIL_")}
    done = subprocess.run(
        [sys.executable, "-m", "worker", "healthcheck"],
        cwd=ROOT,
        env=environment | {"VIGIL_HEALTH__PORT": str(port)} | variables,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert len(done.stderr.splitlines()) == (done.returncode != 0), done.stderr
    assert done.stdout == ""
    return done.returncode, done.stderr


@contextmanager
def serving(*, bind: str = "127.0.0.1", is_live: bool = True) -> Iterator[int]:
    server = HealthServer(
        bind,
        0,
        is_live=lambda: is_live,
        is_ready=lambda: True,
        status=dict,
        metrics=bytes,
        clock=SystemClock(),
    )
    yield server.port
    server.close()


def test_no_proxy_is_asked() -> None:
    """jupyter/docker-stacks#1962, traefik#12455, gogs#7529: unhealthy for good."""
    with serving() as port:
        dead = f"http://127.0.0.1:{free_port()}"
        assert healthcheck(port, no_proxy="", **dict.fromkeys(PROXIES, dead)) == (0, "")


@pytest.mark.parametrize("bind", ["::", "::1", "0.0.0.0"])  # noqa: S104 (to be tried)
def test_a_worker_is_found_by_any_address(bind: str) -> None:
    if ":" in bind and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with serving(bind=bind) as port:
        assert healthcheck(port, VIGIL_HEALTH__BIND=bind) == (0, "")


def test_without_a_worker_it_says_that_nothing_listens() -> None:
    status, said = healthcheck(port := free_port())
    assert status == 1
    assert f"nothing listens on 127.0.0.1 port {port}" in said
    assert "VIGIL_HEALTH__BIND, VIGIL_HEALTH__PORT" in said


def test_a_worker_that_hangs_is_told_from_one_that_is_not_there() -> None:
    with serving(is_live=False) as port:
        status, said = healthcheck(port)
    assert status == 1
    assert "no progress for VIGIL_HEALTH__STALL" in said


def test_a_port_that_never_answers_is_a_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        status, said = healthcheck(silent.getsockname()[1])
    assert status == 1
    assert "within 4 s" in said


def test_another_program_on_the_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def greet() -> None:
            with other.accept()[0] as connection:
                connection.recv(100)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = Thread(target=greet)
        thread.start()
        status, said = healthcheck(other.getsockname()[1])
        thread.join(timeout=10)
    assert status == 1
    assert "another program's" in said
    assert "ESMTP" not in said


def test_an_address_that_is_not_this_machines_is_told() -> None:
    status, said = healthcheck(9200, VIGIL_HEALTH__BIND="no-such-host.invalid")
    assert status == 1
    assert "no-such-host.invalid port 9200 (VIGIL_HEALTH__BIND" in said


def test_a_port_that_is_chosen_at_random_cannot_be_asked() -> None:
    status, said = healthcheck(0)
    assert status == 1
    assert "VIGIL_HEALTH__PORT is 0" in said
