"""`vigil run` as a member of the group: with the bundled model, or with one that reads the truth.

Everything else is the worker's own, but that the group misses a member sooner.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Literal

from pipeline.sources.kafka import KafkaConfig
from tests.chaos.scripted_worker import ReadingEngine, be_a_process
from worker import feeds, supervisor, wiring  # noqa: F401 (loaded before a life begins)
from worker.commands.run import run
from worker.settings import Settings

Model = Literal["nano", "scripted"]


def main(
    session_s: float,
    model: Model,
    variables: Mapping[str, str],
    stderr: Connection,
) -> None:
    """Be the worker, in a process of its own.

    Args:
        session_s: how long the group waits for a sign of life.
        model: the bundled one, or one that reads the truth off the pictures.
        variables: its settings.
        stderr: where its log goes.
    """
    be_a_process(variables, stderr)
    if model == "scripted":
        wiring.loaded = lambda *_, **__: ReadingEngine()  # type: ignore[attr-defined, assignment]
    config_of = feeds.kafka_config

    def impatient(settings: Settings) -> KafkaConfig:
        return replace(config_of(settings), session_timeout_s=session_s)

    feeds.kafka_config = impatient
    sys.exit(run(argparse.Namespace()))
