"""What is installed: what was tested, and no more than is needed."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PIP = """#!/bin/sh
echo "$@" >> "$PIP_CALLS"
case "$*" in *unreachable*) exit 1 ;; esac
"""
PINNED = "-m pip install --quiet --disable-pip-version-check --constraint deploy/constraints.txt"


def installed(folder: Path, **variables: str) -> tuple[list[str], str]:
    """What deploy/install.sh has pip do, and what it says."""
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(PIP)
    python.chmod(0o755)
    calls = folder / "calls"
    done = subprocess.run(
        ["deploy/install.sh", folder, "-e", "."],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PIP_CALLS": str(calls), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return calls.read_text().splitlines(), done.stderr


def test_what_was_tested_is_installed(tmp_path: Path) -> None:
    assert installed(tmp_path) == ([f"{PINNED} -e ."], "")


def test_an_image_for_cpus_says_that_it_carries_cuda(tmp_path: Path) -> None:
    calls, said = installed(tmp_path, DEVICE="cpu")
    assert calls == [f"{PINNED} -e ."]
    assert "TORCH_INDEX_URL is not set: taking PyPI's torch, which carries CUDA" in said


def test_torch_alone_comes_from_an_index_of_its_own(tmp_path: Path) -> None:
    calls, said = installed(tmp_path, DEVICE="cpu", TORCH_INDEX_URL="http://index/cpu")
    assert calls[0].endswith("--no-deps --index-url http://index/cpu torch")
    assert calls[1:] == [f"{PINNED} -e ."]
    assert said == ""


def test_an_index_that_cannot_be_reached_is_told_and_passed_over(tmp_path: Path) -> None:
    calls, said = installed(tmp_path, TORCH_INDEX_URL="http://user:pw@unreachable/cpu")
    assert len(calls) == 2
    assert "cannot be had from TORCH_INDEX_URL: taking PyPI's" in said
    assert "pw" not in said


@pytest.mark.parametrize("place", ["deploy/Dockerfile", "deploy/venv.sh"])
def test_the_image_and_the_virtual_environment_are_made_alike(place: str) -> None:
    text = (ROOT / place).read_text()
    assert "deploy/install.sh" in text
    assert "deploy/constraints.txt" in text
    assert not re.search(r"pip install (?!.*'pip>=)", text), "nothing is installed past it"


def test_every_requirement_is_pinned_to_a_version_that_it_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    lines = (ROOT / "deploy" / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    wanted = [
        *project["project"]["dependencies"],
        *extras["demo"],
        *extras["bench"],
        *project["dependency-groups"]["dev"],
    ]
    for requirement in map(Requirement, wanted):
        pin = pins.get(requirement.name.lower().replace("_", "-"), "no pin")
        assert requirement.specifier.contains(pin), f"{requirement}: {pin}; run constraints.py"


def without_opencv(words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.modules['cv2'] = None\n{words}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_worker_needs_no_opencv_and_the_bench_asks_for_it() -> None:
    modules = "worker.wiring, pipeline.overlay, worker.evaluation.measure"
    done = without_opencv(
        f"import {modules}, worker.evaluation.self_check.measure\n"
        "from worker.__main__ import main\nsys.exit(main(['bench', 'ingest']))"
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr == (
        "vigil: bench: expected the extra `bench` to be installed, found no cv2: "
        "pip install opencv-python-headless\n"
    )


def test_the_notice_names_what_the_wheel_of_pyav_carries() -> None:
    av = pytest.importorskip("av")
    libraries = Path(av.__file__).parents[1] / "av.libs"
    if not libraries.is_dir():
        pytest.skip("this PyAV is no wheel with libraries of its own")
    notice = (ROOT / "deploy" / "NOTICE").read_text()
    named = re.findall(r"lib\w+\*?", notice)
    patterns = [name.rstrip("*") if name.endswith("*") else name + r"\b" for name in named]
    carried = {re.split(r"[-.]", path.name)[0] for path in libraries.iterdir()}
    unnamed = {name for name in carried if not any(re.match(one, name) for one in patterns)}
    assert unnamed == set()
    assert {"libx264", "libx265"} <= set(named)
