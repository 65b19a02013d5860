"""What every source promises, and what it does not."""

from collections.abc import Iterator
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
