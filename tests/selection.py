"""What a run may leave out: tests of real clips where none are given, and in CI nothing else."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--videos",
        type=Path,
        metavar="FOLDER",
        help="real clips, given with a =; without them the tests that want some are deselected",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--videos"):
        return
    left_out = [item for item in items if "videos" in getattr(item, "fixturenames", ())]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _failed_if_skipped((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _failed_if_skipped((yield))


def _failed_if_skipped(report: Report) -> Report:
    """Return a skip as a failure in CI, where a server that is missing must not go unseen."""
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which is a failure where CI is set: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def videos(pytestconfig: pytest.Config) -> Path:
    """The folder of real clips that was given."""
    folder: Path = pytestconfig.getoption("--videos")
    if not folder.is_dir():
        pytest.fail(f"--videos: expected a folder, got {folder}")
    return folder


@pytest.fixture(scope="session")
def vtest_video(videos: Path) -> Path:
    """Pedestrians crossing a yard, 768x576, 10 fps, 79.5 s, MPEG-4: a sample of OpenCV's."""
    return videos / "vtest.avi"
