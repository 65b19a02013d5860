"""What a trial has found: one line, with a cure where it failed."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import SourceError

_CURES: Mapping[str, str] = {
    "unreachable": "check host and port, and that this machine or container can reach them",
    "timeout": "something listens there and does not answer: close other clients, or restart it",
    "auth_failed": "check user and password; in a password, / is written %2F and % is written %25",
    "not_found": "check what follows the host in the address, or that the file or topic is there",
    "codec_unsupported": "choose another codec, profile or sub-stream in the camera",
    "no_video": "choose a profile or sub-stream with a picture",
    "stalled": "the connection is open and nothing comes: restart the camera, look at the network",
    "ended": "the other side hung up: it may allow fewer connections than it has",
    "corrupt": "what comes is no picture: try VIGIL_CAMERAS__<ID>__TRANSPORT=tcp or another stream",
}


@dataclass(frozen=True, slots=True)
class Found:
    """What a trial has found.

    Attributes:
        subject: what was tried, such as `camera gate`.
        words: what it is, or why it failed and what to do.
        is_ok: whether a worker could use it.
    """

    subject: str
    words: str
    is_ok: bool = True

    @property
    def line(self) -> str:
        """The line to print."""
        return f"{'ok  ' if self.is_ok else 'FAIL'} {self.subject}: {self.words}"


def failed(subject: str, why: str, cure: str) -> Found:
    """Return what to say of a failure."""
    return Found(subject, f"{why}. {cure[:1].upper()}{cure[1:]}", is_ok=False)


def source_failed(subject: str, error: SourceError) -> Found:
    """Return what to say of a camera or topic that cannot be read."""
    cure = _CURES.get(error.reason, "see what deploy/README.md says of this reason")
    return failed(subject, str(error), cure)


def sized(num_bytes: float) -> str:
    """Write a number of bytes as people read it."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
