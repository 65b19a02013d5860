"""Tests side by side, seen from outside: a run of its own over tests that note when they ran."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.side_by_side import ALONE

ROOT = Path(__file__).resolve().parents[1]
TESTS = """
import os, time
from pathlib import Path
import pytest

@pytest.fixture(autouse=True)
def noted(request):
    begun_s = time.monotonic()
    time.sleep(0.05)
    yield
    name = f"{Path(__file__).stem} {os.getpid()} {begun_s} {time.monotonic()}"
    (Path(os.environ["RAN"]) / f"{name} {request.node.name}").touch()

def test_one(): pass

def test_two(): pass
"""
CRASH = "import os\n\ndef test_crash(): os._exit(1)\n"


@dataclass(frozen=True)
class Ran:
    """A test that ran: of which file, in which process, from when to when."""

    file: str
    process: int
    begun_s: float
    ended_s: float

    def overlaps(self, other: "Ran") -> bool:
        return self.begun_s < other.ended_s and other.begun_s < self.ended_s


def run(folder: Path, files: Mapping[str, str]) -> tuple[str, list[Ran]]:
    """Run files in two processes; return what pytest said, and what ran."""
    noted = folder / "ran"
    noted.mkdir()
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    plugins = ("-p", "xdist", "-p", "tests.side_by_side", "-p", "no:cacheprovider")
    options = (*plugins, "-n", "2", "--dist", "loadfile", "--import-mode=importlib")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--rootdir={folder}", str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "RAN": str(noted)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    parts = [path.name.split() for path in noted.iterdir()]
    return done.stdout, [
        Ran(file, int(process), float(begun), float(ended))
        for file, process, begun, ended, _ in parts
    ]


def many(number: int) -> dict[str, str]:
    return {f"test_{index}.py": TESTS for index in range(number)}


def test_files_run_side_by_side_and_stay_together(tmp_path: Path) -> None:
    said, found = run(tmp_path, many(6))
    assert " 12 passed" in said
    assert len({one.process for one in found}) == 2
    for file in {one.file for one in found}:
        assert len({one.process for one in found if one.file == file}) == 1


@pytest.mark.parametrize("number", [5, 1, 0])
def test_a_file_that_must_be_alone_runs_when_all_others_are_over(
    tmp_path: Path, number: int
) -> None:
    files = dict.fromkeys(ALONE, TESTS) | many(number)
    said, found = run(tmp_path, files)
    assert f" {2 * len(files)} passed" in said
    names = {Path(one).stem for one in ALONE}
    alone = [one for one in found if one.file in names]
    assert len(alone) == 2 * len(ALONE)
    for one in alone:
        assert not [other for other in found if other is not one and other.overlaps(one)]
        assert one.begun_s > max(
            (other.ended_s for other in found if other not in alone), default=0
        )


def test_what_must_be_alone_is_there() -> None:
    assert [one for one in ALONE if not (ROOT / one).is_file()] == []


def test_a_test_that_ends_its_process_ends_the_run(tmp_path: Path) -> None:
    said, _ = run(tmp_path, many(4) | {"test_crash.py": CRASH})
    assert "worker 'gw" in said
    assert "crashed while running 'test_crash.py::test_crash'" in said
