"""Messages that the version before left in an outbox, brought up to date."""

from collections.abc import Mapping
from typing import Any

_MODEL: Mapping[str, Any] = {"demo_model": False, "damaged": False}
_NEW: Mapping[str, Mapping[str, Any]] = {
    "caption": {**_MODEL, "truncated": False},
    "answer": {
        **_MODEL,
        "mass": None,
        "reason": None,
        "truncated": False,
        "asked_by": "standing",
    },
    "event": {**_MODEL, "pictures": [], "clip": None, "test": False},
    "status": dict.fromkeys(
        ("codec", "width", "height", "fps", "keyframe_every_s", "lag_ms", "next_try_at")
    ),
}
_OLD = "changed"  # a caption's, and always true


def up_to_date(kind: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message's body with the fields of today; one of today is returned as it is.

    The version before did not say why an answer is unknown, and ended events by answers alone.

    Args:
        kind: `caption`, `answer`, `event` or `status`.
        body: the envelope, as it was put.
    """
    if body.get("dataschema") != f"urn:vigil:{kind}:v1#data":
        return body
    data = {name: value for name, value in body["data"].items() if name != _OLD}
    data.update(_NEW[kind])
    if kind == "answer" and data["answer"] == "unknown" and data["kind"] == "yes_no":
        data["reason"] = "in_doubt"
    if kind == "event" and data["phase"] == "end":
        data["reason"] = "answer"
    return {**body, "dataschema": f"urn:vigil:{kind}:v1#/properties/data", "data": data}
