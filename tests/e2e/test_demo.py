"""The demo, as whoever tries Vigil first sees it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from worker.demo.timeline import Timeline

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(150)
def test_the_demo_shows_captions_an_answer_and_the_kept_ratio(redis_executable: str) -> None:
    assert redis_executable
    timeline = Timeline.read(ROOT / "worker" / "demo" / "yard.json")
    done = subprocess.run(
        [sys.executable, "-m", "worker", "demo", "--seconds", "14"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "4000"},  # a line is a line
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"vigil:yard:captions  \"", done.stdout)) >= 2
    assert re.search(r"vigil:yard:answers +Is a person in view\? -> (yes|no|unknown)", done.stdout)
    assert re.search(r"kept ratio \d+\.\d%", done.stdout)
    assert "rendered world" in done.stdout, "what the bundled model's words are worth is said"
    truths = re.findall(r"truth  .*?  ([\d.]+) s to ([\d.]+) s: (.*)", done.stdout)
    assert len(truths) == len(re.findall(r"vigil:yard:captions", done.stdout))
    for start_s, end_s, words in truths:
        there = [
            timeline.in_clip(stay).in_words(actions)
            for stay, actions in timeline.seen(float(start_s), float(end_s))
        ]
        assert words == ("; ".join(there) or "nothing")
    begins_s = [float(start_s) for start_s, _, _ in truths]
    assert begins_s == [0.0] * len(truths), "play begins with the clip's first picture"
    assert 8.0 < float(truths[1][1]) < 16.0, "and goes on at its own pace"
    assert re.search(r"\ntruth +captions: \d+ of \d+ stated facts right", done.stdout)
