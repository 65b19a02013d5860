"""What the keys and channels in Redis are called."""

from pipeline.messages import MessageKind

_CHANNELS: dict[MessageKind, str] = {
    "caption": "captions",
    "answer": "answers",
    "event": "events",
    "status": "status",
}

NO_CAMERA_IDS = ("worker", "cameras", "asks", "control", "questions")
"""What stands in the place of a camera's id in other keys."""


def channel(prefix: str, camera_id: str, kind: MessageKind) -> str:
    """Return the pub/sub channel of a camera's messages of one kind."""
    return f"{prefix}:{camera_id}:{_CHANNELS[kind]}"


def stream_key(prefix: str, camera_id: str, kind: MessageKind) -> str:
    """Return the key of the Redis stream beside `channel`."""
    return f"{channel(prefix, camera_id, kind)}:stream"


def state_key(prefix: str, camera_id: str) -> str:
    """Return the key of the hash that tells a late joiner how a camera stands."""
    return f"{prefix}:{camera_id}:state"


def carry_key(prefix: str, camera_id: str) -> str:
    """Return the key of the hash with what publishing itself remembers of a camera."""
    return f"{prefix}:{camera_id}:carry"


def heartbeat_key(prefix: str, worker_id: str) -> str:
    """Return the key that expires when a worker is gone."""
    return f"{prefix}:worker:{worker_id}"


def cameras_key(prefix: str) -> str:
    """Return the key of the hash that names every camera, its worker and its questions."""
    return f"{prefix}:cameras"


def watched_key(prefix: str, camera_id: str) -> str:
    """Return the key that is there while somebody looks at a camera; it expires in seconds."""
    return f"{prefix}:{camera_id}:watched"


def picture_key(prefix: str, camera_id: str) -> str:
    """Return the key of the hash with a camera's last picture, while somebody looks."""
    return f"{prefix}:{camera_id}:picture"


def asks_key(prefix: str, ask_id: str = "") -> str:
    """Return the key of the stream of one-off questions; with an id, of the list with its reply."""
    return f"{prefix}:asks:{ask_id}" if ask_id else f"{prefix}:asks"


def control_key(prefix: str) -> str:
    """Return the key of the stream of commands."""
    return f"{prefix}:control"


def acks_key(prefix: str, command: str = "") -> str:
    """Return the key of the stream of acknowledgements; of a command, of who answers it alone."""
    return f"{prefix}:control:acks:{command}" if command else f"{prefix}:control:acks"


def questions_key(prefix: str) -> str:
    """Return the key of the hash with what commands have changed."""
    return f"{prefix}:questions"


def evidence_prefix(prefix: str, camera_id: str) -> str:
    """Return what the keys of a camera's pictures and clips of events begin with."""
    return f"{prefix}:{camera_id}:evidence:"


def evidence_key(prefix: str, camera_id: str, event_id: str, role: str) -> str:
    """Return the key of one picture or clip of an event."""
    return f"{evidence_prefix(prefix, camera_id)}{event_id}:{role}"


def evidence_index_key(prefix: str) -> str:
    """Return the key of the sorted set of all pictures and clips, by when they expire."""
    return f"{prefix}:evidence"


def evidence_sizes_key(prefix: str) -> str:
    """Return the key of the hash with their sizes in bytes, and the sum of them as `total`."""
    return f"{prefix}:evidence:sizes"
