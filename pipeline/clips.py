"""Clips of events: of each camera the last while is kept in memory, and of each event cut from it.

A camera that sends H.264 by RTSP, and has nothing private, is kept packet by packet, as it came;
of any other the pictures that the model saw, one a second.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile
from threading import Condition

from numpy import uint8
from numpy.typing import NDArray

from pipeline.cadence import Cadence
from pipeline.clock import Clock
from pipeline.events import Transition
from pipeline.jpeg import jpeg_of
from pipeline.metrics import CLIP_DROPPED, EVIDENCE_LOST
from pipeline.mp4 import Piece, mp4_of_packets, mp4_of_pictures
from pipeline.observer import UNOBSERVED, Observer
from pipeline.pictures import Clip
from pipeline.types import Frame

AROUND_S = 5.0  # of an event's first frame, before it and after
KEY_WITHIN_S = 10.0  # the longest key-frame intervals that are usual
MAX_CAMERA_BYTES = 32 << 20  # 65 s of a camera with 4 Mbit/s
PICTURE_EVERY_S = 1.0
CODEC = "h264"
_LATE_S = 3.0  # how long what follows an event may be late; then it is cut as it is
_MAX_RAW = 64  # pictures that wait to be encoded: 100 MB of large ones
_MAX_CUTS = 32  # clips that wait for what follows their event

KeyOf = Callable[[str, str, str], str]
"""(camera_id, event_id, role) -> the key in Redis."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """A clip that is to be cut.

    Attributes:
        clip: as the event's message names it.
        camera_id: whose.
        at: the event's first frame.
        late_s: monotonic time at which it waits no longer.
    """

    clip: Clip
    camera_id: str
    at: datetime
    late_s: float


@dataclass(slots=True)
class _Memory:
    """What is kept of a camera, oldest first; `is_coded`: packets, not pictures."""

    is_coded: bool
    pieces: deque[Piece] = field(default_factory=deque)
    num_bytes: int = 0
    _keys_at: deque[datetime] = field(default_factory=deque)

    @property
    def newest_at(self) -> datetime | None:
        return self.pieces[-1].at if self.pieces else None

    def add(self, piece: Piece, *, kept_s: float, max_bytes: int) -> int:
        """Add a piece; return how many went before their time, for want of room.

        What goes is the oldest key frame with all that is made from it; by its age once the next
        one is old enough to begin with.
        """
        if not (piece.is_key or self._keys_at):
            return 0
        self.pieces.append(piece)
        self.num_bytes += len(piece.data)
        if piece.is_key:
            self._keys_at.append(piece.at)
        oldest = piece.at - timedelta(seconds=kept_s)
        while len(self._keys_at) > 1 and self._keys_at[1] <= oldest:
            self._drop()
        num_before = len(self.pieces)
        while self.num_bytes > max_bytes:
            self._drop()
        return num_before - len(self.pieces)

    def _drop(self) -> None:
        self._keys_at.popleft()
        self.num_bytes -= len(self.pieces.popleft().data)
        while self.pieces and not self.pieces[0].is_key:
            self.num_bytes -= len(self.pieces.popleft().data)


class Clips:
    """What clips are cut from, and the clips that are still to be cut. Safe from any thread.

    At most `max_bytes` are kept of a camera; then the oldest go, and are counted. A clip begins
    with the key frame at or before five seconds before its event, or with the earliest that is
    left, and ends five seconds after it.
    """

    def __init__(
        self,
        key_of: KeyOf,
        *,
        clock: Clock,
        kept_s: float,
        observer: Observer = UNOBSERVED,
        max_bytes: int = MAX_CAMERA_BYTES,
    ) -> None:
        """Begin with nothing.

        Args:
            key_of: the key in Redis of one thing of an event.
            clock: for what comes late.
            kept_s: how much of each camera is kept where there is room.
            observer: told of what is lost.
            max_bytes: of each camera.
        """
        self._key_of = key_of
        self._clock = clock
        self._kept_s = kept_s
        self._observer = observer
        self._max_bytes = max_bytes
        self._changed = Condition()
        self._memories: dict[str, _Memory] = {}
        self._raw: deque[tuple[Frame, NDArray[uint8]]] = deque()
        self._cadences: dict[str, Cadence] = {}  # of pictures
        self._named: dict[str, tuple[str, Clip]] = {}  # by event that is on: its camera, its clip
        self._cuts: deque[_Cut] = deque()

    @property
    def held_bytes(self) -> int:
        """What is kept of all cameras takes so much memory."""
        with self._changed:
            return sum(one.num_bytes for one in self._memories.values())

    # -- the threads of cameras --------------------------------------------------------------------

    def packet(self, camera_id: str, piece: Piece) -> None:
        """Keep a packet of H.264 that has come from a camera with nothing private."""
        with self._changed:
            self._keep(camera_id, piece, is_coded=True)

    # -- the inference thread ----------------------------------------------------------------------

    def shown(self, frame: Frame) -> None:
        """Keep what the model was shown of a camera, where its packets are not kept."""
        cadence = self._cadences.setdefault(frame.camera_id, Cadence(PICTURE_EVERY_S))
        if not cadence.due(frame.captured_at.timestamp()):
            return
        with self._changed:
            memory = self._memories.get(frame.camera_id)
            newest = memory.newest_at if memory else None
            old = frame.captured_at - timedelta(seconds=KEY_WITHIN_S)
            is_old = newest is not None and newest < old
            if memory is not None and memory.is_coded and not is_old:
                return  # else it has come back with another codec
            if len(self._raw) == _MAX_RAW:
                gone, _ = self._raw.popleft()
                self._observer.count(CLIP_DROPPED, camera=gone.camera_id, reason="busy")
            self._raw.append((frame, frame.pixels))
            self._changed.notify()

    def of(self, camera_id: str, transition: Transition) -> Clip | None:
        """Return the clip that an event's message names: of a start, one that is cut from now on.

        None where there is nothing to cut it from, in an update, and at the end of an event that
        began in another process.
        """
        if transition.phase == "end":
            return self._named.pop(transition.event_id, ("", None))[1]
        if transition.phase == "update":
            return None
        at = transition.spoke_at or transition.started_at
        with self._changed:
            pieces = self._around(camera_id, at)
            raw = (one.captured_at for one, _ in self._raw if one.camera_id == camera_id)
            start = pieces[0].at if pieces else next(raw, None)
            if start is None:
                return None
            if len(self._cuts) == _MAX_CUTS:
                self._observer.count(EVIDENCE_LOST, reason="busy")
                return None
            end = at + timedelta(seconds=AROUND_S)
            clip = Clip(self._key_of(camera_id, transition.event_id, "clip"), CODEC, start, end)
            wait_s = max(0.0, (end - self._clock.now()).total_seconds()) + _LATE_S
            late_s = self._clock.monotonic_s() + min(wait_s, AROUND_S + _LATE_S)
            self._cuts.append(_Cut(clip, camera_id, at, late_s))
            self._changed.notify()
        self._named[transition.event_id] = (camera_id, clip)
        return clip

    def forget(self, camera_id: str) -> None:
        """Let go of a camera; what is to be cut of it is cut from nothing, and lost."""
        with self._changed:
            self._memories.pop(camera_id, None)
            self._raw = deque(one for one in self._raw if one[0].camera_id != camera_id)
        self._cadences.pop(camera_id, None)
        self._named = {key: one for key, one in self._named.items() if one[0] != camera_id}

    # -- the thread that cuts ----------------------------------------------------------------------

    def next(self, timeout_s: float) -> tuple[Clip, bytes] | None:
        """Encode what waits; return a clip whose time has come, and its MP4; wait so long for one.

        A clip of which nothing is left, or that cannot be made, is counted as lost.
        """
        with self._changed:
            self._changed.wait_for(lambda: bool(self._raw) or self._due() is not None, timeout_s)
            raw, self._raw = self._raw, deque()
        for frame, pixels in raw:
            jpeg = jpeg_of(pixels)
            with self._changed:
                piece = Piece(
                    frame.captured_at, frame.captured_at.timestamp(), is_key=True, data=jpeg
                )
                self._keep(frame.camera_id, piece, is_coded=False)
        with self._changed:
            cut = self._due()
            if cut is None:
                return None
            self._cuts.remove(cut)
            pieces = self._around(cut.camera_id, cut.at)
            is_coded = bool(pieces) and self._memories[cut.camera_id].is_coded
        if not pieces:
            self._observer.count(EVIDENCE_LOST, reason="no_video")
            return None
        try:
            return cut.clip, (mp4_of_packets if is_coded else mp4_of_pictures)(pieces)
        except ValueError:  # parameter sets are missing, or no packets at all
            self._observer.count(EVIDENCE_LOST, reason="no_video")
            return None

    # -- under the lock ----------------------------------------------------------------------------

    def _due(self) -> _Cut | None:
        return next((one for one in self._cuts if self._is_due(one)), None)

    def _is_due(self, cut: _Cut) -> bool:
        memory = self._memories.get(cut.camera_id)
        newest = memory.newest_at if memory else None
        has_all = newest is not None and newest >= cut.clip.end
        return has_all or self._clock.monotonic_s() >= cut.late_s

    def _keep(self, camera_id: str, piece: Piece, *, is_coded: bool) -> None:
        memory = self._memories.get(camera_id)
        if memory is None or memory.is_coded != is_coded:
            memory = self._memories[camera_id] = _Memory(is_coded)
        num_dropped = memory.add(piece, kept_s=self._kept_s, max_bytes=self._max_bytes)
        if num_dropped:
            self._observer.count(CLIP_DROPPED, num_dropped, camera=camera_id, reason="memory")

    def _around(self, camera_id: str, at: datetime) -> Sequence[Piece]:
        """Return the pieces of a clip, of one stream: the first is a key frame; or nothing."""
        memory = self._memories.get(camera_id)
        pieces = list(memory.pieces) if memory else []
        before = next((one for one in reversed(pieces) if one.at <= at), None)
        head = (before or pieces[0]).head if pieces else b""
        same = [one for one in pieces if one.head == head]
        keys = [number for number, one in enumerate(same) if one.is_key]
        begin, end = at - timedelta(seconds=AROUND_S), at + timedelta(seconds=AROUND_S)
        early = [number for number in keys if same[number].at <= begin]
        first = early[-1] if early else next(iter(keys), len(same))
        return list(takewhile(lambda one: one.at <= end, same[first:]))
