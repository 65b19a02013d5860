"""Keeps a publisher running, and knows and says how publishing stands."""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from threading import Event, Lock
from typing import Any

import structlog

from pipeline.carry import Carry
from pipeline.clock import Clock
from pipeline.control import Control
from pipeline.errors import OutboxError, PublishError
from pipeline.messages import Message, rfc3339
from pipeline.metrics import FENCED, PUBLISH_FAILURES, PUBLISHING_UP
from pipeline.observer import UNOBSERVED, Observer
from pipeline.outbox import Outbox
from pipeline.questions import CAPTION_ID, StandingQuestion
from pipeline.retry import backoff_s
from pipeline.status import StatusBoard
from pipeline.tenures import Claim, Tenures
from worker.parts import Delivery, Waiting
from worker.settings import Settings

RETRY_BASE_S, RETRY_CAP_S = 0.5, 10.0

log = structlog.get_logger("vigil")


@dataclass(frozen=True, slots=True)
class Standing:
    """How publishing stands: `connecting`, `ok` or `failing`, why, and since when."""

    state: str
    reason: str | None
    detail: str | None
    since: datetime


class Publishing:
    """Build publishers, one after the other, and run them until told to stop.

    An outage is told when it begins, when its reason becomes another, and when it is over, which
    is when messages arrive again: not when a connection is made, which may be all that is possible.
    """

    def __init__(
        self,
        new_publisher: Callable[[], Delivery[Any]],
        outbox: Waiting,
        *,
        clock: Clock,
        observer: Observer,
        rng: random.Random,
    ) -> None:
        self._new_publisher = new_publisher
        self._outbox = outbox
        self._clock = clock
        self._observer = observer
        self._rng = rng
        self._lock = Lock()
        self._failures = 0
        self._began_s = 0.0
        self._standing = self._now("connecting")

    def run(self, stop: Event, *, fields: Callable[[], Mapping[str, object]]) -> None:
        """Deliver what the outbox holds until `stop`, and once more what is left in it then.

        Args:
            stop: ends it; what cannot be delivered waits for the next start.
            fields: what a heartbeat carries beside how publishing stands.
        """
        while not stop.is_set():
            publisher = self._new_publisher()
            try:
                publisher.run(
                    self._outbox,
                    stop,
                    fields=lambda: {**fields(), "publishing": self.status()},
                    works=self._works,
                )
            except PublishError as error:
                self._fails(error.reason, error.detail)
            except OutboxError as error:
                self._fails("outbox", str(error))
            finally:
                publisher.close()
            if stop.is_set():  # one last try was made: what is left waits for the next start
                return
            pause_s = backoff_s(
                self._failures, base_s=RETRY_BASE_S, cap_s=RETRY_CAP_S, rng=self._rng
            )
            self._clock.wait(pause_s, stop)

    def status(self) -> dict[str, object]:
        """Return how publishing stands, as plain values. Any thread."""
        with self._lock:
            standing = self._standing
        return {
            "state": standing.state,
            "reason": standing.reason,
            "detail": standing.detail,
            "since": rfc3339(standing.since),
            "set_aside": self._outbox.num_set_aside,
        }

    def _works(self) -> bool:
        self._failures = 0
        before = self._standing
        if before.state == "ok":
            return False
        self._stand(self._now("ok"))
        if before.state == "failing":
            log.info(
                "publishing_restored",
                reason=before.reason,
                duration_s=round(self._clock.monotonic_s() - self._began_s, 1),
                waiting=self._outbox.num_waiting,
            )
        return True

    def _fails(self, reason: str, detail: str) -> None:
        self._failures += 1
        self._observer.count(PUBLISH_FAILURES, reason=reason)
        before = self._standing
        if (before.state, before.reason) == ("failing", reason):
            return
        self._stand(self._now("failing", reason, detail))
        if before.state != "failing":
            self._began_s = self._clock.monotonic_s()
        log.warning(
            "publishing_failed",
            reason=reason,
            detail=detail,
            before=before.reason,
            waiting=self._outbox.num_waiting,
        )

    def _now(self, state: str, reason: str | None = None, detail: str = "") -> Standing:
        return Standing(state, reason, detail or None, self._clock.now())

    def _stand(self, standing: Standing) -> None:
        with self._lock:
            self._standing = standing
        self._observer.set(PUBLISHING_UP, standing.state == "ok")


