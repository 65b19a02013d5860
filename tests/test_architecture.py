"""The shape of the project: what is linted nowhere else."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 400
TOP_LEVEL = {
    *("worker", "pipeline", "model", "deploy", "tests"),
    *("pyproject.toml", "docker-compose.yml", "README.md", "LICENSE"),
}


def tracked() -> list[str]:
    """Files git knows or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout: the list of files is git's")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


def test_the_top_level_is_fixed() -> None:
    tops = {name.split("/")[0] for name in tracked()}
    assert {top for top in tops if not top.startswith(".")} <= TOP_LEVEL


@pytest.mark.parametrize("folder", ["worker", "pipeline", "model"])
def test_no_source_file_is_long(folder: str) -> None:
    sizes = {
        name: len((ROOT / name).read_text().splitlines())
        for name in tracked()
        if name.startswith(f"{folder}/") and name.endswith(".py")
    }
    assert {name: lines for name, lines in sizes.items() if lines > MAX_LINES} == {}


def test_links_in_the_documents_lead_somewhere() -> None:
    broken = [
        f"{name}: {target}"
        for name in tracked()
        if name.endswith(".md")
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", (ROOT / name).read_text())
        if "://" not in target and not ((ROOT / name).parent / target).exists()
    ]
    assert broken == []


@pytest.mark.parametrize("folder", ["worker", "pipeline", "model"])
def test_every_source_file_is_on_its_folders_map(folder: str) -> None:
    told = set(re.findall(r"`(\w+\.py)`", (ROOT / folder / "README.md").read_text()))
    there = {
        Path(name).name
        for name in tracked()
        if name.startswith(f"{folder}/") and name.endswith(".py")
    } - {"__init__.py"}
    assert there - told == set()
    assert {name for name in told - there if not name.startswith("test_")} == set()


@pytest.mark.parametrize("word", ["utils", "helpers", "common", "manager", "core"])
def test_no_file_is_named_for_nothing(word: str) -> None:
    assert [name for name in tracked() if Path(name).stem == word] == []
