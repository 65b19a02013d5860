"""Which cameras came to this worker by a group, since when, and whether it is known how they stood.

A camera that several workers may have is *held* from the moment its partition comes here until
whoever published last of it has been asked for in Redis: its frames wait, and nothing is said of
it. The others go on.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from threading import Lock
from typing import Literal

from pipeline.carry import Carried, Carry
from pipeline.clock import Clock
from pipeline.messages import Message
from pipeline.types import RecordPlace, Tenure

WAIT_S = 60.0  # for Redis at a takeover; then the worker goes on without

_UNKNOWN = (
    "Redis could not be asked what another worker has said of this camera: events that were open "
    "may begin again"
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A camera that is to be taken over.

    Attributes:
        camera_id: which.
        tenure: in which it is here.
        row: what this worker's outbox has of it lies in rows up to this one.
    """

    camera_id: str
    tenure: Tenure
    row: int


@dataclass(frozen=True, slots=True)
class Taken:
    """A camera whose waiting is over.

    Attributes:
        camera_id: which.
        tenure: in which it is here.
        carry: what is known of it; None where Redis did not answer in time.
        is_late: the answer came when the worker had gone on without.
    """

    camera_id: str
    tenure: Tenure
    carry: Carry | None
    is_late: bool = False


Stage = Literal["new", "asked", "answered", "open"]


@dataclass(slots=True)
class _Camera:
    """One camera's tenure, and how far its takeover is.

    Attributes:
        tenure: the present one; None once it is over.
        group: the one that gave it.
        stage: `new` until what is left of the time before is settled, `asked` while Redis is asked,
            `answered` until the answer is taken up; then the camera is open.
        since_s: when it came, monotonic.
        claim: what is asked of Redis; None while nothing is.
        carry: the answer.
        term: under which messages go.
        refused: why it may not be taken, for people.
    """

    tenure: Tenure | None
    group: str
    since_s: float
    stage: Stage = "new"
    claim: Claim | None = None
    carry: Carry | None = None
    term: int = 0
    refused: str = ""


