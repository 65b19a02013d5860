"""A question that is asked once: answered about the window as it is, beside the standing ones."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from model.errors import DeviceMemoryError, InputError
from model.kinds.base import Doubt, Reason
from model.types import Answer, Question, Window
from pipeline.asks import OneOff
from pipeline.messages import Asked, Message, Provenance
from pipeline.replies import answered, unanswered
from pipeline.types import PrunedSample

QUESTION_ID = "ask"


class Answering(Protocol):
    """What of the engine is needed."""

    def ask(self, asks: Sequence[tuple[str, Question]]) -> list[Answer]: ...

    def window(self, stream_id: str) -> Window | None: ...


def answered_once(
    one: OneOff,
    engine: Answering,
    *,
    last: PrunedSample | None,
    reason: Reason | None,
    provenance: Provenance,
    doubt: Doubt,
) -> Message:
    """Return an answer to a one-off question, which is `unknown` where the model cannot be asked.

    Args:
        one: the question.
        engine: answers it by a fork of the camera's context, which stays as it was.
        last: what the model was shown of the camera last; None where it remembers nothing.
        reason: why an answer would be worth nothing now; None where it is sound.
        provenance: what the model has seen.
        doubt: when its answer is published as `unknown`.

    Raises:
        InputError: the question cannot be put.
    """
    question = one.question
    if question is None:
        raise InputError("question: expected one, got none")
    asked = Asked(QUESTION_ID, question.text, question.kind)
    provenance = replace(provenance, record=None)  # it may be asked twice of one record
    if last is None or engine.window(one.camera_id) is None:
        reason = reason or ("stalled" if last is None else "no_memory")
    if reason is None and last is not None:
        try:
            [answer] = engine.ask([(one.camera_id, question)])
        except DeviceMemoryError:
            reason = "no_memory"
        else:
            return answered(
                provenance, asked, answer, doubt=doubt, frame=last.frame, asked_by="ask"
            )[0]
    return unanswered(provenance, asked, reason or "no_memory", asked_by="ask")
