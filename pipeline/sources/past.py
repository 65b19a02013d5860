"""What a topic held of a camera before this worker read it: once more, beside the live frames.

Threads of their own read one camera after another, without a group: nothing is committed, and no
member of the group is disturbed. Between them and whoever takes the frames lie a few of them; while
these are not taken, a thread waits.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from threading import Condition, Thread
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from model.types import PatchGrid
from pipeline.cadence import Cadence
from pipeline.clock import Clock
from pipeline.errors import FrameError, SourceError
from pipeline.sources.base import PastFrames, Seen
from pipeline.sources.broker import DRIVER_ERRORS, Opened, ms
from pipeline.sources.fair_queue import Taken
from pipeline.sources.judge import Door, Judge
from pipeline.sources.kafka import KafkaConfig, connector_of, pictures_of
from pipeline.sources.offsets import place_of
from pipeline.sources.topic_pictures import TopicPictures
from pipeline.types import Frame, Receipt, RecordPlace

MAX_WAITING = 8  # frames between the two threads; when they are full, reading waits
IDLE_S = 30.0  # a connection that nobody needs is closed
POLL_S = 0.2
SILENCE_S = 10.0  # a broker that gives nothing for so long is given up
MAX_POLLED_RECORDS = 32


class _Frames:
    """The frames of one camera on their way; `Overflow.WAIT` in small."""

    def __init__(
        self,
        camera_id: str,
        live: Sequence[Seen],
        *,
        since_s: float,
        begin: Callable[[], None],
    ) -> None:
        self.camera_id = camera_id
        self.live = live
        self.since_s = since_s
        self._begin = begin
        self._is_begun = False
        self._changed = Condition()
        self._waiting: deque[Frame] = deque()
        self._failure: SourceError | None = None
        self._is_read = False  # or no longer wanted

    @property
    def last(self) -> RecordPlace:
        """Where the newest record stands that the model saw."""
        return self.place_of(self.live[-1])

    @staticmethod
    def place_of(seen: Seen) -> RecordPlace:
        """Return where a record stands that the model saw.

        Raises:
            TypeError: it is none of a topic.
        """
        if not isinstance(seen.receipt, RecordPlace):
            raise TypeError(f"expected a record's place as receipt, got {seen.receipt!r}")
        return seen.receipt

    @property
    def is_over(self) -> bool:
        with self._changed:
            return self._is_read and self._failure is None and not self._waiting

    @property
    def is_closed(self) -> bool:
        """Whether nothing more need be read."""
        with self._changed:
            return self._is_read

    def take(self) -> Frame | None:
        if not self._is_begun:
            self._is_begun = True
            self._begin()
        with self._changed:
            if self._waiting:
                frame = self._waiting.popleft()
                self._changed.notify_all()
                return frame
            if self._failure is not None:
                raise self._failure
            return None

    def close(self) -> None:
        self.end()
        with self._changed:
            self._waiting.clear()

    def put(self, frame: Frame) -> None:
        """Hand a frame over once there is room; throw it away where it is no longer wanted."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_read or len(self._waiting) < MAX_WAITING)
            if not self._is_read:
                self._waiting.append(frame)

    def end(self, failure: SourceError | None = None) -> None:
        """Note that nothing more comes, and why; the first word counts."""
        with self._changed:
            if not self._is_read:
                self._is_read, self._failure = True, failure
            self._changed.notify_all()


