"""From answers to what people are paged about: one state machine per (camera, question)."""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from model.kinds.base import Target
from pipeline.types import Phase


@dataclass(frozen=True, slots=True)
class EventRule:
    """When answers become an event.

    Attributes:
        target: what the event is about: `yes`, one of the options, a least number.
        enter: an evaluation with at least this probability speaks for the event.
        exit: one with at most this probability speaks against it; between the two, for neither.
        confirm_n: this many of the last `confirm_m` evaluations must speak for it (or against it).
        confirm_m: see there.
        min_duration_s: an event is not ended before it has lasted this long.
        cooldown_s: after an end, the next start waits this long.
        update_every_s: while it lasts, an `update` this often.
    """

    target: Target = "yes"
    enter: float = 0.7
    exit: float = 0.4
    confirm_n: int = 2
    confirm_m: int = 3
    min_duration_s: float = 0.0
    cooldown_s: float = 60.0
    update_every_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Transition:
    """What is to be announced.

    Attributes:
        phase: `start`, `update` or `end`.
        event_id: the same for all phases of one event.
        started_at: capture time of the first frame that spoke for it.
        ended_at: capture time of the first frame of those that ended it; None before the end.
        p: probability of the evaluation that brought the transition.
    """

    phase: Phase
    event_id: str
    started_at: datetime
    ended_at: datetime | None
    p: float


@dataclass(slots=True)
class _State:
    """All that outlives a restart."""

    event_id: str | None = None
    started_at: datetime | None = None
    updated_at: datetime | None = None
    last_end: datetime | None = None


class EventMachine:
    """Hysteresis, N-of-M confirmation, minimum duration, cooldown.

    Times are capture times of frames, so a slow machine or a replay announces the same events. An
    evaluation without a probability (an `unknown`) changes nothing. A capture clock that jumps back
    cannot hold a cooldown for longer than it would have lasted.
    """

    def __init__(self, rule: EventRule, *, new_id: Callable[[], str]) -> None:
        self._rule = rule
        self._new_id = new_id
        self._recent: deque[tuple[datetime, float]] = deque(maxlen=rule.confirm_m)
        self._state = _State()

    @property
    def is_active(self) -> bool:
        """Whether an event is on."""
        return self._state.event_id is not None

    def step(self, p: float | None, at: datetime) -> Transition | None:
        """Take one evaluation of a frame captured `at`; return what is to be announced or None."""
        if p is None:
            return None
        self._recent.append((at, p))
        if self._state.event_id is None:
            return self._maybe_start(p, at)
        return self._maybe_end(self._state.event_id, p=p, at=at)

    def snapshot(self) -> str:
        """Return the state as JSON, for `restore`; unconfirmed evaluations are not in it."""
        state = self._state
        times = {
            name: value.isoformat() if value else None
            for name, value in (
                ("started_at", state.started_at),
                ("updated_at", state.updated_at),
                ("last_end", state.last_end),
            )
        }
        return json.dumps({"event_id": state.event_id, **times})

    def restore(self, snapshot: str) -> None:
        """Take up where another machine's `snapshot` left off.

        Raises:
            ValueError: the text is no snapshot.
        """
        try:
            fields = json.loads(snapshot)
            times = {
                name: datetime.fromisoformat(fields[name]) if fields[name] else None
                for name in ("started_at", "updated_at", "last_end")
            }
            self._state = _State(event_id=fields["event_id"], **times)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"expected an event machine's snapshot, got {snapshot[:80]!r}"
            ) from error
        self._recent.clear()

    def reset(self) -> None:
        """Forget everything."""
        self._recent.clear()
        self._state = _State()

    def _maybe_start(self, p: float, at: datetime) -> Transition | None:
        speaking = [when for when, value in self._recent if value >= self._rule.enter]
        if len(speaking) < self._rule.confirm_n or self._is_cooling(at):
            return None
        self._state = _State(self._new_id(), speaking[0], at, self._state.last_end)
        self._recent.clear()
        return self._transition("start", p)

    def _maybe_end(self, event_id: str, *, p: float, at: datetime) -> Transition | None:
        started_at = self._state.started_at or at
        against = [when for when, value in self._recent if value <= self._rule.exit]
        is_long_enough = (at - started_at).total_seconds() >= self._rule.min_duration_s
        if len(against) >= self._rule.confirm_n and is_long_enough:
            self._state = _State(last_end=against[0])
            self._recent.clear()
            return Transition("end", event_id, started_at, against[0], p)
        updated_at = self._state.updated_at or started_at
        if abs((at - updated_at).total_seconds()) >= self._rule.update_every_s:
            self._state.updated_at = at
            return self._transition("update", p)
        return None

    def _is_cooling(self, at: datetime) -> bool:
        if self._state.last_end is None:
            return False
        return 0 <= (at - self._state.last_end).total_seconds() < self._rule.cooldown_s

    def _transition(self, phase: Phase, p: float) -> Transition:
        state = self._state
        if state.event_id is None or state.started_at is None:
            raise AssertionError("an active event has an id and a start")
        return Transition(phase, state.event_id, state.started_at, None, p)
