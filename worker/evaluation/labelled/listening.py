"""Where a played worker's messages go: into a list, so that an evaluation needs no Redis."""

from collections.abc import Callable, Mapping
from threading import Event
from typing import Any

from pipeline.messages import MessageKind
from pipeline.publishers.base import PendingMessages, nothing_new

_LOOK_S = 0.2
_BATCH = 1000


class Listener:
    """A publisher to whoever evaluates; a worker's supervisor runs it as it does that to Redis."""

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self._heard: dict[MessageKind, list[Mapping[str, Any]]] = {}

    def run(
        self,
        outbox: PendingMessages,
        stop: Event,
        *,
        fields: Callable[[], Mapping[str, object]] = dict,  # noqa: ARG002 (no heartbeat)
        works: Callable[[], bool] = nothing_new,
    ) -> None:
        while True:
            is_last = stop.is_set()  # before the look: what was stored before `stop` is found
            batch = outbox.pending(_BATCH) if outbox.wait(0.0 if is_last else _LOOK_S) else []
            for stored in batch:
                message = stored.message
                self._heard.setdefault(message.kind, []).append(message.body["data"])
            outbox.delivered([stored.row for stored in batch])
            works()
            if is_last and not batch:
                return

    def close(self) -> None: ...

    def heard(self, kind: MessageKind) -> list[Mapping[str, Any]]:
        """Return the `data` of all messages of a kind, oldest first."""
        return self._heard.get(kind, [])