@dataclass(frozen=True, slots=True)
class KnownCameras:
    """What a publisher asks about cameras: how they stand, and what is asked of them.

    Attributes:
        board: their statuses.
        questions: the ids of each camera's questions; None for a camera that is watched no more.
        tenures: which cameras a group has given to this worker.
        observer: told of what came too late.
        control: all questions, and what commands have changed of them.
    """

    board: StatusBoard
    questions: Callable[[], Mapping[str, Collection[str] | None]]
    tenures: Tenures
    observer: Observer = UNOBSERVED
    control: Control = field(default_factory=lambda: Control(()))

    def statuses(self) -> Mapping[str, Mapping[str, Any]]:
        return self.board.said()

    def say_again(self, differs: Mapping[str, Mapping[str, Any]]) -> None:
        self.board.say_again(differs)

    def is_here(self, camera_id: str) -> bool:
        return self.tenures.is_here(camera_id)

    def claims(self) -> Sequence[Claim]:
        return self.tenures.claims()

    def grant(self, claim: Claim, carry: Carry) -> None:
        self.tenures.grant(claim, carry)

    def refuse(self, claim: Claim, why: str) -> None:
        if self.tenures.refuse(claim, why):
            log.warning("camera_not_taken_over", camera=claim.camera_id, detail=why)

    def fenced(self, camera_id: str, term: int) -> None:
        self.observer.count(FENCED, camera=camera_id)
        if self.tenures.fenced(camera_id, term):
            log.warning(
                "messages_fenced",
                camera=camera_id,
                term=term,
                detail="another worker has this camera now: what comes late is dropped",
            )

    def entries(self) -> Mapping[str, Mapping[str, Any]]:
        found, control, now = {}, self.control, self.control.now
        for camera_id, said in self.board.said().items():
            grid = self.board.grid(camera_id)
            found[camera_id] = {
                "term": self.tenures.term(camera_id),
                **{name: said[name] for name in ("state", "reason", "since")},
                "grid": asdict(grid) if grid else None,
                "control": control.is_on,
                "paused": control.is_paused(camera_id),
                "questions": {
                    one.id: {**_told(one), "changed": list(now.changed.get(one.id, ()))}
                    for one in now.questions
                    if one.id != CAPTION_ID and one.is_asked_of(camera_id)
                },
            }
        return found


def must_wait(tenures: Tenures, outbox: Outbox, camera_id: str) -> bool:
    """Say whether a camera's frames wait: for who had it, or for room where its topic can wait."""
    is_full = tenures.is_shared(camera_id) and outbox.is_nearly_full()
    return is_full or tenures.is_held(camera_id)


def put_status(outbox: Outbox, tenures: Tenures, message: Message) -> None:
    """Store a status; that of a camera that is not taken over yet is told when it is."""
    tenures.begin_without_record(message.camera_id)
    if not tenures.is_held(message.camera_id):
        outbox.put([tenures.stamped(message)])


def _told(standing: StandingQuestion) -> dict[str, Any]:
    """Return what the register tells of a question; the last three are null without events."""
    asked, rule = standing.question, standing.rule
    return {
        "question": asked.text,
        "kind": asked.kind,
        "options": list(asked.options),
        "every_s": standing.every_s,
        "target": rule.target if rule else None,
        "enter": rule.enter if rule else None,
        "exit": rule.exit if rule else None,
        "paused": standing.is_paused,
    }


def questions_of_cameras(
    settings: Settings, outbox: Outbox, control: Control
) -> dict[str, frozenset[str] | None]:
    """Return which questions each camera has; None where the settings have it no more.

    A camera whose frames come through Kafka needs no settings: whether it is gone is not known.
    """
    found: dict[str, frozenset[str] | None] = {}
    for camera_id in outbox.camera_ids() | set(settings.cameras):
        is_gone = camera_id not in settings.cameras and not settings.kafka.bootstrap_servers
        ids = (one.id for one in control.now.questions if one.is_asked_of(camera_id))
        found[camera_id] = None if is_gone else frozenset(ids)
    return found
