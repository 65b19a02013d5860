"""The demo, as whoever tries Vigil first sees it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(150)
def test_the_demo_shows_captions_an_answer_and_the_kept_ratio(redis_executable: str) -> None:
    assert redis_executable
    done = subprocess.run(
        [sys.executable, "-m", "worker", "demo", "--seconds", "14"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"vigil:yard:captions  \"", done.stdout)) >= 2
    assert re.search(r"vigil:yard:answers  Is a person in view\? -> (yes|no|unknown)", done.stdout)
    assert re.search(r"kept ratio \d+\.\d%", done.stdout)
    assert "not trained" in done.stdout, "what the bundled model's words are worth is said"
