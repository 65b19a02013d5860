"""For how long the test of many workers runs."""

import pytest

DEFAULT_MINUTES = 2.0
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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    limit_s = 60 * config.getoption("--workers-minutes") + REST_S
    for item in items:
        if "workers_minutes" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(limit_s))


@pytest.fixture
def workers_minutes(pytestconfig: pytest.Config) -> float:
    return float(pytestconfig.getoption("--workers-minutes"))
