"""Ids that tell what a message is about, so that what is said again has the same one.

A record of a topic is read again after a crash, or by another worker; a message made from it then
has the id that it had. What comes another way comes once, and its ids are random.
"""

from uuid import UUID, uuid4, uuid5

from pipeline.types import RecordPlace

# Made once, by uuid4: ids of one version of Vigil are those of another.
_NAMESPACE = UUID("d07cf194-e088-4c14-8b92-8c2e738f2eed")


def message_id(
    kind: str, camera_id: str, record: RecordPlace | None, *, question_id: str = "", phase: str = ""
) -> str:
    """Return the id of a message.

    Args:
        kind: of the message.
        camera_id: whom it is about.
        record: what it was made from; None where that was no record.
        question_id: what was asked.
        phase: of an event.
    """
    if record is None:
        return str(uuid4())
    about = (f"vigil.{kind}.v1", camera_id, question_id, *_place(record))
    return _id_of(*about, phase) if phase else _id_of(*about)


def event_id(camera_id: str, question_id: str, words: str, record: RecordPlace | None) -> str:
    """Return the id of an event.

    Args:
        camera_id: whom it is about.
        question_id: what was asked.
        words: how that was asked.
        record: of the first frame that spoke for the event.
    """
    if record is None:
        return uuid4().hex
    return UUID(_id_of("event", camera_id, question_id, words, *_place(record))).hex


def _place(record: RecordPlace) -> tuple[str, str, str]:
    return record.topic, str(record.partition), str(record.offset)


def _id_of(*parts: str) -> str:
    return str(uuid5(_NAMESPACE, "\x1f".join(parts)))
