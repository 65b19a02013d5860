"""What every source promises, and what it does not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.types import Frame, Receipt


class FrameSource(Protocol):
    """One connection to wherever frames come from: an RTSP camera, a Kafka topic, a file.

    A source is used once: built, iterated, closed. It connects inside `frames`, raises
    `SourceError` when it cannot go on, and never retries or sleeps out a failure: the supervisor
    builds the next one. Not guaranteed: that pts_s starts at 0, that frames are evenly spaced, that
    one source carries one camera.
    """

    def frames(self) -> Iterator[Frame]:
        """Connect and yield sampled frames, oldest first, until `close` or a SourceError."""
        ...

    def settle(self, receipt: Receipt) -> None:
        """Note that everything depending on this record is safe. May be called by any thread.

        The receipt may be that of an earlier connection, or of another source that carries the same
        camera: a source ignores every receipt that it did not make or does not know any more.
        """
        ...

    def close(self) -> None:
        """Let go of every file and socket and make `frames` return soon. Any thread, any time."""
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame that the model was shown, without its picture."""

    pts_s: float
    receipt: Receipt | None


class PastFrames(Protocol):
    """A camera's frames from before, as they are read by another thread."""

    @property
    def is_over(self) -> bool:
        """Whether all of them were taken."""
        ...

    def take(self) -> Frame | None:
        """Return the next one, oldest first; None where it is not there yet. Does not wait.

        Raises:
            SourceError: they cannot be read.
        """
        ...

    def close(self) -> None:
        """Stop reading; what was read is thrown away."""
        ...


class Past(Protocol):
    """What a source can show of its cameras once more, beside their live frames."""

    def group(self, receipt: Receipt | None) -> int | None:
        """Name what is read together; None where no frames from before this one can be had."""
        ...

    def open(self, camera_id: str, live: Sequence[Seen], *, since_s: float) -> PastFrames:
        """Give a camera's sampled frames, masked like live ones, settled by nobody.

        They are read from when one is first asked for: those of a group that were opened before
        that cost hardly more than one of them.

        Args:
            camera_id: whose.
            live: what the model was shown of it since it came, oldest first, at least one. From the
                first on, just these come; before it, what the sampler might have taken.
            since_s: stream time; only later ones come.
        """
        ...

    def close(self) -> None:
        """Let go of every socket and thread. Any thread, any time."""
        ...


class _NoPast:
    """Nothing can be shown once more."""

    def group(self, receipt: Receipt | None) -> int | None:  # noqa: ARG002 (the protocol's)
        return None

    def open(self, camera_id: str, live: Sequence[Seen], *, since_s: float) -> PastFrames:
        raise NotImplementedError

    def close(self) -> None:
        pass


NO_PAST: Past = _NoPast()
