"""The pipeline's exception tree.

VigilError
├── ConfigError          a setting or argument that cannot work
├── SourceError          a camera or topic failed; `reason` says how, the supervisor retries
├── FrameError           one record or frame is no usable image; the stream goes on
├── OutboxError          the outbox on disk cannot be read or written
└── PublishError         Redis could not be reached or refused; `reason` says how, the outbox keeps
                         the message

No message carries a credential: adapters pass every driver text through `pipeline.redact`.
"""

from typing import Literal

SourceReason = Literal[
    "unreachable",
    "timeout",
    "auth_failed",
    "auth_unsupported",
    "tls_refused",
    "transport_refused",
    "refused",
    "not_found",
    "codec_unsupported",
    "no_video",
    "stalled",
    "ended",
    "corrupt",
]


class VigilError(Exception):
    """Anything Vigil itself raises."""


class ConfigError(VigilError):
    """A setting or argument cannot work."""


class SourceError(VigilError):
    """A source failed and must be rebuilt.

    Attributes:
        reason: one of a few words, published on the camera's status channel.
    """

    def __init__(self, reason: SourceReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: SourceReason = reason


class FrameError(VigilError):
    """A record or frame is no usable image; the message says what was expected and got."""


class OutboxError(VigilError):
    """The outbox on disk cannot be read or written."""


class PublishError(VigilError):
    """Redis could not be reached, or refused; nothing was lost, the outbox has the message.

    Attributes:
        reason: one of a few words, counted and published with the worker's heartbeat.
        detail: what is known beside it, for people; "" where nothing is.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"redis: {reason}" + (f": {detail}" if detail else ""))
        self.reason = reason
        self.detail = detail
