"""What is the matter with the outbox's disk: told when it begins, changes and is over."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import structlog

from pipeline.clock import Clock
from pipeline.messages import KINDS, MessageKind
from pipeline.metrics import (
    EVIDENCE_LOST,
    OUTBOX_DEGRADED,
    OUTBOX_DROPPED,
    OUTBOX_FAILURES,
    OUTBOX_SET_ASIDE,
)
from pipeline.observer import Observer
from pipeline.outbox_pictures import PICTURE

LOOK_EVERY_S = 10.0

_log = structlog.get_logger("vigil")


class Trouble:
    """No trouble, or one, with words for it and the time of the next look at the disk."""

    def __init__(self, *, clock: Clock, observer: Observer) -> None:
        """Begin without."""
        self.text = ""
        self._clock = clock
        self._observer = observer
        self._look_again_s = 0.0  # monotonic
        observer.set(OUTBOX_DEGRADED, 0)

    def begin(self, text: str, *, reason: str) -> None:
        """Tell of one."""
        self.text = text
        self._look_again_s = self._clock.monotonic_s() + LOOK_EVERY_S
        self._observer.set(OUTBOX_DEGRADED, 1)
        self._observer.count(OUTBOX_FAILURES, reason=reason)
        _log.error("outbox_degraded", reason=reason, detail=text)

    def is_due(self) -> bool:
        """Say whether it is time to look whether it is over, once in `LOOK_EVERY_S`."""
        now_s = self._clock.monotonic_s()
        if not self.text or now_s < self._look_again_s:
            return False
        self._look_again_s = now_s + LOOK_EVERY_S
        return True

    def end(self) -> None:
        """Tell that it is over."""
        self.text = ""
        self._observer.set(OUTBOX_DEGRADED, 0)
        _log.info("outbox_recovered")


class Losses:
    """What has given way in an outbox, and what was set aside in it; the observer is told."""

    def __init__(self, observer: Observer) -> None:
        """Begin with none."""
        self._observer = observer
        self._dropped: Counter[str] = Counter()
        self.dropped(())
        for kind in KINDS:
            observer.count(OUTBOX_SET_ASIDE, 0, kind=kind)

    def dropped(self, kinds: Iterable[str]) -> None:
        """Note messages that were lost, by kind, and pictures."""
        lost = Counter(kinds)
        self._observer.count(EVIDENCE_LOST, lost.pop(PICTURE, 0), reason="outbox")
        self._dropped += lost
        for kind in KINDS:
            self._observer.set(OUTBOX_DROPPED, self._dropped[kind], kind=kind)

    def set_aside(self, kinds: Iterable[MessageKind]) -> None:
        """Note messages that were set aside."""
        for kind in kinds:
            self._observer.count(OUTBOX_SET_ASIDE, kind=kind)


class FileError(Exception):
    """The file failed; memory will do."""

    def __init__(self, error: sqlite3.Error) -> None:
        super().__init__()
        self.error = error


class _Survivor(Protocol):
    def leave_file(self, error: sqlite3.Error) -> None: ...


_S = TypeVar("_S", bound=_Survivor)
_P = ParamSpec("_P")
_T = TypeVar("_T")


def outlives_file(method: Callable[Concatenate[_S, _P], _T]) -> Callable[Concatenate[_S, _P], _T]:
    """Do again in memory what the file failed to do: a transaction leaves nothing behind."""

    @wraps(method)
    def done(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return method(self, *args, **kwargs)
        except FileError as exc:
            self.leave_file(exc.error)
            return method(self, *args, **kwargs)

    return done
