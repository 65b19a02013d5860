"""A source built as `pipeline/README.md` says: records wait in a mailbox until they are settled."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from threading import Event, Lock

from pipeline.errors import SourceError
from pipeline.types import Frame, Receipt, Wanted
from tests.fakes import frame_at


@dataclass(frozen=True, slots=True)
class Ticket:
    """Which letter of the mailbox a frame is; its receipt."""

    number: int


class Mailbox:
    """Letters by number: (camera_id, pts_s). Those not taken out are handed out again."""

    def __init__(self, letters: Mapping[int, tuple[str, float]]) -> None:
        self._lock = Lock()
        self._letters = dict(letters)

    @property
    def letters(self) -> dict[int, tuple[str, float]]:
        with self._lock:
            return dict(self._letters)

    def take_out(self, number: int) -> None:
        with self._lock:
            self._letters.pop(number, None)


class MailboxSource:
    """One round through a mailbox; a `FrameSource`."""

    def __init__(
        self, mailbox: Mailbox, *, wanted: Wanted, breaks_after: int | None = None
    ) -> None:
        self._mailbox = mailbox
        self._wanted = wanted
        self._breaks_after = breaks_after
        self._closed = Event()

    def frames(self) -> Iterator[Frame]:
        for index, (number, (camera_id, pts_s)) in enumerate(self._mailbox.letters.items()):
            if self._closed.is_set():
                return
            if index == self._breaks_after:
                raise SourceError("unreachable", "the mailbox is locked")
            ticket = Receipt(Ticket(number))
            if self._wanted(camera_id, pts_s):
                yield frame_at(pts_s, camera_id=camera_id, receipt=ticket)
            else:
                self.settle(ticket)  # nobody else will
        raise SourceError("ended", "the mailbox was gone through")

    def settle(self, receipt: Receipt) -> None:
        if isinstance(receipt, Ticket):
            self._mailbox.take_out(receipt.number)

    def close(self) -> None:
        self._closed.set()
