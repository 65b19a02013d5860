"""An event that did not happen, to see whether events arrive: marked as a test the whole way."""

from dataclasses import replace
from datetime import datetime
from uuid import uuid4

from pipeline.messages import Asked, Message, event_message
from pipeline.replies import blank_provenance

QUESTION_ID = "test-event"
"""Its own, so that in the hash it takes no real question's place. It is gone there within a
heartbeat, as what is told of any question that the camera does not have."""
_WORDS = "Does a test event arrive?"


def rehearsed(
    camera_id: str, *, now: datetime, model: str, demo_model: bool
) -> tuple[str, list[Message]]:
    """Return the id of a test event of a camera, and its start and end."""
    event_id = uuid4().hex
    told = blank_provenance(camera_id, now, now=now, model=model, demo_model=demo_model)
    asked = Asked(QUESTION_ID, _WORDS, "yes_no")
    start = event_message(
        told,
        asked,
        answer="yes",
        p=None,
        phase="start",
        event_id=event_id,
        started_at=now,
        ended_at=None,
        reason=None,
    )
    end = event_message(
        told,
        asked,
        answer="no",
        p=None,
        phase="end",
        event_id=event_id,
        started_at=now,
        ended_at=now,
        reason="answer",
    )
    return event_id, [_marked(start), _marked(end)]


def _marked(message: Message) -> Message:
    body = message.body
    return replace(message, body={**body, "data": {**body["data"], "test": True}})
