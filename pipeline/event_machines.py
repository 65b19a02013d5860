"""Every event machine of a worker: taken up from the process before, kept, and ended in the end."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from pipeline.clock import Clock
from pipeline.event_states import Kept, asked_of, fingerprint_of, is_on_since, state_name
from pipeline.events import EventMachine, EventRule, Transition, time_of
from pipeline.ids import event_id
from pipeline.messages import Asked, EndReason
from pipeline.questions import StandingQuestion
from pipeline.types import RecordPlace

log = structlog.get_logger("vigil")

FEWEST_SILENT = 3  # periods of a question: one that is asked rarely is not lost in between


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of an event that no answer ended.

    Attributes:
        camera_id: whose.
        asked: the question it was about, in the words it had then.
        answer: the last sound one.
        transition: the end.
        reason: why.
        captured_at: capture time of the frame that the last sound answer was about.
    """

    camera_id: str
    asked: Asked
    answer: str | int
    transition: Transition
    reason: EndReason
    captured_at: datetime


class EventMachines:
    """The machines by camera and question, and the states that outlive the process.

    An event belongs to one question in one wording (`StandingQuestion.fingerprint`). What the
    process before left is taken up by the question that is still the same, and ends where there is
    none. An event of which no sound answer comes for long ends too, so every start has an end.
    """

    def __init__(
        self,
        questions: Iterable[StandingQuestion],
        *,
        states: Mapping[str, str],
        may_come: Callable[[str], bool],
        forget_after_s: float,
        clock: Clock,
        waits: Callable[[str], bool] = lambda _camera_id: False,
        paused: Iterable[str] = (),
        new_id: Callable[[str, str, str, RecordPlace | None], str] = event_id,
    ) -> None:
        """Take up what was left.

        Args:
            questions: all of them.
            states: what the process before stored, by name.
            may_come: whether a camera is configured or may come by a topic.
            forget_after_s: an event without a sound answer for so long ends.
            clock: for both.
            waits: whether another process may have gone on with a camera: what was stored of it is
                not believed before `take_over`.
            paused: cameras of which nothing is asked for now; they have no event.
            new_id: makes the id of an event, of the camera, the question's id and words, and the
                record it started with.
        """
        self._questions = {one.id: one for one in questions}
        self._paused = frozenset(paused)
        self._may_come = may_come
        self._forget_after_s = forget_after_s
        self._clock = clock
        self._new_id = new_id
        self._kept: dict[str, dict[str, Kept]] = {}  # by camera, by name of the state
        self._endings: list[Ending] = []
        self._changes: dict[str, str | None] = {}
        self._left: dict[str, dict[str, str]] = {}  # by camera, by name: stored, not believed yet
        for name, text in states.items():
            camera_id = name.partition("/")[0]
            if waits(camera_id) and may_come(camera_id):
                self._left.setdefault(camera_id, {})[name] = text
            else:
                self._take_up(name, text)

    def step(
        self,
        camera_id: str,
        standing: StandingQuestion,
        *,
        p: float | None,
        answer: str | int,
        at: datetime,
        stream_s: float,
        record: RecordPlace | None = None,
    ) -> Transition | None:
        """Take a sound answer; return what is to be announced or None.

        Args:
            camera_id: whom it is about.
            standing: the question.
            p: probability of what the event is about; None where the answer is in doubt.
            answer: as messages give it.
            at: when the frame was captured.
            stream_s: the camera's progress (`pipeline.stretch`).
            record: what the frame was made from; None for no record.
        """
        if standing.rule is None:
            return None
        kept = self._of(camera_id, standing)
        kept.sound_s, kept.sound_at = self._clock.monotonic_s(), self._clock.now()
        kept.is_from_before = False
        if p is not None:
            kept.answer = answer
        transition = kept.machine.step(p, at, stream_s=stream_s, record=record)
        if transition is not None or kept.machine.is_active:
            self._store(kept)
        return transition

    def spoke_at(self, camera_id: str) -> dict[str, list[datetime]]:
        """Return, by question, when frames were captured that speak for an event that is off."""
        kept = self._kept.get(camera_id, {}).values()
        return {one.asked.question_id: one.machine.spoke_at for one in kept if one.machine.spoke_at}

    def follow(self, questions: Iterable[StandingQuestion], *, paused: Iterable[str]) -> None:
        """Go on with these questions, and end the events of what is not asked any more.

        Args:
            questions: all of them.
            paused: cameras of which nothing is asked.
        """
        self._questions = {one.id: one for one in questions}
        self._paused = frozenset(paused)
        for kept in [kept for machines in self._kept.values() for kept in machines.values()]:
            standing = self._questions.get(kept.asked.question_id)
            fingerprint = kept.name.rpartition("/")[2]
            reason = self._why_nobodys(kept.camera_id, standing, fingerprint=fingerprint)
            if reason is not None:
                self._end(kept, reason)
                self._drop(kept)
            elif standing is not None and standing.rule is not None:
                kept.machine.go_by(standing.rule)
                kept.limit_s = self._limit_s(standing)

    def gap(self, camera_id: str) -> None:
        """Note that a camera's frames had a gap."""
        for kept in self._kept.get(camera_id, {}).values():
            kept.machine.gap()

    def endings(
        self,
        *,
        is_over: Callable[[str], bool],
        waits: Callable[[str], bool] = lambda _camera_id: False,
    ) -> list[Ending]:
        """Return the events that are to be ended though no answer ends them; each once.

        Args:
            is_over: whether a camera's stream has ended for good.
            waits: whether it is not known yet how a camera's events stand.
        """
        now_s = self._clock.monotonic_s()
        known = [machines for one, machines in self._kept.items() if not waits(one)]
        for kept in [kept for machines in known for kept in machines.values()]:
            silent_s = now_s - kept.sound_s
            is_silent = silent_s >= kept.limit_s
            if kept.machine.is_active and (is_silent or is_over(kept.camera_id)):
                self._end(kept, "stale" if kept.is_from_before and is_silent else "camera_lost")
                self._store(kept)
            if (
                is_silent
                and not kept.machine.is_active
                and silent_s >= kept.machine.rule.cooldown_s
            ):
                self._drop(kept)
        endings, self._endings = self._endings, []
        return endings

    def take_changes(self) -> dict[str, str | None]:
        """Return the states that changed, by name, to be stored with the messages; None: gone."""
        changes, self._changes = self._changes, {}
        return changes

    def carried(self, camera_id: str, question_id: str) -> str | None:
        """Return a question's state for another process, as `take_over` reads it; None: none."""
        for kept in self._kept.get(camera_id, {}).values():
            if kept.asked.question_id == question_id:
                return kept.state(fingerprint=kept.name.rpartition("/")[2])
        return None

    def take_over(
        self, camera_id: str, states: Mapping[str, str] | None, *, is_late: bool = False
    ) -> None:
        """Go on with a camera's events where another process has left them.

        Args:
            camera_id: whose.
            states: what `carried` gave, by question; None where that is not known: then as this
                process, or the one before it, has left them.
            is_late: it was gone on without; events that are on here stay, and end others of their
                question that were on before.
        """
        left = self._left.pop(camera_id, {})
        if states is None:
            for name, text in left.items():
                self._take_up(name, text)
            return
        for name in left:
            self._changes[name] = None
        own = list(self._kept.get(camera_id, {}).values())
        on = {one.asked.question_id: one for one in own if is_late and one.machine.is_active}
        for kept in own:
            if kept.asked.question_id not in on:
                self._drop(kept)
        for question_id, text in states.items():
            name = f"{camera_id}/{question_id}/{fingerprint_of(text)}"
            if question_id not in on:
                self._take_up(name, text)
            else:
                self._end_old(name, text, but=on[question_id].machine.event_id)

    def leave(self, camera_id: str) -> None:
        """Forget a camera's events, with which another process goes on."""
        for name in self._left.pop(camera_id, {}):
            self._changes[name] = None
        for kept in list(self._kept.get(camera_id, {}).values()):
            self._drop(kept)

    def overdue(self) -> list[str]:
        """Return cameras of which stored events are on that nobody has taken over for long."""
        long_ago = self._clock.now() - timedelta(seconds=self._forget_after_s)
        return [
            camera_id
            for camera_id, states in self._left.items()
            if any(is_on_since(text, long_ago) for text in states.values())
        ]

    def _end_old(self, name: str, text: str, *, but: str | None) -> None:
        """End an event that another one, `but`, has followed, unknown to each other."""
        question_id = name.split("/")[1]
        with suppress(ValueError):
            standing = self._questions.get(question_id)
            kept = self._restored(name, text, standing=standing, question_id=question_id)
            if kept.machine.event_id != but:
                self._end(kept, "stale")

    def _of(self, camera_id: str, standing: StandingQuestion) -> Kept:
        name = state_name(camera_id, standing)
        machines = self._kept.setdefault(camera_id, {})
        if name not in machines:
            machines[name] = self._new(camera_id, standing)
        return machines[name]

    def _new(self, camera_id: str, standing: StandingQuestion) -> Kept:
        asked = Asked(standing.id, standing.question.text, standing.question.kind)
        return Kept(
            name=state_name(camera_id, standing),
            camera_id=camera_id,
            asked=asked,
            machine=self._machine(camera_id, asked, standing.rule),
            sound_s=self._clock.monotonic_s(),
            sound_at=self._clock.now(),
            limit_s=self._limit_s(standing),
        )

    def _machine(self, camera_id: str, asked: Asked, rule: EventRule | None) -> EventMachine:
        new_id = partial(self._new_id, camera_id, asked.question_id, asked.question)
        return EventMachine(rule or EventRule(), new_id=new_id)

    def _take_up(self, name: str, text: str) -> None:
        """Give a stored state to whom it belongs, or end its event."""
        camera_id, _, rest = name.partition("/")
        question_id, _, fingerprint = rest.partition("/")  # 0.2.0 had none
        standing = self._questions.get(question_id)
        reason = self._why_nobodys(camera_id, standing, fingerprint=fingerprint)
        try:
            kept = self._restored(name, text, standing=standing, question_id=question_id)
        except ValueError as error:
            log.warning("event_state_unreadable", state=name, detail=str(error))
            self._changes[name] = None
            return
        if reason is not None or standing is None:
            self._end(kept, reason or "question_removed")
            self._changes[name] = None
            return
        self._kept.setdefault(camera_id, {})[kept.name] = kept
        if kept.name != name:
            self._changes[name] = None
            self._store(kept)

    def _restored(
        self, name: str, text: str, *, standing: StandingQuestion | None, question_id: str
    ) -> Kept:
        """Read a stored state.

        Raises:
            ValueError: it is none.
        """
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError(f"expected a state, got {text[:80]!r}")  # noqa: TRY004 (of its text)
        rule = standing.rule if standing else None
        asked, answer = asked_of(fields, question_id=question_id, standing=standing)
        machine = self._machine(name.partition("/")[0], asked, rule)
        machine.restore(fields)
        now = self._clock.now()
        heard_at = time_of(fields.get("heard_at")) or machine.sound_at or now
        camera_id = name.partition("/")[0]
        is_same = standing is not None and standing.rule is not None
        return Kept(
            name=state_name(camera_id, standing) if standing and is_same else name,
            camera_id=camera_id,
            asked=asked,
            machine=machine,
            # a clock that was set back in between makes nothing older, or younger than now
            sound_s=self._clock.monotonic_s() - max(0.0, (now - heard_at).total_seconds()),
            sound_at=heard_at,
            limit_s=self._limit_s(standing),
            answer=answer,
            is_from_before=True,
            is_stored=True,
        )

    def _why_nobodys(
        self, camera_id: str, standing: StandingQuestion | None, *, fingerprint: str
    ) -> EndReason | None:
        """Return why nobody goes on with a camera's event; None where its question is the same."""
        if not self._may_come(camera_id):
            return "camera_removed"
        if standing is None or not standing.is_asked_of(camera_id):
            return "question_removed"
        if standing.rule is None or standing.is_paused or camera_id in self._paused:
            return "events_off"
        return "question_changed" if fingerprint not in ("", standing.fingerprint) else None

    def _limit_s(self, standing: StandingQuestion | None) -> float:
        return max(self._forget_after_s, FEWEST_SILENT * standing.every_s if standing else 0.0)

    def _end(self, kept: Kept, reason: EndReason) -> None:
        transition = kept.machine.end()
        if transition is None or transition.ended_at is None:
            return
        log.info(
            "event_ended",
            camera=kept.camera_id,
            question=kept.asked.question_id,
            event_id=transition.event_id,
            reason=reason,
        )
        captured_at = kept.machine.sound_at or transition.ended_at
        self._endings.append(
            Ending(kept.camera_id, kept.asked, kept.answer, transition, reason, captured_at)
        )

    def _store(self, kept: Kept) -> None:
        kept.is_stored = True
        self._changes[kept.name] = kept.state()

    def _drop(self, kept: Kept) -> None:
        """Forget a machine that is off and has not been heard of for long."""
        del self._kept[kept.camera_id][kept.name]
        if not self._kept[kept.camera_id]:
            del self._kept[kept.camera_id]
        if kept.is_stored:
            self._changes[kept.name] = None
