"""`vigil healthcheck` serves a container's HEALTHCHECK, without curl in the image."""

import argparse
import urllib.error
import urllib.request

from worker import environment

SUMMARY = (
    "ask the worker on this machine whether it is alive: exit status 0 if it is, 1 if not "
    "(for container health checks)"
)
TIMEOUT_S = 4.0


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing: the settings name the port."""


def run(_arguments: argparse.Namespace) -> int:
    """Return 0 when the worker on this machine says it is alive, else 1."""
    health = environment.load().health
    host = "127.0.0.1" if health.bind in ("0.0.0.0", "") else health.bind  # noqa: S104 (a comparison)
    try:
        with urllib.request.urlopen(
            f"http://{host}:{health.port}/livez", timeout=TIMEOUT_S
        ) as answer:
            return 0 if answer.status == 200 else 1
    except (urllib.error.URLError, OSError):
        return 1
