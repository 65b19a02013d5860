"""Evidence: of each event, the frames that the model saw, masked as it saw them.

The inference thread alone calls this. It keeps references to frames, and encodes none before an
event's message is made: four pictures at its start and end, one in between.
"""

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.clips import Clips
from pipeline.events import Transition
from pipeline.jpeg import halved, jpeg_of, strip_of
from pipeline.metrics import EVIDENCE_LOST
from pipeline.observer import UNOBSERVED, Observer
from pipeline.pictures import Clip, Picture, Role
from pipeline.types import PrunedSample

STRIP = 6  # pictures in a strip
_MOST_IN_ROW = 2 * STRIP  # of an event that is on, kept at half size
_MOST_SPOKE = 16  # frames of which the oldest begins a possible event: these are the oldest
_FEWEST_RECENT = 2  # a frame and the one before it, whatever memory they take
MAX_HELD_BYTES = 256 << 20
MAX_PICTURED = 32  # events in a tick; each takes 5 ms, and the tick is a quarter of a second

KeyOf = Callable[[str, str, Role], str]
"""(camera_id, event_id, role) -> the key in Redis."""


@dataclass(slots=True, eq=False)
class _Shot:
    """A frame that the model was shown.

    Attributes:
        number: grows from frame to frame, whatever clocks do.
        captured_at: when it was captured.
        pixels: as the model saw them.
    """

    number: int
    captured_at: datetime
    pixels: NDArray[np.uint8]
    _jpeg: bytes = b""
    _half: NDArray[np.uint8] | None = None

    def jpeg(self) -> bytes:
        """Return it as JPEG, encoded once."""
        self._jpeg = self._jpeg or jpeg_of(self.pixels)
        return self._jpeg

    def half(self) -> NDArray[np.uint8]:
        """Return it at half its size, scaled once."""
        if self._half is None:
            self._half = halved(self.pixels)
        return self._half


@dataclass(slots=True)
class _Row:
    """Pictures at half size, spread evenly over an event, however long it lasts."""

    shots: list[tuple[int, NDArray[np.uint8]]] = field(default_factory=list)
    _every: int = 1
    _num_seen: int = 0

    def add(self, shot: _Shot) -> None:
        """Take the next frame, or pass it over."""
        self._num_seen += 1
        if self._num_seen % self._every == 0:
            self.shots.append((shot.number, shot.half()))
        if len(self.shots) > _MOST_IN_ROW:
            self.shots = self.shots[::2]
            self._every *= 2


@dataclass(slots=True)
class _Event:
    """An event that is on: its first pictures, and a row of what came since."""

    pictures: tuple[Picture, ...]
    row: _Row


@dataclass(slots=True)
class _Camera:
    """What is held of a camera.

    Attributes:
        recent: the last frames, oldest first.
        spoke: by question, the frames that spoke for a possible event, each behind the one that was
            shown before it, if that is known.
        events: by question, those that are on.
        lost: frames that spoke and could not be held, so that each is counted once.
    """

    recent: deque[_Shot] = field(default_factory=deque)
    spoke: dict[str, list[tuple[_Shot, ...]]] = field(default_factory=dict)
    events: dict[str, _Event] = field(default_factory=dict)
    lost: dict[str, set[datetime]] = field(default_factory=dict)

    def num_bytes(self) -> int:
        held = {id(one): one.pixels.nbytes for one in self.recent}
        for moments in self.spoke.values():
            held |= {id(one): one.pixels.nbytes for moment in moments for one in moment}
        return sum(held.values())


