"""For how long the test of many workers runs."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # it takes the worker's libraries with it, and every test run reads this
    from tests.workers.member import Model

DEFAULT_MINUTES = 2.0
NANO_FROM_MINUTES = 3.0
REST_S = 240.0  # to start three workers and a broker, to settle, to judge; on a busy machine


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--workers-minutes",
        type=float,
        default=DEFAULT_MINUTES,
        metavar="MINUTES",
        help="how long workers join, leave and die in the test of many workers; from 3 on they run"
        " the bundled model, and the group misses a member as late as it does by default",
    )
    parser.addoption(
        "--workers-model",
        choices=("nano", "scripted"),
        default=None,
        help="the model of the test of many workers, whatever its length: the bundled one, or one"
        " that reads the truth off the pictures",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    limit_s = 60 * config.getoption("--workers-minutes") + REST_S
    for item in items:
        if "workers_minutes" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(limit_s))


@pytest.fixture
def workers_model(pytestconfig: pytest.Config, workers_minutes: float) -> "Model":
    by_length: Model = "nano" if workers_minutes >= NANO_FROM_MINUTES else "scripted"
    chosen: Model | None = pytestconfig.getoption("--workers-model")
    return chosen or by_length


@pytest.fixture
def workers_minutes(pytestconfig: pytest.Config) -> float:
    return float(pytestconfig.getoption("--workers-minutes"))
