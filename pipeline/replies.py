"""From an answer to the messages it makes, and to the state of its event."""

from dataclasses import replace
from datetime import datetime, timedelta

from model.kinds import CAPTION, kind_of
from model.kinds.base import Doubt, Published, Reason
from model.types import Answer, Window
from pipeline.camera_session import Ask
from pipeline.carry import ANSWERED, AT, MACHINE, Carried, Position
from pipeline.event_machines import Ending, EventMachines
from pipeline.events import Transition
from pipeline.evidence import MAX_PICTURED, Evidence
from pipeline.messages import (
    Asked,
    AskedBy,
    EndReason,
    Message,
    Provenance,
    answer_message,
    caption_message,
    event_message,
    rfc3339,
)
from pipeline.pictures import Clip, Picture
from pipeline.questions import StandingQuestion
from pipeline.types import Frame


class TickReplies:
    """What one tick has to say, to be stored together.

    Attributes:
        messages: in the order they were made.
    """

    def __init__(self, machines: EventMachines, evidence: Evidence | None = None) -> None:
        """Begin with nothing to say; `machines` make the events, `evidence` has their pictures."""
        self.messages: list[Message] = []
        self._machines = machines
        self._evidence = evidence
        self._num_pictured = 0

    def add(self, ask: Ask, answer: Answer, *, stream_s: float, provenance: Provenance) -> None:
        """Make the messages of one answer, and step its event machine."""
        standing = ask.standing
        if answer.kind == CAPTION:
            text = str(answer.value)
            message = caption_message(provenance, text=text, is_truncated=answer.is_truncated)
            self.messages.append(replace(message, carried=self._carried(ask, is_whole=True)))
            return
        kind, asked = kind_of(answer.kind), _asked(standing)
        message, published = answered(
            provenance,
            asked,
            answer,
            doubt=standing.doubt,
            frame=ask.sent.frame,
            reused=ask.cached is not None,
        )
        transition: Transition | None = None
        if standing.rule is not None and published.reason in (None, "in_doubt"):
            transition = self._machines.step(
                provenance.camera_id,
                standing,
                p=None if published.reason else kind.event_p(answer, standing.rule.target),
                answer=published.answer,
                at=ask.sent.frame.captured_at,
                stream_s=stream_s,
                record=ask.sent.frame.record,
            )
        if not ask.is_told:
            carried = self._carried(ask, is_whole=transition is None)
            self.messages.append(replace(message, carried=carried))
        if transition is not None:
            reason: EndReason | None = "answer" if transition.phase == "end" else None
            self._add_event(
                provenance, asked, answer=published.answer, transition=transition, reason=reason
            )
            self._carry_last(self._carried(ask, is_whole=True))
        if self._evidence is not None and standing.rule is not None:
            camera_id = provenance.camera_id
            self._evidence.hold(camera_id, self._machines.spoke_at(camera_id))

    def add_unknown(
        self, standing: StandingQuestion, reason: Reason, *, provenance: Provenance
    ) -> None:
        """Say that there is no answer about a camera; its event stays as it is."""
        by_the_wall = replace(provenance, record=None)  # it is about no frame
        self.messages.append(unanswered(by_the_wall, _asked(standing), reason))

    def add_ending(
        self, ending: Ending, *, provenance: Provenance, newest: Position | None
    ) -> None:
        """End an event that no answer has ended; `newest` is its camera's last record, if any."""
        self._add_event(
            replace(provenance, record=newest.record if newest else None),
            ending.asked,
            answer=ending.answer,
            transition=ending.transition,
            reason=ending.reason,
        )
        question_id = ending.asked.question_id
        state = self._machines.carried(ending.camera_id, question_id)
        place = newest.text if newest is not None else ""
        fields = {f"{MACHINE}{question_id}": state}
        self._carry_last(Carried(question_id=question_id, place=place, fields=fields))

    def _carried(self, ask: Ask, *, is_whole: bool) -> Carried:
        """Return what goes with a message about an ask; the last of them makes it whole."""
        position, standing = Position.of(ask.sent.frame), ask.standing
        place, fields = "", dict[str, str | None]()
        if position is not None:
            place = position.text
            fields[f"{AT if is_whole else ANSWERED}{standing.id}"] = place
        if is_whole and standing.rule is not None:
            state = self._machines.carried(ask.sent.frame.camera_id, standing.id)
            fields[f"{MACHINE}{standing.id}"] = state
        return Carried(question_id=standing.id, place=place, fields=fields)

    def _carry_last(self, carried: Carried) -> None:
        """Let the last message bring this with it."""
        self.messages[-1] = replace(self.messages[-1], carried=carried)

    def _add_event(
        self,
        provenance: Provenance,
        asked: Asked,
        *,
        answer: str | int,
        transition: Transition,
        reason: EndReason | None,
    ) -> None:
        pictures: tuple[Picture, ...] = ()
        clip: Clip | None = None
        if self._evidence is not None:
            self._num_pictured += 1
            clip = self._evidence.clip(provenance.camera_id, transition)
            pictures = self._evidence.pictures(
                provenance.camera_id,
                asked.question_id,
                transition,
                is_busy=self._num_pictured > MAX_PICTURED,
            )
        self.messages.append(
            event_message(
                provenance,
                asked,
                answer=answer,
                p=transition.p,
                phase=transition.phase,
                event_id=transition.event_id,
                started_at=transition.started_at,
                ended_at=transition.ended_at,
                reason=reason,
                pictures=pictures,
                clip=clip,
            )
        )


