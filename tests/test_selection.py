"""What a run of the tests leaves out, seen from outside: a run of its own over a few tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TESTS = """
import pytest

def test_without_a_server():
    pytest.skip("there is no server")

@pytest.mark.xfail(strict=True)
def test_of_a_known_fault():
    raise AssertionError

def test_of_a_real_clip(vtest_video):
    assert vtest_video.exists()
"""


@pytest.fixture
def some_tests(tmp_path: Path) -> Path:
    path = tmp_path / "test_some.py"
    path.write_text(TESTS)
    return path


def outcome(tests: Path, *options: str, ci: str = "") -> str:
    """Run the tests with our selection alone and return what pytest said."""
    command = [sys.executable, "-m", "pytest", "-p", "tests.selection", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *options, str(tests)],
        cwd=ROOT,
        env=os.environ | {"CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def test_a_skip_is_a_failure_in_ci_alone(some_tests: Path) -> None:
    assert "1 skipped, 1 deselected, 1 xfailed in" in outcome(some_tests)
    in_ci = outcome(some_tests, ci="true")
    assert "1 failed, 1 deselected, 1 xfailed in" in in_ci
    assert "there is no server" in in_ci


def test_a_module_that_skips_itself_is_an_error_in_ci(tmp_path: Path) -> None:
    path = tmp_path / "test_all.py"
    path.write_text("import pytest\n\npytest.importorskip('no_such_module')\n")
    assert "1 skipped in" in outcome(path)
    assert "1 error in" in outcome(path, ci="true")


def test_tests_of_real_clips_run_where_some_are_given(some_tests: Path, tmp_path: Path) -> None:
    only = ("-k", "real_clip")
    assert "1 failed" in outcome(some_tests, f"--videos={tmp_path}", *only)
    (tmp_path / "vtest.avi").touch()
    assert "1 passed" in outcome(some_tests, f"--videos={tmp_path}", *only)
