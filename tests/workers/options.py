"""For how long the test of many workers runs, which is asked for by its length."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # it takes the worker's libraries with it, and every test run reads this
    from tests.workers.member import Model

LONG_FROM_MINUTES = 3.0
REST_S = 240.0  # to start three workers and a broker, to settle, to judge; on a busy machine


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--workers-minutes",
        type=float,
        default=0.0,
        metavar="MINUTES",
        help="how long workers join, leave and die in the test of many workers, which wants the"
        " machine to itself (0: it is not run); from 3 on the group misses a member as late as it"
        " does by default",
    )
    parser.addoption(
        "--workers-model",
        choices=("nano", "scripted"),
        default="nano",
        help="the model of the test of many workers: the bundled one, or one that reads the truth"
        " off the pictures",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    minutes = config.getoption("--workers-minutes")
    asked = [item for item in items if "workers_minutes" in getattr(item, "fixturenames", ())]
    for item in asked:
        item.add_marker(pytest.mark.timeout(60 * minutes + REST_S))
    if asked and not minutes:
        config.hook.pytest_deselected(items=asked)
        items[:] = [item for item in items if item not in asked]


@pytest.fixture
def workers_model(pytestconfig: pytest.Config) -> "Model":
    chosen: Model = pytestconfig.getoption("--workers-model")
    return chosen


@pytest.fixture
def workers_minutes(pytestconfig: pytest.Config) -> float:
    return float(pytestconfig.getoption("--workers-minutes"))
