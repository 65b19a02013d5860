"""What every test stands on: Hypothesis profiles, a clean environment, real servers, a clip.

Every message that a test makes is held to its schema (`tests.wire`).
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.pipeline.sources.clips import yard

pytest_plugins = [
    "tests.selection",
    "tests.side_by_side",
    "tests.wire",
    "tests.chaos.options",
    "tests.workers.options",
    "tests.servers.certificates",
    "tests.servers.redis",
    "tests.servers.sentinel",
    "tests.servers.kafka",
    "tests.servers.rtsp",
    "tests.servers.node",
]

settings.register_profile(
    "dev", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "ci",
    max_examples=200,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No VIGIL_ variable of the developer's shell reaches a test."""
    for name in list(os.environ):
        if name.startswith("VIGIL_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def clean_logging() -> Iterator[None]:
    """No command that a test ran in this process has set where the next test's lines go."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    structlog.reset_defaults()
    root.setLevel(level)
    for handler in root.handlers[:]:
        if type(handler) is logging.StreamHandler and handler not in handlers:
            root.removeHandler(handler)


@pytest.fixture(scope="session")
def yard_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered yard that people and cars cross, 616x336, 10 fps, 20 s, MPEG-4 in an AVI file."""
    return yard(tmp_path_factory.mktemp("yard") / "yard.avi", seconds=20)
