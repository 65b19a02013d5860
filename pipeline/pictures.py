"""A picture that a message names: what the model saw, as JPEG."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Role = Literal["before", "at", "latest", "strip"]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that a message names.

    Attributes:
        role: which of the message's pictures it is.
        key: its key in Redis.
        captured_at: when it was captured, aware; of a strip, its last picture.
        jpeg: the picture.
    """

    role: Role
    key: str
    captured_at: datetime
    jpeg: bytes = field(repr=False)
