"""Outboxes whose worker is gone: whoever finds one sends what waits in it, and leaves it empty."""

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import Protocol

import structlog

from pipeline.clock import Clock
from pipeline.errors import OutboxError, PublishError
from pipeline.outbox import Outbox
from pipeline.outbox_folder import abandoned, in_turn
from pipeline.publishers.base import Delivery
from pipeline.stored import Stored

LOOK_EVERY_S = 30.0
BATCH = 64

log = structlog.get_logger("vigil")


class Sender(Protocol):
    """One connection to where messages go."""

    def deliver(self, batch: Sequence[Stored]) -> Delivery: ...

    def close(self) -> None: ...


class Orphans:
    """Looks through a folder of outboxes, again and again.

    What another worker has gone on with since is fenced, as if its own worker had sent it late. The
    file stays, with its name and its states, for whoever starts next.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        connect: Callable[[str], Sender],
        max_bytes: int,
        clock: Clock,
    ) -> None:
        """Note where to look.

        Args:
            folder: of outboxes, the worker's own among them; None where there is none.
            connect: makes a connection for an outbox, by its random name.
            max_bytes: bound on an outbox.
            clock: times the looks.
        """
        self._folder = folder
        self._connect = connect
        self._max_bytes = max_bytes
        self._clock = clock

    def run(self, stop: Event) -> None:
        """Look every LOOK_EVERY_S until `stop`."""
        while self._folder is not None and not self._clock.wait(LOOK_EVERY_S, stop):
            self.look(stop)

    def look(self, stop: Event) -> None:
        """Send what waits in outboxes that nobody holds."""
        folder = self._folder
        for path in abandoned(folder) if folder else ():
            try:
                with in_turn(path.parent):
                    outbox = Outbox(path, max_bytes=self._max_bytes, clock=self._clock)
            except OutboxError:
                continue  # a worker that starts was faster, or it is of another version
            try:
                if not outbox.trouble:
                    self._send(path, outbox, stop)
            except (PublishError, OutboxError) as error:
                log.warning("orphan_not_sent", path=str(path), detail=str(error))
            finally:
                outbox.close()

    def _send(self, path: Path, outbox: Outbox, stop: Event) -> None:
        sender, number = self._connect(outbox.origin), outbox.num_waiting
        log.info("orphan_found", path=str(path), waiting=number)
        try:
            while not stop.is_set() and (batch := outbox.pending(BATCH)):
                delivery = sender.deliver(batch)
                outbox.delivered((*delivery.settled, *delivery.fenced))
                outbox.set_aside(delivery.refused)
                if delivery.failure is not None:
                    raise delivery.failure
                if not (delivery.settled or delivery.fenced or delivery.refused):
                    break  # they wait for one that was set aside: the next look has its turn
        finally:
            sender.close()
        log.info("orphan_sent", path=str(path), sent=number - outbox.num_waiting)
