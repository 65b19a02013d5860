"""The example of the library's README, run as it stands there."""

import re
import runpy
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 15


def test_the_example_captions_the_demo_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)  # more only wait for each other
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "model/README.md").read_text(), re.DOTALL)
    assert len(code.splitlines()) <= MAX_LINES
    script = tmp_path / "example.py"
    script.write_text(code)
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(script))
    caption, person = capsys.readouterr().out.splitlines()
    assert "bicycle" in caption  # crosses in the clip's last 15 s
    assert person.startswith("no ")  # the last one left 7 s before the end
