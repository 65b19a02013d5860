"""`vigil healthcheck` serves a container's HEALTHCHECK, without curl in the image."""

import argparse
import http.client
import sys

from worker import environment
from worker.health import hosts_to_ask

SUMMARY = (
    "ask the worker on this machine whether it is alive: exit status 0 if it is, 1 if not "
    "(for container health checks)"
)
TIMEOUT_S = 4.0


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing: the settings name the port."""


def run(_arguments: argparse.Namespace) -> int:
    """Return 0 when the worker on this machine says it is alive; else 1, and say why."""
    health = environment.load().health
    why = "VIGIL_HEALTH__PORT is 0, any free port: nobody knows which one to ask"
    hosts = hosts_to_ask(health.bind) if health.port else ()
    for host in hosts:
        why = _why_not(host, health.port, timeout_s=TIMEOUT_S / len(hosts))
        if not why:
            return 0
    print(f"vigil: not healthy: {why}", file=sys.stderr)  # noqa: T201 (the one line that says why)
    return 1


def _why_not(host: str, port: int, *, timeout_s: float) -> str:
    """Return why the worker there is not alive; empty where it is. No proxy is asked."""
    place = f"{host} port {port} (VIGIL_HEALTH__BIND, VIGIL_HEALTH__PORT)"
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", "/livez")
        status = connection.getresponse().status
    except ConnectionRefusedError:
        return f"nothing listens on {place}: no worker, or one that still loads its model"
    except TimeoutError:
        return f"no answer from {place} within {timeout_s:g} s"
    except OSError as error:
        return f"no answer from {place}: {error.strerror or type(error).__name__}"
    except http.client.HTTPException:
        return f"{place} answers, but not by HTTP: it may be another program's"
    finally:
        connection.close()
    if status == 503:
        return "the worker says so: its model has made no progress for VIGIL_HEALTH__STALL"
    return "" if status == 200 else f"{place} answers {status}: it may be another program's"
