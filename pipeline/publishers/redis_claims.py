"""Takes cameras over in Redis: what an earlier owner still sends is refused from then on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from pipeline.carry import CARRY_VERSION, Carry
from pipeline.clock import Clock
from pipeline.publishers import redis_scripts as scripts
from pipeline.publishers.base import Cameras, PendingMessages
from pipeline.publishers.redis_keys import carry_key, heartbeat_key
from pipeline.tenures import Claim
from pipeline.types import Tenure

ASK_AGAIN_S = 2.0  # for what was refused: whoever has the camera may end, or lose it

ASK_RARELY_S = 30.0  # for a camera of which nothing has come here

_CURSOR = "cursor:"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whoever publishes.

    Attributes:
        worker_id: its name.
        run_id: tells it from another of that name.
        prefix: of the keys.
        lives_ms: how long a camera's keys outlive it.
    """

    worker_id: str
    run_id: str
    prefix: str
    lives_ms: int

    @property
    def name(self) -> str:
        """As the scripts have it."""
        return f"{self.worker_id} {self.run_id}"

    @property
    def heartbeats(self) -> str:
        """How the keys of heartbeats begin."""
        return heartbeat_key(self.prefix, "")


class Claims:
    """Asks for the cameras that have come. What was put of one before must be out first."""

    def __init__(self, owner: Owner, cameras: Cameras, *, clock: Clock) -> None:
        self._owner = owner
        self._cameras = cameras
        self._clock = clock
        self._ask_again_s: dict[Claim, float] = {}  # after a refusal

    def ask(
        self, redis: Redis, outbox: PendingMessages, *, answered: Callable[[Callable[[], Any]], Any]
    ) -> None:
        """Ask for each camera of which nothing waits; number what follows after what was told.

        Raises:
            PublishError: Redis cannot be reached, by way of `answered`.
            OutboxError: the outbox cannot be read or written.
        """
        claims = self._cameras.claims()
        if not claims:
            return
        waiting = {one: at_s for one, at_s in self._ask_again_s.items() if one in claims}
        self._ask_again_s = waiting
        first, now_s = outbox.first_waiting(), self._clock.monotonic_s()
        for claim in claims:
            is_out = first is None or claim.row < first
            if not is_out or now_s < self._ask_again_s.get(claim, now_s):
                continue
            reply = answered(partial(self._reply, redis, claim))
            if isinstance(reply, str):
                has_it = claim.tenure.generation > 0
                again_s = ASK_AGAIN_S if has_it else ASK_RARELY_S
                self._ask_again_s[claim] = now_s + again_s
                self._cameras.refuse(claim, reply)
                continue
            if not reply.is_empty:
                outbox.continue_after(claim.camera_id, reply.tops, row=claim.row, term=reply.term)
            self._cameras.grant(claim, reply)

    def _reply(self, redis: Redis, claim: Claim) -> Carry | str:
        """Return what is carried of a camera, which is this worker's now, or why it is not."""
        owner, tenure = self._owner, claim.tenure
        try:
            reply: Any = redis.eval(
                scripts.TAKE,
                1,
                carry_key(owner.prefix, claim.camera_id),
                str(tenure.generation),
                owner.name,
                tenure.group,
                owner.heartbeats,
                CARRY_VERSION,
                str(owner.lives_ms),
            )
        except ResponseError as exc:
            return f"Redis refuses to hand it over: {str(exc).partition(' ')[0]}"
        return _read(reply, tenure, owner.name)


def _read(reply: Sequence[bytes], tenure: Tenure, own: str) -> Carry | str:
    verdict, *rest = reply
    words = [one.decode("utf-8", "replace") for one in rest]
    if verdict == scripts.OTHER_VERSION:
        return (
            f"expected a state of version {CARRY_VERSION}, got {words[0]}: another version of "
            "Vigil has written it; nothing is lost, its records wait"
        )
    if verdict == scripts.TAKEN:
        owner, others = words[0].partition(" ")[0], words[1]
        if others == tenure.group or not tenure.generation:
            return f"worker {owner} still has it"
        of = f"by the consumer group {others!r}" if others else "by an address of its own"
        return (
            f"worker {owner}, which runs, has this camera {of}; expected nobody but the group "
            f"{tenure.group!r}: give one of them another VIGIL_REDIS__PREFIX, or the camera to one"
        )
    fields = dict(zip(words[1::2], words[2::2], strict=True))
    tops = {}
    for name, value in fields.items():
        last = value.split(" ")[-1]
        if name.startswith(_CURSOR) and last.isdecimal():
            tops[name.removeprefix(_CURSOR)] = int(last) % (1 << 32)
    was_elsewhere = fields.get("owner", own) != own
    return Carry(int(words[0]), tops, fields, was_elsewhere=was_elsewhere)
