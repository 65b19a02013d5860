"""What a program sees of the library before it looks inside."""

import subprocess
import sys
from pathlib import Path

import pytest

import model
from model.types import PatchGrid
from model.videollama3.network import PATCHES

ROOT = Path(__file__).resolve().parents[2]


def test_importing_the_library_does_not_load_torch() -> None:
    code = "import sys, model; model.EngineConfig, model.Question; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_every_public_name_is_there_and_is_listed() -> None:
    assert [getattr(model, name).__name__ for name in model.__all__] == model.__all__
    assert dir(model) == sorted(model.__all__)


def test_another_name_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Motor'"):
        model.Motor  # type: ignore[attr-defined]  # noqa: B018 (looking is the test)


@pytest.mark.parametrize("package", ["model", "pipeline", "worker"])
def test_types_are_told_to_who_imports_it(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_a_grid_is_the_bundled_familys_unless_told() -> None:
    assert PatchGrid(3, 4).token_px == PATCHES.token_px
    assert PatchGrid(3, 4, token_px=32).height_px == 96
