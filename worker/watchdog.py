"""Ends the process when no thread of Python can: one may hang in native code with the lock."""

import faulthandler
import sys


def end_process_after(seconds: float) -> None:
    """End the process with status 1 in so many seconds, unless this is called again before.

    Whoever makes progress calls it again and again. The thread that waits is `faulthandler`'s, in
    C: it needs no interpreter's lock. At the end it writes where each thread was to stderr, as
    plain lines with files and functions, no values.
    """
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or sys.stderr)
