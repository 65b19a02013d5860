"""What a publisher is, and what it asks of the outbox."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any, Protocol

from pipeline.carry import Carry
from pipeline.errors import PublishError
from pipeline.stored import Stored
from pipeline.tenures import Claim


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a batch, by `Stored.row`.

    Attributes:
        settled: they have arrived, now or before.
        num_published: how many of them have arrived now.
        refused: what is not taken for its own sake, with a word for why.
        fenced: what came too late, as another worker has its camera.
        failure: why others were not taken that are at no fault; None where there are none.
    """

    settled: tuple[int, ...]
    num_published: int
    refused: Mapping[int, str]
    fenced: tuple[int, ...] = ()
    failure: PublishError | None = None


class PendingMessages(Protocol):
    """Messages that are safe on disk and wait for delivery, oldest first: the outbox.

    Each method raises OutboxError when the disk fails. Not guaranteed: that a message which was
    handed out is still there later (a full outbox drops the least worth), or that two publishers
    on one outbox would both see it: there is one.
    """

    def wait(self, timeout_s: float) -> bool:
        """Return True as soon as there is something to deliver, False after `timeout_s`."""
        ...

    def pending(self, limit: int) -> list[Stored]:
        """Return up to `limit` messages, oldest first. They stay until they are settled."""
        ...

    def delivered(self, rows: Iterable[int]) -> None:
        """Forget messages, by `Stored.row`: they have arrived."""
        ...

    def first_waiting(self) -> int | None:
        """Return the row of the oldest message to be delivered; None where none is."""
        ...

    def continue_after(
        self, camera_id: str, tops: Mapping[str, int], *, row: int, term: int
    ) -> None:
        """Number a camera's messages after a row anew, after these by kind, under this term."""
        ...

    def set_aside(self, rows: Iterable[int]) -> None:
        """Take messages out of the way, by `Stored.row`, that are not taken for their own sake."""
        ...


class Cameras(Protocol):
    """What a worker knows of its cameras, for a publisher to keep right what readers find."""

    def statuses(self) -> Mapping[str, Mapping[str, Any]]:
        """Return, by camera, the `data` of the status that was told last."""
        ...

    def say_again(self, differs: Mapping[str, Mapping[str, Any]]) -> None:
        """Tell these statuses again, of `statuses`; not one that has changed since."""
        ...

    def claims(self) -> Sequence[Claim]:
        """Return the cameras that came from another worker and are to be taken over."""
        ...

    def grant(self, claim: Claim, carry: Carry) -> None:
        """Tell that a camera is this worker's, and what was left of it."""
        ...

    def refuse(self, claim: Claim, why: str) -> None:
        """Tell that a camera may not be taken now; it is asked for again."""
        ...

    def fenced(self, camera_id: str, term: int) -> None:
        """Tell of a message that came too late: another worker has its camera."""
        ...

    def questions(self) -> Mapping[str, Collection[str] | None]:
        """Return the ids of each camera's questions; None for a camera that is watched no more."""
        ...

    def is_here(self, camera_id: str, /) -> bool:
        """Say whether this worker has a camera, by an address or by a group."""
        ...

    def entries(self) -> Mapping[str, Mapping[str, Any]]:
        """Return, by camera, what the register tells of it: state, grid, questions."""
        ...


class NoCameras:
    """No camera is known: nothing is told again, nothing taken away."""

    def statuses(self) -> Mapping[str, Mapping[str, Any]]:
        return {}

    def say_again(self, differs: Mapping[str, Mapping[str, Any]]) -> None: ...

    def claims(self) -> Sequence[Claim]:
        return ()

    def grant(self, claim: Claim, carry: Carry) -> None: ...

    def refuse(self, claim: Claim, why: str) -> None: ...

    def fenced(self, camera_id: str, term: int) -> None: ...

    def questions(self) -> Mapping[str, Collection[str] | None]:
        return {}

    def is_here(self, _camera_id: str, /) -> bool:
        return True

    def entries(self) -> Mapping[str, Mapping[str, Any]]:
        return {}


NO_CAMERAS: Cameras = NoCameras()


def nothing_new() -> bool:
    """Say that it is no news that messages arrive."""
    return False


class Publisher(Protocol):
    """One connection to wherever replies are awaited.

    A publisher is used once: built, run, closed. It connects inside `run`, raises PublishError when
    it cannot go on, and never sleeps out a lost connection: the supervisor builds the next one. A
    message leaves the outbox once it has arrived, so none goes missing while one may arrive twice.
    Messages of one camera and kind arrive in the order of their numbers. A message that is refused
    for its own sake is set aside, and the others go on.

    Not guaranteed: that a message arrives soon, that messages of different cameras or kinds arrive
    in the order they were made, or that whoever listens hears what came while it was away.
    """

    def run(
        self,
        outbox: PendingMessages,
        stop: Event,
        *,
        fields: Callable[[], Mapping[str, object]] = dict,
        works: Callable[[], bool] = nothing_new,
    ) -> None:
        """Deliver what the outbox holds until `stop`, and then what is left in it.

        Args:
            outbox: where messages wait.
            stop: ends the loop once everything that can be delivered was.
            fields: asked for what each heartbeat carries.
            works: called whenever messages arrived, or nothing waits and it is known that they
                would; answers whether that is news, which the next heartbeat should not wait with.

        Raises:
            PublishError: at the first failure; the outbox has what was not confirmed.
            OutboxError: the outbox cannot be read or written.
        """
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...
