"""Which records of a topic are taken: by their camera, by their time, and by the sampler."""

from contextlib import suppress
from datetime import datetime
from threading import Lock
from typing import Any, Literal

from pipeline.clock import Clock
from pipeline.sources.fair_queue import Taken
from pipeline.sources.last_pictures import LastPictures
from pipeline.sources.record import (
    RecordError,
    camera_of,
    camera_state,
    captured_at,
    is_unchanged,
)
from pipeline.types import Wanted

MAX_AHEAD_S = 60.0  # clocks differ; a record from later than this is passed over
SET_BACK_S = 10.0  # late records that follow each other for so long: a clock was set back

_IMAGE = (b"\xff\xd8", b"\x89PNG", b"RIFF")  # how those begin that may set a camera's time

PassedOver = Literal[
    "late", "future", "too_old", "no_picture", "replaced", "heavy", "jumped", "deadly"
]
"""Why a record becomes no frame, though it is no dead letter; the last five are found elsewhere."""

Verdict = Taken | PassedOver | RecordError | None
"""What becomes of a record: it is decoded, passed over, or dead-lettered; None: nobody wants it."""


class Door:
    """Which cameras may come by a topic; each id has one door."""

    def __init__(
        self,
        *,
        camera_ids: frozenset[str],
        elsewhere: frozenset[str],
        only_configured: bool,
        max_strangers: int,
    ) -> None:
        """Begin with the cameras that have settings.

        Args:
            camera_ids: of them those that are expected here; always let in.
            elsewhere: of them those with an address of their own; never let in.
            only_configured: whether no other is let in.
            max_strangers: how many others are.
        """
        self._camera_ids = camera_ids
        self._elsewhere = elsewhere
        self._max_strangers = 0 if only_configured else max_strangers
        self._only_configured = only_configured
        self._lock = Lock()
        self._strangers: dict[str, bool] = {}  # whether a picture of it was ever read

    def admit(self, camera_id: str) -> None:
        """Let a camera's record in.

        Raises:
            RecordError: the camera has another door, or there is no room for it.
        """
        if camera_id in self._elsewhere:
            raise RecordError(
                "not_by_kafka",
                f"expected no key of a camera that has an address, got {camera_id!r}",
            )
        with self._lock:
            if camera_id in self._camera_ids or camera_id in self._strangers:
                return
            if self._only_configured:
                raise RecordError(
                    "unknown_camera", f"expected the key of a configured camera, got {camera_id!r}"
                )
            if len(self._strangers) >= self._max_strangers:
                raise RecordError(
                    "too_many_cameras",
                    f"expected at most {self._max_strangers} cameras without settings, "
                    f"got {camera_id!r} too",
                )
            self._strangers[camera_id] = False

    def was_read(self, camera_id: str) -> None:
        """Note that a picture of the camera was: it keeps its place."""
        with self._lock:
            if camera_id in self._strangers:
                self._strangers[camera_id] = True

    def was_junk(self, camera_id: str) -> None:
        """Give the place of a stranger, of whom no picture was ever read, to another."""
        with self._lock:
            if self._strangers.get(camera_id) is False:
                del self._strangers[camera_id]


class Judge:
    """Judges records in the order of their partitions. For one thread."""

    def __init__(
        self,
        door: Door,
        *,
        wanted: Wanted,
        clock: Clock,
        max_lag_s: float | None,
        max_record_bytes: int,
    ) -> None:
        """Begin without having taken anything.

        Args:
            door: which cameras are let in.
            wanted: the sampler; asked last.
            clock: what capture times are judged by.
            max_lag_s: records captured longer ago are passed over; None for never.
            max_record_bytes: longest value that is decoded.
        """
        self._door = door
        self._wanted = wanted
        self._clock = clock
        self._max_lag_s = max_lag_s
        self._max_record_bytes = max_record_bytes
        self._last_pictures = LastPictures()
        self._newest: dict[str, datetime] = {}  # capture time of what was taken, by camera
        self._late_since: dict[str, datetime] = {}  # that of the first of late ones in a row

    def judge(self, record: Any) -> Verdict:
        """Return what becomes of a record.

        One from up to MAX_AHEAD_S ahead counts as captured now, so that none of a camera's later
        ones is older.
        """
        try:
            return self._taken(record)
        except RecordError as exc:
            return exc

    def forget(self, camera_id: str) -> None:
        """Forget a camera's time, as when another member of the group has it."""
        self._newest.pop(camera_id, None)
        self._late_since.pop(camera_id, None)

    def lacks_picture(self, record: Any) -> bool:
        """Say whether a record shows a picture again that was not seen."""
        with suppress(RecordError):
            camera_id = camera_of(record.key)
            is_shown_again = is_unchanged(record.headers, record.value or b"")
            return is_shown_again and self._last_pictures.of(camera_id) is None
        return False

    def saw(self, record: Any) -> None:
        """Note the picture of a record that is not to be judged again."""
        with suppress(RecordError):
            self._picture(camera_of(record.key), record, record.value or b"")

    def missed(self, partition: int) -> None:
        """Note that records of a partition will not be seen: pictures among them, perhaps."""
        self._last_pictures.forget(partition)

    def _taken(self, record: Any) -> Taken | PassedOver | None:
        camera_id = camera_of(record.key)
        self._door.admit(camera_id)
        value = record.value or b""
        picture = self._picture(camera_id, record, value)
        state = camera_state(record.headers)
        captured = captured_at(record.headers, timestamp_ms=record.timestamp)
        now = self._clock.now()
        age_s = (now - captured).total_seconds()
        if age_s < -MAX_AHEAD_S:
            return "future"
        if self._max_lag_s is not None and age_s > self._max_lag_s:
            return "too_old"
        captured = min(captured, now)
        if self._is_late(camera_id, captured):
            return "late"
        if picture is None or (picture is not record and state == "damaged"):
            return Taken(record, camera_id, captured, None, state)
        if not self._wanted(camera_id, captured.timestamp()):
            return None
        num_bytes = len(value)
        if num_bytes > self._max_record_bytes:
            raise RecordError(
                "too_large", f"expected at most {self._max_record_bytes} bytes, got {num_bytes}"
            )
        if picture is not record or value.startswith(_IMAGE):
            self._newest[camera_id] = captured
        return Taken(record, camera_id, captured, picture, state)

    def _picture(self, camera_id: str, record: Any, value: bytes) -> Any | None:
        """Return the record whose picture a record shows; None where that is not known."""
        if is_unchanged(record.headers, value):
            return self._last_pictures.of(camera_id)
        self._last_pictures.keep(camera_id, record)
        return record

    def _is_late(self, camera_id: str, captured: datetime) -> bool:
        """Say whether it is older than what was taken, but not for ever: that may be what lies."""
        newest = self._newest.get(camera_id)
        if newest is None or captured >= newest:
            self._late_since.pop(camera_id, None)
            return False
        since = self._late_since.setdefault(camera_id, captured)
        return (captured - since).total_seconds() < SET_BACK_S
