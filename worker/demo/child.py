"""A child process that does not outlive the demo, however the demo ends."""

import ctypes
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def start(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, quiet: bool = False
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own.

    Ctrl-C and a closed terminal are for the demo, which stops its children itself. Where it is
    killed and cannot, Linux sends them SIGTERM.
    """
    output = subprocess.DEVNULL if quiet else None
    return subprocess.Popen(  # noqa: S603 (programs that the demo has looked up itself)
        command,
        env=env,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=_end_with_parent if _LIBC else None,
    )


def _end_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
