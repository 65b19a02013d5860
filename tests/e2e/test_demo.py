"""The demo, as whoever tries Vigil first sees it, and what is left when it ends."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from worker.demo.timeline import Timeline

ROOT = Path(__file__).resolve().parents[2]


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


@contextmanager
def demo_on_a_terminal() -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """A demo that has a terminal of its own; yields it and the terminal's other side."""
    ours, theirs = pty.openpty()
    demo = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-m", "worker", "demo"],
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        yield demo, ours
    finally:
        demo.terminate()
        demo.wait(timeout=60)


def told(terminal: int, *, until: str) -> str:
    """What a terminal shows up to some words."""
    shown = ""
    while until not in shown:
        shown += os.read(terminal, 4096).decode(errors="replace")
    return shown


def running_with(word: str) -> list[str]:
    """Command lines of the processes that have a word there or in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            settings = (process / "environ").read_bytes().decode(errors="replace")
        except OSError:  # it has ended
            continue
        if word in line + settings:
            found.append(line)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("end", ["terminal closed", signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_demo_that_is_ended_leaves_nothing_running(
    redis_executable: str, end: str | signal.Signals
) -> None:
    """Nor does one that is killed, as for want of memory: its children are told by the kernel."""
    assert redis_executable
    with demo_on_a_terminal() as (demo, terminal):
        shown = told(terminal, until="loading the model")
        (redis,) = set(re.findall(r"redis://(127.0.0.1:\d+)/0", shown))
        limit_s = time.monotonic() + 20
        while len(running_with(redis)) < 2 and time.monotonic() < limit_s:
            time.sleep(0.1)
        assert len(running_with(redis)) == 2, "a Redis and a worker"
        if isinstance(end, signal.Signals):
            demo.send_signal(end)
            if end != signal.SIGKILL:
                told(terminal, until="received")
        os.close(terminal)
        demo.wait(timeout=60)
    limit_s = time.monotonic() + (45 if end == signal.SIGKILL else 0)
    while running_with(redis) and time.monotonic() < limit_s:
        time.sleep(0.1)
    assert running_with(redis) == []
