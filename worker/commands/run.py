"""`vigil run`: the worker."""

import argparse
import os

import structlog

from pipeline.clock import SystemClock
from worker import environment, log
from worker.watchdog import end_process_after

SUMMARY = "watch the configured cameras until stopped (Ctrl-C or SIGTERM)"
FAILED = 1


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing: the settings say it all."""


def run(_arguments: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT, or until the inference thread fails.

    Raises:
        ConfigError: a setting is wrong, there is nothing to watch, no model is named, or something
            that a worker needs of this machine is not there.
        CheckpointError: the model's folder is not usable.
    """
    settings = environment.load_for_worker()
    secrets = environment.secrets_of(settings)
    log.configure(level=settings.log_level, style=settings.log_format, secrets=secrets)
    # Only now: torch takes seconds to load, and a settings mistake should be told at once.
    from worker.refusals import refuse
    from worker.supervisor import Supervisor, stop_on_signals
    from worker.wiring import build

    clock = SystemClock()
    refuse(settings, clock=clock)
    supervisor = Supervisor(build(settings, clock=clock), end_after=end_process_after)
    stop_on_signals(supervisor.stop)
    status = supervisor.run()
    if status == FAILED:
        structlog.get_logger("vigil").error("worker_exits", status=status)
        # A thread that hangs inside a driver or a kernel would keep the process from ending.
        os._exit(status)
    return status