class Tenures:
    """The cameras of groups, from their first record on. Safe from any thread.

    Attributes:
        wake: called when a camera may go on.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        own: Collection[str] = (),
        has_group: bool = False,
    ) -> None:
        """Begin with none.

        Args:
            clock: times the waiting.
            own: cameras that are this worker's alone, as they have an address.
            has_group: whether the others come by a group, or would.
        """
        self._has_group = has_group
        self._own = frozenset(own)
        self._clock = clock
        self.wake: Callable[[], None] = lambda: None
        self._lock = Lock()
        self._cameras: dict[str, _Camera] = {}
        self._gone: set[str] = set()
        self._fenced: dict[str, int] = {}  # the term under which a message came late, by camera

    # -- where records come from ------------------------------------------------------------------

    def begin(self, camera_id: str, record: RecordPlace | None) -> None:
        """Note a camera's record: this worker has the camera from now on, if it had not before."""
        if record is None or record.tenure is None or record.tenure.is_over:
            return
        with self._lock:
            camera = self._cameras.get(camera_id)
            if camera is None or camera.tenure is not record.tenure:
                term = camera.term if camera is not None else 0
                tenure, now_s = record.tenure, self._clock.monotonic_s()
                self._cameras[camera_id] = _Camera(tenure, tenure.group, now_s, term=term)
                self._gone.discard(camera_id)

    def begin_without_record(self, camera_id: str) -> None:
        """Let a camera be told of that sends nothing here, unless another worker has it."""
        with self._lock:
            if self._has_group and camera_id not in self._cameras and camera_id not in self._own:
                tenure, now_s = Tenure("", 0), self._clock.monotonic_s()
                self._cameras[camera_id] = _Camera(tenure, "", now_s)

    def end(self, camera_id: str) -> None:
        """Note that a camera is this worker's no more."""
        with self._lock:
            camera = self._cameras.get(camera_id)
            if camera is not None and camera.tenure is not None:
                camera.tenure = camera.claim = None
                self._gone.add(camera_id)

    # -- the inference thread ---------------------------------------------------------------------

    def is_held(self, camera_id: str) -> bool:
        """Say whether a camera's frames are to wait."""
        with self._lock:
            camera = self._cameras.get(camera_id)
            return camera is not None and camera.tenure is not None and camera.stage != "open"

    def is_shared(self, camera_id: str) -> bool:
        """Say whether a camera came by a group, whether or not it is still here."""
        with self._lock:
            return camera_id in self._cameras

    def is_here(self, camera_id: str) -> bool:
        """Say whether this worker has a camera, by an address or by a group."""
        with self._lock:
            camera = self._cameras.get(camera_id)
            tenure = camera.tenure if camera is not None else None
            return camera_id in self._own or (tenure is not None and tenure.generation > 0)

    def ask(self, row: int) -> None:
        """Let Redis be asked about new cameras; the outbox has of them what is up to this row."""
        with self._lock:
            for camera_id, camera in self._cameras.items():
                if camera.stage == "new" and camera.tenure is not None:
                    camera.stage = "asked"
                    camera.claim = Claim(camera_id, camera.tenure, row)

    def take(self) -> list[Taken]:
        """Return the cameras whose waiting is over, each once; `open` lets them go on."""
        limit_s = self._clock.monotonic_s() - WAIT_S
        taken = []
        with self._lock:
            for camera_id, camera in self._cameras.items():
                carry, camera.carry = camera.carry, None
                if camera.tenure is None:
                    continue
                if carry is not None:
                    is_late = camera.stage == "open"
                    taken.append(Taken(camera_id, camera.tenure, carry, is_late=is_late))
                elif camera.stage == "asked" and not camera.refused and camera.since_s <= limit_s:
                    camera.term = max(camera.term, camera.tenure.generation)
                    taken.append(Taken(camera_id, camera.tenure, None))
        return taken

    def open(self, taken: Taken) -> None:
        """Let a camera's frames go on, if it has not come anew since."""
        with self._lock:
            camera = self._cameras[taken.camera_id]
            if camera.tenure is taken.tenure:
                camera.stage = "open"
        self.wake()

    def take_gone(self) -> set[str]:
        """Return the cameras that are here no more, each once."""
        with self._lock:
            gone, self._gone = self._gone, set()
            return gone

    # -- whoever talks to Redis -------------------------------------------------------------------

    def claims(self) -> list[Claim]:
        """Return what Redis is to be asked."""
        with self._lock:
            return [one.claim for one in self._cameras.values() if one.claim is not None]

    def grant(self, claim: Claim, carry: Carry) -> None:
        """Take the answer to a claim, which has made the camera this worker's in Redis."""
        with self._lock:
            camera = self._of(claim)
            if camera is None:
                return
            camera.claim, camera.carry, camera.term, camera.refused = None, carry, carry.term, ""
            if camera.stage == "asked":
                camera.stage = "answered"
        self.wake()

    def refuse(self, claim: Claim, why: str) -> bool:
        """Note that a camera may not be taken now; say whether that is news."""
        with self._lock:
            camera = self._of(claim)
            if camera is None or camera.refused == why:
                return False
            camera.refused = why
            return claim.tenure.generation > 0

    def fenced(self, camera_id: str, term: int) -> bool:
        """Note that another has a camera by a later term; ask again, if it is thought here.

        Returns:
            Whether that is news.
        """
        with self._lock:
            camera = self._cameras.get(camera_id)
            is_mine = camera is not None and camera.tenure is not None and camera.term == term
            if camera is not None and is_mine and camera.stage == "open":
                camera.stage, camera.since_s = "new", self._clock.monotonic_s()
            is_news = self._fenced.get(camera_id) != term
            self._fenced[camera_id] = term
            return is_news

    # -- what is said -----------------------------------------------------------------------------

    def why(self, camera_id: str) -> str:
        """Return why it is not known how a camera stood, for people; empty where it is."""
        with self._lock:
            camera = self._cameras.get(camera_id)
            if camera is None or camera.tenure is None:
                return ""
            is_unknown = camera.stage == "open" and camera.claim is not None
            return camera.refused or (_UNKNOWN if is_unknown else "")

    def term(self, camera_id: str) -> int:
        """Return under which term what is said of a camera goes; 0 where nobody shares it."""
        with self._lock:
            camera = self._cameras.get(camera_id)
            return camera.term if camera is not None else 0

    def stamped(self, message: Message) -> Message:
        """Return a message under its camera's term."""
        with self._lock:
            camera = self._cameras.get(message.camera_id)
            if camera is None:
                is_own = message.camera_id in self._own
                return replace(message, carried=message.carried or Carried() if is_own else None)
            carried = replace(message.carried or Carried(), term=camera.term, group=camera.group)
            return replace(message, carried=carried)

    def _of(self, claim: Claim) -> _Camera | None:
        camera = self._cameras.get(claim.camera_id)
        return camera if camera is not None and camera.claim is claim else None
