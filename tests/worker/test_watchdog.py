"""Native code that hangs with the interpreter's lock: no thread of Python can end the process."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# `PyDLL` calls do not release the lock: the sleep is what a wedged driver or kernel does. No other
# thread is given the lock between the word and the hang: one that stops in order has longer.
PROGRAM = """
import ctypes, sys, time
from functools import partial
from model.types import Answer
from tests.fakes import ScriptedSource, frame_at
from tests.worker.supervised import Delivered, feed, make
from worker.supervisor import Supervisor, stop_on_signals
from worker.watchdog import end_process_after

def answers(_camera_id, question):
    if sys.argv[1] == "hang":
        held = ctypes.PyDLL(None)
        sys.setswitchinterval(600)
        time.sleep(0.1)
        held.write(1, b"asked\\n", 6)
        held.sleep(60)
    return Answer(question.kind, "no", 0.1, 0)

played = feed(lambda: ScriptedSource([frame_at(0.0)]), is_endless=sys.argv[1] == "hang")
made = make(played, publisher=Delivered(), answers=answers, stall_after_s=1.0)
supervisor = Supervisor(made._worker, end_after=end_process_after)
stop_on_signals(supervisor.stop)
sys.exit(supervisor.run(health_port=0))
"""


@pytest.mark.parametrize("is_told_to_stop", [False, True], ids=["alone", "sigterm"])
def test_a_hang_that_keeps_the_lock_ends_the_process(*, is_told_to_stop: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "hang"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while "asked" not in process.stdout.readline():
            assert process.poll() is None
        begun_s = time.monotonic()
        if is_told_to_stop:
            process.send_signal(signal.SIGTERM)
        told = process.stderr.read()
        assert process.wait(timeout=30) == 1
        assert time.monotonic() - begun_s < 20.0
    assert "Timeout" in told
    assert "in answers" in told, "the traceback names who hangs"


def test_a_worker_that_ends_by_itself_is_not_in_its_way() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "play"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Timeout" not in done.stderr