class PastReader:
    """Reads a topic's cameras once more."""

    def __init__(
        self,
        config: KafkaConfig,
        *,
        grid_of: Callable[[int, int], PatchGrid],
        masked: Callable[[Frame], Frame],
        sample_period_s: float,
        clock: Clock,
        together: int = 1,
    ) -> None:
        """Make a reader; it connects when something is to be read.

        Args:
            config: where the topic is and what its pictures are.
            grid_of: (height_px, width_px) of a picture to its grid.
            masked: blacks out what is private.
            sample_period_s: stream time between two frames of a camera.
            clock: for capture times, and for the patience with brokers.
            together: cameras that are read at a time, each by a thread and a connection.
        """
        self._config = config
        self._grid_of = grid_of
        self._masked = masked
        self._sample_period_s = sample_period_s
        self._clock = clock
        self._connector = connector_of(config)
        self._changed = Condition()  # over what follows
        self._asked: deque[_Frames] = deque()
        self._together = together
        self._is_begun = False  # whether what is asked for is to be read now
        self._num_threads = 0
        self._num_idle = 0
        self._is_closed = False

    def group(self, receipt: Receipt | None) -> int | None:
        if not isinstance(receipt, RecordPlace) or receipt.topic != self._config.topic:
            return None
        return receipt.partition

    def open(self, camera_id: str, live: Sequence[Seen], *, since_s: float) -> PastFrames:
        frames = _Frames(camera_id, live, since_s=since_s, begin=self._begin_reading)
        with self._changed:
            self._asked.append(frames)
        return frames

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            for frames in self._asked:
                frames.close()
            self._changed.notify_all()
        self._connector.abort()

    def _begin_reading(self) -> None:
        """See to it that a thread reads what has been opened by now."""
        with self._changed:
            self._is_begun = True
            self._changed.notify_all()
            is_short = len(self._asked) > self._num_idle and self._num_threads < self._together
            if is_short and not self._is_closed:
                self._num_threads += 1
                Thread(target=self._run, name="kafka-past", daemon=True).start()

    def _run(self) -> None:
        """Read what is asked for; end when that has been nothing for long."""
        opened: Opened | None = None
        try:
            while group := self._next():
                opened = self._read_or_fail(opened, group)
        finally:
            self._hang_up(opened)

    def _next(self) -> list[_Frames]:
        """Wait for the next cameras to read, all of one partition; none to end."""
        with self._changed:
            self._num_idle += 1
            self._changed.wait_for(
                lambda: (self._asked and self._is_begun) or self._is_closed, IDLE_S
            )
            self._num_idle -= 1
            asked = [one for one in self._asked if not one.is_closed]
            if not (asked and self._is_begun) or self._is_closed:
                self._num_threads -= 1  # the next one to ask starts another
                return []
            first = asked[0].last.partition  # of each camera there what was asked for first
            group = {one.camera_id: one for one in reversed(asked) if one.last.partition == first}
            self._asked = deque(one for one in asked if group.get(one.camera_id) is not one)
            self._is_begun = bool(self._asked)
            return list(group.values())

    def _read_or_fail(self, opened: Opened | None, group: Sequence[_Frames]) -> Opened | None:
        """Read cameras' frames; return the connection if it is still good."""
        failure: SourceError | None = SourceError("ended", "the thread of older records ended")
        try:
            opened = opened or self._open()
            self._read(opened.driver, group)
            failure = None
        except SourceError as error:
            failure = error
        except DRIVER_ERRORS as error:
            failure = self._connector.source_error(error, what="reading older records")
        finally:
            for frames in group:
                frames.end(failure)
        if failure is None:
            return opened
        self._hang_up(opened)
        return None

    def _open(self) -> Opened:
        return self._connector.open(
            KafkaConsumer,
            what="connecting",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # where the topic has dropped what was looked for
            allow_auto_create_topics=False,
            max_poll_records=MAX_POLLED_RECORDS,
            max_partition_fetch_bytes=self._config.max_record_bytes,
            fetch_max_bytes=self._config.max_record_bytes,
            check_crcs=False,  # as in `pipeline.sources.kafka`
        )

    def _hang_up(self, opened: Opened | None) -> None:
        if opened is not None:
            with suppress(*DRIVER_ERRORS):
                opened.driver.close(autocommit=False, timeout_ms=0)

    def _read(self, consumer: Any, group: Sequence[_Frames]) -> None:
        """Read from before what is wanted, for the sake of pictures shown again, to the last."""
        ways = {frames.camera_id.encode(): self._way(frames) for frames in group}
        end = max(frames.last.offset for frames in group)
        partition = TopicPartition(self._config.topic, group[0].last.partition)
        since_s = min(way.begin_s for way in ways.values()) - self._config.whole_every_s
        wanted = {partition: max(0, ms(since_s))}
        found = consumer.offsets_for_times(wanted, timeout_ms=ms(SILENCE_S)).get(partition)
        if found is None:
            return
        consumer.assign([partition])
        consumer.seek(partition, found.offset)
        for record in self._records(consumer, group):
            way = ways.get(record.key)
            if way is not None:
                way.take(record)
            if record.offset >= end:
                return

    def _way(self, frames: _Frames) -> "_Way":
        return _Way(
            frames,
            pictures=pictures_of(self._config, grid_of=self._grid_of),
            masked=self._masked,
            cadence=Cadence(self._sample_period_s),
            max_record_bytes=self._config.max_record_bytes,
            clock=self._clock,
        )

    def _records(self, consumer: Any, group: Sequence[_Frames]) -> Iterator[Any]:
        """Yield a partition's records from where the consumer stands, while they are wanted.

        Raises:
            TimeoutError: none has come for long.
        """
        heard_s = self._clock.monotonic_s()
        while not (self._is_closed or all(frames.is_closed for frames in group)):
            polled = consumer.poll(timeout_ms=ms(POLL_S), max_records=MAX_POLLED_RECORDS)
            for records in polled.values():
                yield from records
            now_s = self._clock.monotonic_s()
            if polled:
                heard_s = now_s
            elif now_s - heard_s > SILENCE_S:
                raise TimeoutError(f"no record has come for {SILENCE_S:g} s")


