"""From an answer to the messages it makes, and to the state of its event."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from model.kinds import CAPTION, kind_of
from model.types import Answer, Window
from pipeline.camera_session import Ask, CameraSession
from pipeline.messages import (
    Asked,
    Message,
    Provenance,
    answer_message,
    caption_message,
    event_message,
    rfc3339,
)
from pipeline.questions import StandingQuestion
from pipeline.types import Frame


@dataclass(frozen=True, slots=True)
class TickReplies:
    """What one tick has to say, to be stored together.

    Attributes:
        messages: in the order they were made.
        states: snapshots of the event machines that moved, by `state_name`.
    """

    messages: list[Message] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)

    def add(
        self, ask: Ask, answer: Answer, *, camera: CameraSession, provenance: Provenance
    ) -> None:
        """Make the messages of one answer, and step its event machine."""
        standing = ask.standing
        if answer.kind == CAPTION:
            text = str(answer.value)
            self.messages.append(
                caption_message(provenance, text=text, is_truncated=answer.is_truncated)
            )
            return
        kind = kind_of(answer.kind)
        asked = Asked(standing.id, standing.question.text, answer.kind)
        published = kind.published(answer, standing.doubt)
        if answer.span_s is not None and published.reason is None:
            interval = _interval(answer.span_s, ask.sent.frame)
            published = replace(published, answer=interval)
        self.messages.append(
            answer_message(
                provenance,
                asked,
                published=published,
                mass=answer.mass,
                reused=ask.cached is not None,
                is_truncated=answer.is_truncated,
            )
        )
        machine = camera.machines.get(standing.id)
        if machine is None or standing.rule is None:
            return
        p = None if published.reason else kind.event_p(answer, standing.rule.target)
        transition = machine.step(p, ask.sent.frame.captured_at)
        if transition is None:
            return
        self.states[state_name(provenance.camera_id, standing)] = machine.snapshot()
        self.messages.append(
            event_message(
                provenance,
                asked,
                answer=published.answer,
                p=transition.p,
                phase=transition.phase,
                event_id=transition.event_id,
                started_at=transition.started_at,
                ended_at=transition.ended_at,
                reason="answer" if transition.phase == "end" else None,
            )
        )


def provenance_of(
    ask: Ask,
    *,
    camera: CameraSession,
    window: Window | None,
    inferred_at: datetime,
    model: str,
    demo_model: bool,
    degraded: bool,
) -> Provenance:
    """Return what the model had seen of a camera when it answered."""
    frame = ask.sent.frame
    start_pts_s = window.start_pts_s if window else frame.pts_s
    tokens_kept, tokens_total = camera.tokens
    return Provenance(
        camera_id=frame.camera_id,
        captured_at=frame.captured_at,
        inferred_at=inferred_at,
        window_start=_earlier(frame.captured_at, frame.pts_s - start_pts_s),
        window_end=frame.captured_at,
        window_frames=window.num_frames if window else 0,
        tokens_kept=tokens_kept,
        tokens_total=tokens_total,
        model=model,
        demo_model=demo_model,
        degraded=degraded,
        damaged=camera.is_damaged,
    )


def state_name(camera_id: str, standing: StandingQuestion) -> str:
    """Return the name an event machine's snapshot has in the outbox."""
    return f"{camera_id}/{standing.id}"


def _interval(span_s: tuple[float, float], frame: Frame) -> str:
    """Return a stretch of stream time as START/END, by when the frame was captured."""
    return "/".join(rfc3339(_earlier(frame.captured_at, frame.pts_s - at_s)) for at_s in span_s)


def _earlier(at: datetime, seconds: float) -> datetime:
    return at - timedelta(seconds=max(0.0, seconds))
