"""`vigil ingest`: cameras to Kafka, for workers elsewhere. It loads no model, nor torch."""

import argparse
import os

import structlog

from pipeline.clock import SystemClock
from worker import environment, log
from worker.watchdog import end_process_after

SUMMARY = "send the configured cameras' pictures to Kafka until stopped (Ctrl-C or SIGTERM)"
FAILED = 1


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing: the settings say it all."""


def run(_arguments: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT, or until writing to the buffer hangs.

    Raises:
        ConfigError: a setting is wrong, or there is no camera or no Kafka.
        OutboxError: the buffer's file is in use, or another program's.
    """
    settings = environment.load_for_ingest()
    secrets = environment.secrets_of(settings)
    log.configure(level=settings.log_level, style=settings.log_format, secrets=secrets)
    from worker.ingest import build
    from worker.supervisor import Supervisor, stop_on_signals

    supervisor = Supervisor(build(settings, clock=SystemClock()), end_after=end_process_after)
    stop_on_signals(supervisor.stop)
    status = supervisor.run()
    if status == FAILED:
        structlog.get_logger("vigil").error("ingest_exits", status=status)
        os._exit(status)  # a thread that hangs inside a driver would keep the process from ending
    return status