class _Way:
    """The way of one camera's records, once more: those the model saw, and a row before them.

    Attributes:
        begin_s: where it begins, by the records' own time, in seconds since 1970.
    """

    def __init__(
        self,
        frames: _Frames,
        *,
        pictures: TopicPictures,
        masked: Callable[[Frame], Frame],
        cadence: Cadence,
        max_record_bytes: int,
        clock: Clock,
    ) -> None:
        self._frames = frames
        self._pictures = pictures
        self._masked = masked
        self._cadence = cadence
        # where the topic's partitions have become more, a key may have come by two
        self._seen: Mapping[RecordPlace, float] = {
            place: one.pts_s
            for one in frames.live
            if (place := frames.place_of(one)).partition == frames.last.partition
        }
        first = min(self._seen, key=lambda place: place.offset)
        self._first = self._place = first
        # the broker searches by the records' own times, which differ from those of capture
        self.begin_s = frames.since_s + first.made_ms / 1000 - self._seen[first]
        door = Door(
            camera_ids=frozenset({frames.camera_id}),
            elsewhere=frozenset(),
            only_configured=True,
            max_strangers=0,
        )
        self._judge = Judge(
            door,
            wanted=self._wanted,
            clock=clock,
            max_lag_s=None,
            max_record_bytes=max_record_bytes,
        )

    def take(self, record: Any) -> None:
        """Hand over the frame of a record, if it is wanted; the last one ends the way."""
        self._place = place_of(record)
        verdict = self._judge.judge(record)
        if isinstance(verdict, Taken) and verdict.picture is not None:
            with suppress(FrameError):  # it was a dead letter when it came
                frame = self._pictures.frame(verdict)
                # the model saw it at the time that it had then
                pts_s = self._seen.get(self._place, frame.pts_s)
                self._frames.put(self._masked(replace(frame, pts_s=pts_s)))
        if record.offset >= self._frames.last.offset:
            self._frames.end()

    def _wanted(self, _camera_id: str, pts_s: float) -> bool:
        since_s = self._frames.since_s
        if self._place.offset >= self._first.offset:
            return self._seen.get(self._place, since_s) > since_s
        return since_s < pts_s < self._seen[self._first] and self._cadence.due(pts_s)
