"""From answers to what people are paged about: one state machine per (camera, question)."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import inf, isfinite
from typing import Any

from model.kinds.base import Target
from pipeline.types import Phase, RecordPlace

CLOCK_SLACK_S = 10.0  # capture times that stray further from the stream's pace are a clock's jump
NewId = Callable[[RecordPlace | None], str]
_SPACINGS = 4  # an evaluation may be late; as many in a row are what a camera's are like


@dataclass(frozen=True, slots=True)
class EventRule:
    """When answers become an event.

    Attributes:
        target: what the event is about: `yes` or `no`, one of the options, a least number.
        enter: an evaluation with at least this probability speaks for the event.
        exit: one with at most this probability speaks against it; between the two, for neither.
        confirm_n: this many of the last `confirm_m` evaluations must speak for it (or against it).
        confirm_m: see there.
        min_duration_s: an event is not ended before it has lasted this long.
        cooldown_s: after an end, the next start waits this long.
        update_every_s: while it lasts, an `update` this often.
        evidence_s: an evaluation counts for so long, or for as long as `confirm_m + 1` of a camera
            that is evaluated more rarely.
    """

    target: Target = "yes"
    enter: float = 0.7
    exit: float = 0.4
    confirm_n: int = 2
    confirm_m: int = 3
    min_duration_s: float = 0.0
    cooldown_s: float = 60.0
    update_every_s: float = 60.0
    evidence_s: float = inf


@dataclass(frozen=True, slots=True)
class Transition:
    """What is to be announced.

    Attributes:
        phase: `start`, `update` or `end`.
        event_id: the same for all phases of one event.
        started_at: capture time of the first frame that spoke for it.
        ended_at: capture time of the first frame of those that ended it, or of the last sound
            answer where none did; never before `started_at`; None before the end.
        p: probability of the evaluation that brought the transition; None where none did.
        spoke_at: of a start, the capture time of the first frame as its own clock gave it then.
    """

    phase: Phase
    event_id: str
    started_at: datetime
    ended_at: datetime | None
    p: float | None
    spoke_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """A probability, when its frame was captured, how far the stream had come, what it was in."""

    p: float
    at: datetime
    stream_s: float
    record: RecordPlace | None = None


@dataclass(slots=True)
class _State:
    """All that outlives a restart. Seconds are of the stream's progress.

    Attributes:
        event_id: of the event that is on; None while none is.
        started_at: capture time of its first frame.
        sound_at: capture time of the last sound evaluation.
        last_end: capture time of the end of the event before.
        started_s: as `started_at`.
        updated_s: when it was last announced.
        sound_s: as `sound_at`.
        ended_s: as `last_end`; -inf where there was no event before.
    """

    event_id: str | None = None
    started_at: datetime | None = None
    sound_at: datetime | None = None
    last_end: datetime | None = None
    started_s: float = 0.0
    updated_s: float = 0.0
    sound_s: float = 0.0
    ended_s: float = -inf


class EventMachine:
    """Hysteresis, N-of-M confirmation, minimum duration, cooldown.

    What is announced has capture times; what is measured goes by the stream's progress, which never
    goes back (`pipeline.stretch`), so no clock that is set can hold an event open. An evaluation
    speaks for a start only within its stretch of frames and for as long as it is fresh. An end does
    not wait for such a stretch: `confirm_n` evaluations in a row that speak against the event are
    enough, whatever lies between them, so that a camera that comes and goes cannot keep it.

    Attributes:
        rule: when answers become an event.
    """

    def __init__(self, rule: EventRule, *, new_id: NewId) -> None:
        """Begin off; `new_id` makes an event's id of the record it started with, if any."""
        self.rule = rule
        self._new_id = new_id
        self._recent: deque[_Evaluation] = deque(maxlen=rule.confirm_m)
        self._spacings_s: deque[float] = deque(maxlen=_SPACINGS)
        self._evaluated_s: float | None = None
        self._num_against = 0  # in a row
        self._state = _State()
        self._anchor: datetime | None = None  # capture time of second 0 of a restored state

    def go_by(self, rule: EventRule) -> None:
        """Judge by another rule from now on; what was evaluated stands."""
        self.rule = rule
        self._recent = deque(self._recent, maxlen=rule.confirm_m)

    @property
    def event_id(self) -> str | None:
        """Of the event that is on; None while none is."""
        return self._state.event_id

    @property
    def is_active(self) -> bool:
        """Whether an event is on."""
        return self._state.event_id is not None

    @property
    def sound_at(self) -> datetime | None:
        """Capture time of the last sound evaluation; None before the first."""
        return self._state.sound_at

    @property
    def spoke_at(self) -> list[datetime]:
        """Capture times of the frames that speak for an event that is off, oldest first."""
        is_speaking = not self.is_active
        return [one.at for one in self._recent if is_speaking and one.p >= self.rule.enter]

    def step(
        self,
        p: float | None,
        at: datetime,
        *,
        stream_s: float,
        record: RecordPlace | None = None,
    ) -> Transition | None:
        """Take a sound evaluation; return what is to be announced or None.

        Args:
            p: probability that what the event is about holds; None where the answer is in doubt,
                which speaks for neither side.
            at: when the frame was captured.
            stream_s: the stream's progress, which never goes back.
            record: what the frame was made from; None for no record.
        """
        self._place(at, stream_s)
        self._state.sound_at, self._state.sound_s = at, stream_s
        if p is None:
            return None
        self._forget_old(stream_s)
        now = _Evaluation(p, at, stream_s, record)
        self._recent.append(now)
        self._num_against = self._num_against + 1 if p <= self.rule.exit else 0
        if self._state.event_id is None:
            return self._maybe_start(now)
        return self._maybe_end(self._state.event_id, now)

    def end(self) -> Transition | None:
        """End the event that is on, though no answer has; None where none is."""
        state = self._state
        if state.event_id is None or state.started_at is None:
            return None
        last_at = state.sound_at or state.started_at
        return self._ended(state.event_id, at=last_at, stream_s=state.sound_s, p=None)

    def gap(self) -> None:
        """Note that the camera's frames had a gap: what was seen before it confirms nothing."""
        self._recent.clear()

    def snapshot(self) -> dict[str, Any]:
        """Return the state as plain values, for `restore`, unconfirmed evaluations among them."""
        state = self._state
        return {
            "event_id": state.event_id,
            "started_at": state.started_at.isoformat() if state.started_at else None,
            "sound_at": state.sound_at.isoformat() if state.sound_at else None,
            "last_end": state.last_end.isoformat() if state.last_end else None,
            "lasted_s": state.sound_s - state.started_s,
            "unannounced_s": state.sound_s - state.updated_s,
            "over_s": state.sound_s - state.ended_s if state.last_end else None,
            "against": self._num_against,
            "spacings_s": list(self._spacings_s),
            "recent": [
                [one.p, one.at.isoformat(), state.sound_s - one.stream_s, _plain(one.record)]
                for one in self._recent
            ],
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take up where another machine's `snapshot` left off, or one of 0.2.0.

        Raises:
            ValueError: it is no snapshot.
        """
        try:
            state, anchor = _restored(snapshot)
            recent = [_evaluation(*one) for one in snapshot.get("recent", ())]
            spacings_s = [_seconds(one) for one in snapshot.get("spacings_s", ())]
            num_against = int(snapshot.get("against", 0))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"expected an event machine's snapshot, got {str(snapshot)[:80]!r}"
            ) from error
        self.reset()
        self._state, self._anchor = state, anchor
        self._recent.extend(recent)
        self._spacings_s.extend(spacings_s)
        self._evaluated_s = recent[-1].stream_s if recent else None
        self._num_against = num_against

    def reset(self) -> None:
        """Forget everything."""
        self._recent.clear()
        self._spacings_s.clear()
        self._evaluated_s = None
        self._num_against = 0
        self._state = _State()
        self._anchor = None

    def _place(self, at: datetime, stream_s: float) -> None:
        """Put a restored state's seconds onto this stream: what has passed cannot be negative."""
        if self._anchor is None:
            return
        shift_s = stream_s - max(0.0, (at - self._anchor).total_seconds())
        state = self._state
        state.started_s += shift_s
        state.updated_s += shift_s
        state.ended_s += shift_s
        moved = [replace(one, stream_s=one.stream_s + shift_s) for one in self._recent]
        self._recent = deque(moved, maxlen=self.rule.confirm_m)
        if self._evaluated_s is not None:
            self._evaluated_s += shift_s
        self._anchor = None

    def _forget_old(self, stream_s: float) -> None:
        """Let go of evidence that is too old for this camera's pace."""
        if self._evaluated_s is not None:
            self._spacings_s.append(stream_s - self._evaluated_s)
        self._evaluated_s = stream_s
        usual_s = min(self._spacings_s, default=0.0)
        limit_s = max(self.rule.evidence_s, (self.rule.confirm_m + 1) * usual_s)
        while self._recent and stream_s - self._recent[0].stream_s > limit_s:
            self._recent.popleft()

    def _maybe_start(self, now: _Evaluation) -> Transition | None:
        speaking = [one for one in self._recent if one.p >= self.rule.enter]
        is_cooling = now.stream_s - self._state.ended_s < self.rule.cooldown_s
        if len(speaking) < self.rule.confirm_n or is_cooling:
            return None
        first = speaking[0]
        event_id, started_at = self._new_id(first.record), _captured(first, now)
        self._state = _State(
            event_id=event_id,
            started_at=started_at,
            sound_at=now.at,
            last_end=self._state.last_end,
            started_s=first.stream_s,
            updated_s=now.stream_s,
            sound_s=now.stream_s,
        )
        self._recent.clear()
        self._num_against = 0
        return Transition("start", event_id, started_at, None, now.p, first.at)

    def _maybe_end(self, event_id: str, now: _Evaluation) -> Transition | None:
        state, rule = self._state, self.rule
        against = [one for one in self._recent if one.p <= rule.exit]
        is_over = bool(against) and max(len(against), self._num_against) >= rule.confirm_n
        if is_over and now.stream_s - state.started_s >= rule.min_duration_s:
            at, stream_s = _captured(against[0], now), against[0].stream_s
            return self._ended(event_id, at=at, stream_s=stream_s, p=now.p)
        if now.stream_s - state.updated_s < rule.update_every_s:
            return None
        state.updated_s = now.stream_s
        return Transition("update", event_id, state.started_at or now.at, None, now.p)

    def _ended(
        self, event_id: str, *, at: datetime, stream_s: float, p: float | None
    ) -> Transition:
        started_at = self._state.started_at or at
        ended_at = max(at, started_at)
        self._state = _State(
            sound_at=self._state.sound_at,
            sound_s=self._state.sound_s,
            last_end=ended_at,
            ended_s=stream_s,
        )
        self._recent.clear()
        self._num_against = 0
        return Transition("end", event_id, started_at, ended_at, p)


def _captured(then: _Evaluation, now: _Evaluation) -> datetime:
    """Return when a frame was captured, by the clock that the newest frame was captured by."""
    passed = timedelta(seconds=now.stream_s - then.stream_s)
    is_same_clock = abs(now.at - then.at - passed) <= timedelta(seconds=CLOCK_SLACK_S)
    return min(then.at, now.at) if is_same_clock else now.at - passed


def _restored(fields: Mapping[str, Any]) -> tuple[_State, datetime | None]:
    """Return a snapshot's state, its seconds counted from a capture time, and that time."""
    event_id = fields["event_id"]
    last_end = time_of(fields["last_end"])
    if event_id is None:
        # 0.2.0 counted from the end, and kept nothing of what came after it
        heard_at = time_of(fields["sound_at"]) if "over_s" in fields else last_end
        over_s = _seconds(fields.get("over_s") or 0.0)
        ended_s = -over_s if last_end else -inf
        return _State(sound_at=heard_at, last_end=last_end, ended_s=ended_s), heard_at
    started_at = time_of(fields["started_at"])
    # 0.2.0 did not tell sound answers; an update was one
    sound_at = time_of(fields["sound_at"] if "sound_at" in fields else fields["updated_at"])
    if started_at is None or not isinstance(event_id, str):
        raise ValueError("an event that is on has an id and a start")
    sound_at = sound_at or started_at
    lasted_s = _seconds(fields.get("lasted_s", (sound_at - started_at).total_seconds()))
    unannounced_s = _seconds(fields.get("unannounced_s", 0.0))
    state = _State(
        event_id=event_id,
        started_at=started_at,
        sound_at=sound_at,
        last_end=last_end,
        started_s=-lasted_s,
        updated_s=-unannounced_s,
    )
    return state, sound_at


def time_of(value: object) -> datetime | None:
    """Read a time of a snapshot; None where it has none.

    Raises:
        ValueError: it is no time, or one without a zone.
    """
    if value is None:
        return None
    time = datetime.fromisoformat(str(value))
    if time.tzinfo is None:
        raise ValueError("expected a time with a zone")
    return time


def _plain(record: RecordPlace | None) -> list[str | int] | None:
    return [record.topic, record.partition, record.offset] if record else None


def _evaluation(p: Any, at: Any, ago_s: Any, record: Any) -> _Evaluation:
    """Read an evaluation of a snapshot.

    Raises:
        TypeError, ValueError: it is none.
    """
    when = time_of(at)
    if when is None or not isfinite(float(p)):
        raise ValueError("an evaluation has a time and a probability")
    place = RecordPlace(str(record[0]), int(record[1]), int(record[2])) if record else None
    return _Evaluation(float(p), when, -_seconds(ago_s), place)


def _seconds(value: object) -> float:
    seconds = float(str(value))
    if not isfinite(seconds):
        raise ValueError("expected seconds")
    return max(0.0, seconds)
