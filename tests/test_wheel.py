"""What is installed: everything the commands need, and nothing that only developers run."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed() -> set[str]:
    """Paths in the wheel, as the build backend would put them there."""
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed")
    files = wheel.WheelBuilder(str(ROOT)).recurse_included_files()
    return {file.distribution_path for file in files}


def test_an_installed_demo_finds_its_scene_its_settings_and_its_model(installed: set[str]) -> None:
    demo = {f"worker/demo/{name}" for name in ("demo.env", "yard.mp4", "yard.json")}
    nano = {
        f"model/nano/{path.name}" for path in (ROOT / "model" / "nano").iterdir() if path.is_file()
    }
    schemas = {f"pipeline/schemas/{path.name}" for path in ROOT.glob("pipeline/schemas/*.json")}
    assert len(nano) > 5
    assert len(schemas) == 4
    assert demo | nano | schemas <= installed


def test_types_are_told(installed: set[str]) -> None:
    assert {f"{package}/py.typed" for package in ("worker", "pipeline", "model")} <= installed


def test_nothing_is_installed_that_only_developers_need(installed: set[str]) -> None:
    assert {path.split("/")[0] for path in installed} == {"worker", "pipeline", "model"}
    assert "model/training/LOG.md" not in installed
