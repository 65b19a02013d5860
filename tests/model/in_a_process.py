"""Code that needs a process of its own: Triton looks at its variables when a kernel is declared."""

import os
import subprocess
import sys


def printed(code: str, **variables: str) -> str:
    """Run code with variables in its environment; return what it prints.

    Raises:
        AssertionError: it failed, with what it said.
    """
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.curdir, **variables},
        capture_output=True,
        check=False,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def interpreted(code: str) -> str:
    """Run code whose Triton kernels run on the CPU, as `printed`."""
    return printed(code, TRITON_INTERPRET="1")
