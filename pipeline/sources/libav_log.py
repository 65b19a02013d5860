"""What libav says while it works: the only place where it tells of losses that it covers up.

libav fills in for what is missing in a picture, and most such pictures bear no mark. What it says
meanwhile is heard here per thread, and goes nowhere else: its lines hold addresses.
"""

import logging
from collections.abc import Iterable

import av.logging

Line = tuple[int, str, str]
"""(level, libav's part that speaks, its words)."""

_LOST = ("rtp: missed", "bad cseq", "received too late", "circular buffer overrun")
# Of a picture alone. What cameras say wrongly of themselves ("SEI type 4 truncated", "unable to
# decode APP fields") and references that were to be dropped and are gone ("mmco: unref") harm none.
_DAMAGED = (
    "concealing",
    "error while decoding mb",
    "reference picture",  # missing; missing during reorder
    "could not find ref",
    "frame rps",
    "frame num gap",
    "non-existing pps",
    "no frame!",
    "decode_slice_header error",
    "slice in a frame missing",
    "invalid slice segment",
    "invalid nal unit size",
    "illegal short term buffer",
    "error at mb",
    "damaged at",
)


_OF_DEVICE = ("hardware accelerator failed",)


def listening() -> "av.logging.Capture":
    """Return a context that collects what libav says in this thread, as a list of lines.

    Nothing must be yielded inside of it.
    """
    if av.logging.get_level() != av.logging.WARNING:
        logging.getLogger("libav").propagate = False
        logging.getLogger("libav").addHandler(logging.NullHandler())
        av.logging.set_skip_repeated(False)
        av.logging.set_level(av.logging.WARNING)
    return av.logging.Capture()


def tells_of_loss(said: Iterable[Line]) -> bool:
    """Say whether packets were missing in what was read."""
    return _tells(said, _LOST)


def tells_of_damage(said: Iterable[Line]) -> bool:
    """Say whether a picture that was decoded lacks something."""
    return _tells(said, _DAMAGED)


def tells_of_device(said: Iterable[Line]) -> bool:
    """Say whether a device that decodes in the processor's place has failed."""
    return _tells(said, _OF_DEVICE)


def _tells(said: Iterable[Line], phrases: tuple[str, ...]) -> bool:
    return any(phrase in words.lower() for _, _, words in said for phrase in phrases)
