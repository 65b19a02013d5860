"""Answers that no model gave, for what is judged without one."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from model.kinds.base import Doubt
from model.types import Answer
from pipeline.events import EventRule
from worker.evaluation.labelled.footage import Clip
from worker.evaluation.labelled.judging import Asked, Judged
from worker.evaluation.labelled.playing import Played, Said, Told
from worker.evaluation.labelled.truth import Stretch, Truth

EVERY_S = 5.0
ASKED = Asked(
    "person",
    "Is a person in view?",
    "yes_no",
    "yes",
    EventRule(cooldown_s=0.0, evidence_s=20.0),
    Doubt(),
    EVERY_S,
)


def clip(name: str = "gate", *, began: datetime | None = None) -> Clip:
    return Clip(name, Path(f"{name}.mp4"), name, began)


def said(t_s: float, p: float, *, question_id: str = "person", mass: float = 1.0) -> Said:
    """An answer as the worker would publish it."""
    answer, reason = ("yes" if p >= 0.5 else "no"), None
    if 0.4 <= p < 0.6:
        answer, reason = "unknown", "in_doubt"
    if mass < 0.1:
        answer, reason = "unknown", "no_answer"
    raw = Answer("yes_no", "yes" if p >= 0.5 else "no", p, 0, mass)
    return Said(t_s, question_id, answer, reason, raw)


def played(
    ps: Sequence[float], *, name: str = "gate", events: Sequence[Told] = (), mass: float = 1.0
) -> Played:
    """A clip of which a question was answered every five seconds."""
    answers = tuple(said(index * EVERY_S, p, mass=mass) for index, p in enumerate(ps))
    until_s = len(ps) * EVERY_S
    return Played(
        clip(name),
        answers,
        tuple(events),
        until_s,
        num_frames=int(until_s),
        num_kept=20 * int(until_s),
        num_tokens=100 * int(until_s),
        engine_s=until_s / 30,
    )


def truth(*spans: tuple[float, float], rest: str = "no") -> Truth:
    stretches = tuple(Stretch(*span, "yes", "gate.csv:2") for span in spans)
    return Truth(stretches, rest, "gate.csv:2")


def judged(
    ps: Sequence[float],
    spans: Sequence[tuple[float, float]],
    *,
    events: Sequence[Told] = (),
    asked: Asked = ASKED,
    rest: str = "no",
) -> Judged:
    return Judged(asked, [played(ps, events=events)], {"gate": truth(*spans, rest=rest)})
