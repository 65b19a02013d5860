"""`vigil erase` erases what Redis keeps of a camera."""

import argparse
import sys

from pipeline.camera_id import is_camera_id
from pipeline.errors import ConfigError
from pipeline.publishers.redis_keys import NO_CAMERA_IDS
from worker import environment

SUMMARY = (
    "erase the pictures of events, the messages and the state that Redis keeps of a camera; exit "
    "status 0: erased, 1: Redis is away or refuses, 2: refused"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--camera", required=True, metavar="ID", help="the camera")
    parser.add_argument("--yes", action="store_true", help="do not ask before")


def run(arguments: argparse.Namespace) -> int:
    """Ask, erase, and return what came of it.

    Raises:
        ConfigError: a setting is wrong, that is no camera's id, or nobody can be asked.
    """
    if not is_camera_id(arguments.camera) or arguments.camera in NO_CAMERA_IDS:
        raise ConfigError("erase: --camera: expected a camera's id, such as gate")
    if not (arguments.yes or sys.stdin.isatty()):
        raise ConfigError("erase: expected --yes, since nobody can be asked here")
    settings = environment.load()
    from worker.erasing import erase

    def agrees(question: str) -> bool:
        return arguments.yes or input(question).strip().lower() in ("y", "yes")

    return erase(settings, arguments.camera, agrees=agrees)
