"""What a message names beside its words: pictures, as the model saw them, and a clip."""

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


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip that a message names.

    Attributes:
        key: its key in Redis.
        codec: how the video in it is encoded.
        start: when its first picture was captured, aware.
        end: when its last one is captured, if all comes that is to be in it.
    """

    key: str
    codec: str
    start: datetime
    end: datetime