class Evidence:
    """The frames of possible events and of those that are on.

    Held of a camera are its last six frames, and those that spoke for an event until it is decided;
    of an event that is on, its two first pictures as JPEG and a row of twelve at half size. Frames
    take at most `max_held_bytes`: then fewer than six of each camera are held, and a frame that
    speaks for an event is not; that is counted.

    Attributes:
        held_bytes: what the frames take that are held.
    """

    def __init__(
        self,
        key_of: KeyOf,
        *,
        observer: Observer = UNOBSERVED,
        max_held_bytes: int = MAX_HELD_BYTES,
        clips: Clips | None = None,
    ) -> None:
        """Begin with nothing held; `observer` is told of what could not be.

        Args:
            key_of: the key in Redis of a picture.
            observer: see above.
            max_held_bytes: of all cameras.
            clips: told of every frame too; None: events have no clips.
        """
        self._key_of = key_of
        self._clips = clips
        self._observer = observer
        self._max_held_bytes = max_held_bytes
        self._cameras: dict[str, _Camera] = {}
        self._bytes: dict[str, int] = {}  # by camera
        self.held_bytes = 0
        self._num_shown = 0

    def shown(self, sample: PrunedSample) -> None:
        """Note what the model was shown of a camera, just now."""
        frame = sample.frame
        if self._clips is not None:
            self._clips.shown(frame)
        camera = self._cameras.setdefault(frame.camera_id, _Camera())
        self._num_shown += 1
        shot = _Shot(self._num_shown, frame.captured_at, frame.pixels)
        camera.recent.append(shot)
        for event in camera.events.values():
            event.row.add(shot)
        while len(camera.recent) > STRIP:
            camera.recent.popleft()
        self._weigh(frame.camera_id)
        while self.held_bytes > self._max_held_bytes and len(camera.recent) > _FEWEST_RECENT:
            camera.recent.popleft()
            self._weigh(frame.camera_id)

    def hold(self, camera_id: str, spoke_at: Mapping[str, Collection[datetime]]) -> None:
        """Hold the frames of a camera that speak for possible events, and no others.

        Args:
            camera_id: whose.
            spoke_at: by question, when they were captured, oldest first.
        """
        camera = self._cameras.get(camera_id)
        if camera is None:
            return
        for question_id in {*camera.spoke, *camera.lost, *spoke_at}:
            self._hold(camera, question_id, spoke_at.get(question_id, ()))
            self._weigh(camera_id)

    def _hold(self, camera: _Camera, question_id: str, spoke_at: Collection[datetime]) -> None:
        before = camera.spoke.pop(question_id, [])
        held = {moment[-1].captured_at: moment for moment in before}
        known = camera.lost.pop(question_id, set())
        lost = {at for at in spoke_at if at in known}
        moments: list[tuple[_Shot, ...]] = []
        for at in spoke_at:
            moment = held.get(at)
            if moment is None and at not in lost and (moment := _moment(camera, at)) is not None:
                size_bytes = sum(one.pixels.nbytes for one in moment)
                is_room = self.held_bytes + size_bytes <= self._max_held_bytes
                if not is_room or len(moments) >= _MOST_SPOKE:
                    moment = None
                    lost.add(at)
                    self._observer.count(EVIDENCE_LOST, reason="memory")
            if moment is not None:
                moments.append(moment)
        if moments:
            camera.spoke[question_id] = moments
        if lost:
            camera.lost[question_id] = lost

    def pictures(
        self, camera_id: str, question_id: str, transition: Transition, *, is_busy: bool = False
    ) -> tuple[Picture, ...]:
        """Return the pictures that an event's message names: as far as their frames are held.

        Args:
            camera_id: whose.
            question_id: what the event is about.
            transition: what is announced of it. An end lets go of its event's frames.
            is_busy: this tick has made many already: none are made, and that is counted.
        """
        camera = self._cameras.get(camera_id)
        if camera is None:
            return ()
        if is_busy:
            self._observer.count(EVIDENCE_LOST, reason="busy")
            if transition.phase == "end":
                camera.events.pop(question_id, None)
            return ()

        def picture(role: Role, shot: _Shot) -> Picture:
            key = self._key_of(camera_id, transition.event_id, role)
            return Picture(role, key, shot.captured_at, shot.jpeg())

        newest = camera.recent[-1]
        latest = picture("latest", newest)
        if transition.phase == "update":
            return (latest,)
        if transition.phase == "start":
            moments = camera.spoke.get(question_id, ())
            spoke = [one for one in moments if one[-1].captured_at == transition.spoke_at]
            moment = spoke[0] if spoke else _moment(camera, transition.spoke_at)
            roles: tuple[Role, ...] = ("before", "at")
            named = zip(roles[2 - len(moment) :], moment, strict=True) if moment else ()
            first = tuple(picture(role, shot) for role, shot in named)
            event = _Event(first, _first_row(camera, moments, moment))
            camera.events[question_id] = event
        elif question_id in camera.events:
            event = camera.events.pop(question_id)
        else:  # it began in another process
            event = _Event((), _first_row(camera, (), None))
        row = [half for number, half in event.row.shots if number != newest.number]
        key = self._key_of(camera_id, transition.event_id, "strip")
        strip = strip_of(_spread([*row, newest.half()]))
        return (*event.pictures, latest, Picture("strip", key, newest.captured_at, strip))

    def clip(self, camera_id: str, transition: Transition) -> Clip | None:
        """Return the clip that an event's message names, if any."""
        return self._clips.of(camera_id, transition) if self._clips is not None else None

    def forget(self, camera_id: str) -> None:
        """Let go of all that is held of a camera."""
        if self._clips is not None:
            self._clips.forget(camera_id)
        self._cameras.pop(camera_id, None)
        self.held_bytes -= self._bytes.pop(camera_id, 0)

    def _weigh(self, camera_id: str) -> None:
        num_bytes = self._cameras[camera_id].num_bytes()
        self.held_bytes += num_bytes - self._bytes.get(camera_id, 0)
        self._bytes[camera_id] = num_bytes


def _moment(camera: _Camera, at: datetime | None) -> tuple[_Shot, ...] | None:
    """Return the newest frame of a capture time behind the one before it; None where it is gone."""
    if camera.recent and camera.recent[0].captured_at == at:
        found: tuple[_Shot, ...] | None = (camera.recent[0],)
    else:
        found = None
    return next(
        (pair for pair in reversed([*pairwise(camera.recent)]) if pair[1].captured_at == at), found
    )


def _first_row(
    camera: _Camera, moments: Collection[tuple[_Shot, ...]], moment: tuple[_Shot, ...] | None
) -> _Row:
    """Return a row from the frame before the event on; longer ago where that is too short."""
    held = {one.number: one for one in camera.recent}
    held |= {one.number: one for other in moments for one in other}
    numbers = sorted(held)
    begin = moment[0].number if moment else numbers[-1]
    since = [number for number in numbers if number >= begin]
    row = _Row()
    for number in since if len(since) >= STRIP else numbers[-STRIP:]:
        row.add(held[number])
    return row


def _spread(row: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Return at most six of a row, evenly spread, the first and the last among them."""
    if len(row) <= STRIP:
        return row
    last = len(row) - 1
    return [row[round(place * last / (STRIP - 1))] for place in range(STRIP)]
