"""For how long the chaos test runs, and with which seed; what it found, at the end of the run."""

import subprocess
from collections.abc import Iterator
from itertools import chain

import pytest

DEFAULT_MINUTES = 2.0
REST_S = 120.0  # to start, to settle, to judge; a busy machine takes its time

FOUND = "found"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--chaos-minutes",
        type=float,
        default=DEFAULT_MINUTES,
        metavar="MINUTES",
        help="how long faults are injected in the chaos test",
    )
    parser.addoption(
        "--chaos-seed", type=int, metavar="SEED", help="repeat the script and faults of a run"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    limit_s = 60 * config.getoption("--chaos-minutes") * 1.2 + REST_S
    for item in items:
        if "chaos_minutes" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(limit_s))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in chain(*terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport) and report.when == "teardown":
            for name, line in report.user_properties:
                if name == FOUND:
                    terminalreporter.write_line(str(line))


@pytest.fixture
def chaos_minutes(pytestconfig: pytest.Config) -> float:
    return float(pytestconfig.getoption("--chaos-minutes"))


@pytest.fixture
def chaos_seed(pytestconfig: pytest.Config) -> int:
    """The one that is given, else the commit's: another for each, the same wherever it is tried."""
    given: int | None = pytestconfig.getoption("--chaos-seed")
    if given is not None:
        return given
    head = ["git", "-C", str(pytestconfig.rootpath), "rev-parse", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=False).stdout.strip()
    return int(commit[:10] or "0", 16) % 1_000_000


@pytest.fixture
def chaos_found(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Lines that are printed when the run is over, whether or not it has passed."""
    found: list[str] = []
    yield found
    request.node.user_properties += [(FOUND, line) for line in found]