def answered(
    provenance: Provenance,
    asked: Asked,
    answer: Answer,
    *,
    doubt: Doubt,
    frame: Frame,
    reused: bool = False,
    asked_by: AskedBy = "standing",
) -> tuple[Message, Published]:
    """Return the message of an answer, and what it publishes.

    Args:
        provenance: what the model had seen.
        asked: the question.
        answer: the model's.
        doubt: when it is published as `unknown`.
        frame: the camera's newest, by whose capture a stretch of stream time is told.
        reused: it stands from before.
        asked_by: who asked.
    """
    published = kind_of(answer.kind).published(answer, doubt)
    if answer.span_s is not None and published.reason is None:
        published = replace(published, answer=_interval(answer.span_s, frame))
    message = answer_message(
        provenance,
        asked,
        published=published,
        mass=answer.mass,
        reused=reused,
        is_truncated=answer.is_truncated,
        asked_by=asked_by,
    )
    return message, published


def unanswered(
    provenance: Provenance, asked: Asked, reason: Reason, *, asked_by: AskedBy = "standing"
) -> Message:
    """Return the message that there is no answer, and why."""
    published = Published("unknown", None, reason)
    return answer_message(
        provenance, asked, published=published, mass=None, reused=False, asked_by=asked_by
    )


def provenance_of(
    frame: Frame, window: Window | None, *, tokens: tuple[int, int], blank: Provenance
) -> Provenance:
    """Return what a message tells of a camera's newest frame, and of what the model had seen.

    Args:
        frame: the newest one.
        window: what the model's context covers; None where it holds nothing.
        tokens: kept ones of the window, and all.
        blank: who answers, and when.
    """
    start_pts_s = window.start_pts_s if window else frame.pts_s
    tokens_kept, tokens_total = tokens
    return replace(
        blank,
        record=frame.record,
        window_start=_earlier(frame.captured_at, frame.pts_s - start_pts_s),
        window_frames=window.num_frames if window else 0,
        tokens_kept=tokens_kept,
        tokens_total=tokens_total,
    )


def blank_provenance(
    camera_id: str, captured_at: datetime, *, now: datetime, model: str, demo_model: bool
) -> Provenance:
    """Return what a message tells of a camera of which the model holds nothing.

    Args:
        camera_id: which.
        captured_at: when its newest frame was captured.
        now: when the message is made.
        model: its name.
        demo_model: whether it is a demonstration.
    """
    return Provenance(
        camera_id=camera_id,
        captured_at=captured_at,
        inferred_at=now,
        window_start=captured_at,
        window_end=captured_at,
        window_frames=0,
        tokens_kept=0,
        tokens_total=0,
        model=model,
        demo_model=demo_model,
        degraded=False,
    )


def _asked(standing: StandingQuestion) -> Asked:
    return Asked(standing.id, standing.question.text, standing.question.kind)


def _interval(span_s: tuple[float, float], frame: Frame) -> str:
    """Return a stretch of stream time as START/END, by when the frame was captured."""
    return "/".join(rfc3339(_earlier(frame.captured_at, frame.pts_s - at_s)) for at_s in span_s)


def _earlier(at: datetime, seconds: float) -> datetime:
    return at - timedelta(seconds=max(0.0, seconds))
