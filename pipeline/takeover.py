"""Takes up cameras that another worker had, before anything is said of them."""

from collections.abc import Callable

import structlog

from pipeline.camera_session import CameraSession
from pipeline.carry import ANSWERED, AT, MACHINE, Carry, Position
from pipeline.event_machines import EventMachines
from pipeline.metrics import TAKEOVERS
from pipeline.observer import Observer
from pipeline.settling import Replies
from pipeline.status import StatusBoard
from pipeline.tenures import Taken, Tenures

log = structlog.get_logger("vigil")


class Takeover:
    """What Redis holds of a camera becomes events, positions and numbers of this worker.

    For the inference thread, which alone makes the messages of a camera's answers: so what is in
    the outbox when it asks is all that this worker has of the time before.
    """

    def __init__(
        self,
        tenures: Tenures,
        *,
        machines: EventMachines,
        session_of: Callable[[str], CameraSession],
        leave: Callable[[str], None],
        replies: Replies,
        status: StatusBoard,
        observer: Observer,
    ) -> None:
        self._tenures = tenures
        self._machines = machines
        self._session_of = session_of
        self._leave = leave
        self._replies = replies
        self._status = status
        self._observer = observer

    def look(self) -> None:
        """Take up what was answered, ask about what has come, forget cameras that are gone."""
        for taken in self._tenures.take():
            self._take_up(taken)
        for camera_id in self._machines.overdue():
            self._tenures.begin_without_record(camera_id)
        self._tenures.ask(self._replies.last_row)
        for camera_id in self._tenures.take_gone():
            self._machines.leave(camera_id)
            self._leave(camera_id)

    def _take_up(self, taken: Taken) -> None:
        camera_id, carry = taken.camera_id, taken.carry
        may_have_been_elsewhere = carry is None or carry.was_elsewhere
        if may_have_been_elsewhere and not taken.is_late:  # and come back between two looks
            self._leave(camera_id)
        if carry is None or carry.is_empty:
            self._machines.take_over(camera_id, None)
        elif not taken.is_late:
            self._machines.take_over(camera_id, _by_question(carry, MACHINE))
            told, answered = (_positions(carry, name) for name in (AT, ANSWERED))
            self._session_of(camera_id).resume(told, answered)
        elif carry.was_elsewhere:  # else Redis holds no more than what this worker went on from
            self._machines.take_over(camera_id, _by_question(carry, MACHINE), is_late=True)
        outcome = "unknown" if carry is None else "late" if taken.is_late else "known"
        self._observer.count(TAKEOVERS, outcome=outcome)
        log.info("camera_taken_over", camera=camera_id, term=carry and carry.term, outcome=outcome)
        self._tenures.open(taken)
        self._status.tell(camera_id)


def _by_question(carry: Carry, prefix: str) -> dict[str, str]:
    return {
        name.removeprefix(prefix): value
        for name, value in carry.fields.items()
        if name.startswith(prefix)
    }


def _positions(carry: Carry, prefix: str) -> dict[str, Position]:
    """Return the positions of a camera's questions; one that cannot be read is as none."""
    found = {}
    for question_id, text in _by_question(carry, prefix).items():
        try:
            found[question_id] = Position.read(text)
        except ValueError:
            log.warning("position_unreadable", question=question_id)
    return found
