"""The thread that polls a topic: it judges records, commits what is settled, hears who is silent.

It polls all the time, so that its group never waits for a slow picture. A partition whose next
record finds no room is paused; the others go on.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any

import structlog
from kafka import OffsetAndMetadata, TopicPartition

from pipeline.clock import Clock
from pipeline.errors import SourceError
from pipeline.observer import (
    KAFKA_COMMITS,
    KAFKA_LAG,
    KAFKA_PASSED_OVER,
    KAFKA_RECORDS,
    Observer,
)
from pipeline.sources.attempts import IN_GOOD_ORDER, MAX_DEATHS, Attempts
from pipeline.sources.beginning import Beginning
from pipeline.sources.broker import DRIVER_ERRORS, Opened, Rebalance, ms, poll
from pipeline.sources.dead_letters import DeadLetters, Letter
from pipeline.sources.fair_queue import FairQueue, Taken
from pipeline.sources.judge import Verdict
from pipeline.sources.look_back import LookBack
from pipeline.sources.offsets import OffsetLedger, RecordPlace, place_of
from pipeline.sources.record import RecordError
from pipeline.sources.silence import Silence

MAX_POLLED_RECORDS = 32
POLL_S = 0.2  # how long a poll waits for records, and so how soon `close` is noticed
RETRY_S = 0.01  # the same while a record waits for room
LEAVE_TIMEOUT_S = 3.0  # for the last commit, and again for leaving the group
GIVEN_UP_AT = MAX_DEATHS + 2  # a record that cannot even be fetched, or copied, is skipped unseen

log = structlog.get_logger("vigil")


@dataclass(slots=True)
class _Partition:
    """What is known of a partition while it is assigned to this member.

    Attributes:
        attempts: what its commits say of deaths; None until it is known where to begin.
        polled: records that wait for room, each with what becomes of it.
        committed: offset and text of the last commit that was confirmed.
        made_s: when the last record was made, in seconds since 1970.
    """

    attempts: Attempts | None = None
    polled: deque[tuple[Any, Verdict]] = field(default_factory=deque)
    committed: tuple[int, str] | None = None
    made_s: float | None = None


class TopicReader:
    """Reads one topic for one member of a group. `run` belongs to a thread of its own."""

    def __init__(
        self,
        topic: str,
        opened: Opened,
        *,
        beginning: Beginning,
        judge: LookBack,
        queue: FairQueue,
        dead_letters: DeadLetters,
        clock: Clock,
        observer: Observer,
    ) -> None:
        """Subscribe.

        Args:
            topic: what is read.
            opened: the KafkaConsumer.
            beginning: where a partition is read from.
            judge: which records are taken.
            queue: where those wait to be decoded.
            dead_letters: where those go that are no frames.
            clock: for silences and commits.
            observer: told what becomes of the records.
        """
        self._topic = topic
        self._consumer, self._client = opened.driver, opened.client
        self._beginning = beginning
        self._judge = judge
        self._queue = queue
        self._dead_letters = dead_letters
        self._clock = clock
        self._observer = observer
        self._silence = Silence(clock)
        self._lock = Lock()  # over all that follows
        self._ledgers: dict[int, OffsetLedger] = {}
        self._partitions: dict[int, _Partition] = {}
        self._trying: RecordPlace | None = None
        listener = Rebalance(assigned=self._assigned, revoked=self._revoked, lost=self._lost)
        self._consumer.subscribe([topic], listener=listener)

    def run(
        self,
        stop: Event,
        *,
        expected: frozenset[str],
        commit_interval_s: float,
        patience_s: float,
    ) -> None:
        """Read until `stop`; leave the group in good order.

        Args:
            stop: set to end.
            expected: cameras of which one may say, where nobody else reads, that they never came.
            commit_interval_s: between two commits.
            patience_s: how long all brokers may be away.

        Raises:
            SourceError: there is no such topic.
            Exception: one of DRIVER_ERRORS.
        """
        try:
            if not self._consumer.partitions_for_topic(self._topic):
                raise SourceError("not_found", f"no topic {self._topic!r} to read")
            committed_s = connected_s = self._clock.monotonic_s()
            while not stop.is_set():
                self._read()
                now_s = self._clock.monotonic_s()
                if now_s - committed_s >= commit_interval_s:
                    self._look_around()
                    self._expect(expected)
                    committed_s = now_s
                if self._client.is_connected:
                    connected_s = now_s
                elif now_s - connected_s > patience_s:
                    raise self._client.failure or TimeoutError("no broker answers")
        finally:
            self._leave()

    def settle(self, place: RecordPlace) -> None:
        """Note that everything depending on a record is safe. Any thread."""
        with self._lock:
            ledger = self._ledgers.get(place.partition)
            if ledger is not None:
                ledger.settled(place.offset)

    def decoded(self, taken: Taken, *, is_good: bool) -> None:
        """Note that a record's picture was decoded, or is none. Any thread."""
        place = place_of(taken.record)
        with self._lock:
            partition = self._partitions.get(place.partition)
            if self._trying == place:
                self._trying = None
            if partition is None:
                return
            if partition.attempts is not None:
                partition.attempts.end(place.offset)
        if is_good:
            self._silence.heard(place.partition, [taken.camera_id])

    def silent(self, after_s: float) -> frozenset[str]:
        """Return the cameras whose last good picture came longer ago. Any thread."""
        silent = self._silence.longer_than(after_s)
        return frozenset(one for one in silent if not self._queue.waits(one))

    # ---------------------------------------------------------------- records

    def _read(self) -> None:
        for one in self._consumer.assignment():
            self._begin_or_hold(one)
        timeout_s = RETRY_S if any(one.polled for one in self._partitions.values()) else POLL_S
        polled = poll(self._consumer, timeout_s=timeout_s, max_records=MAX_POLLED_RECORDS)
        for records in polled.values():
            for record in records:
                if not self._judged(record):
                    break
        for partition in list(self._partitions.values()):
            while partition.polled and self._place(partition, *partition.polled[0]):
                partition.polled.popleft()
        self._observer.count(KAFKA_RECORDS, sum(map(len, polled.values())), topic=self._topic)

    def _judged(self, record: Any) -> bool:
        """Say what becomes of a record; False where the next ones are to come again."""
        partition = self._partitions.get(record.partition)
        if partition is None or partition.attempts is None:
            return True  # it was taken away in the meantime
        if (goes_on := self._judge.glance(record)) is not None:
            return goes_on
        partition.made_s = record.timestamp / 1000
        verdict: Verdict
        if (deaths := partition.attempts.deaths(record.offset)) >= MAX_DEATHS:
            verdict = RecordError(
                "killed_the_worker",
                f"expected a record to be read, but {deaths} processes died at it",
            )
        else:
            verdict = self._judge.judge(record)
        partition.polled.append((record, verdict))
        return True

    def _place(self, partition: _Partition, record: Any, verdict: Verdict) -> bool:
        """Pass the record on; False where there is no room for it yet."""
        if isinstance(verdict, Taken):
            return self._offer(partition, verdict)
        if isinstance(verdict, RecordError) and not self._dead_letters.has_room():
            return False
        with self._lock:
            ledger = self._ledgers[record.partition]
            ledger.delivered(record.offset)
            if partition.attempts is not None:
                partition.attempts.end(record.offset)
            if not isinstance(verdict, RecordError):
                ledger.settled(record.offset)
        if isinstance(verdict, RecordError):
            self._dead_letters.put(self.letter(record, verdict.reason, str(verdict)))
        elif verdict is not None:
            self._observer.count(KAFKA_PASSED_OVER, topic=self._topic, reason=verdict)
        return True

    def letter(self, record: Any, reason: str, detail: str) -> Letter:
        """Return a record's dead letter, which settles it once it is written."""
        place = place_of(record)
        return Letter(record, reason, detail, written=lambda: self.settle(place))

    def _offer(self, partition: _Partition, taken: Taken) -> bool:
        place = place_of(taken.record)
        if not self._queue.has_room(taken):
            return False
        if partition.attempts is not None and partition.attempts.is_cautious:
            if self._trying is not None:
                return False
            with self._lock:
                self._trying = place
                partition.attempts.begin(place.offset)
            self._commit_now(TopicPartition(place.topic, place.partition))
        with self._lock:
            self._ledgers[place.partition].delivered(place.offset)
        gone = self._queue.put(taken)
        if gone is not None:
            older, reason = gone
            self._observer.count(KAFKA_PASSED_OVER, topic=self._topic, reason=reason)
            self.decoded(older, is_good=False)
            self.settle(place_of(older.record))
        return True

    # ---------------------------------------------------------------- partitions

    def _begin_or_hold(self, one: TopicPartition) -> None:
        partition = self._partitions.get(one.partition)
        if partition is None:
            return
        if partition.attempts is None:
            self._begin(one, partition)
        if partition.polled or partition.attempts is None:
            self._consumer.pause(one)
        else:
            self._consumer.resume(one)

    def _begin(self, one: TopicPartition, partition: _Partition) -> None:
        found = self._beginning.of(one)
        if found is None:
            return
        position, metadata = found
        attempts, begin = Attempts(metadata, position=position), position
        if attempts.deaths(position) >= GIVEN_UP_AT:
            log.error("record_skipped", topic=one.topic, partition=one.partition, offset=position)
            self._observer.count(KAFKA_PASSED_OVER, topic=self._topic, reason="deadly")
            attempts.end(position)
            begin += 1
        later = self._beginning.later(one, begin)
        self._observer.count(KAFKA_PASSED_OVER, later - begin, topic=self._topic, reason="jumped")
        if later != position:
            self._consumer.seek(one, later)
        with self._lock:
            self._ledgers.setdefault(one.partition, OffsetLedger()).restart(later)
            partition.attempts = attempts
        self._commit_now(one)

    def _jump(self, one: TopicPartition, partition: _Partition) -> None:
        """Pass over, unread, what has become too old."""
        made_s = None if self._judge.looks_back(one.partition) else partition.made_s
        if made_s is None or not self._beginning.is_too_old(made_s):
            return
        polled = partition.polled
        position = polled[0][0].offset if polled else self._consumer.position(one, timeout_ms=1000)
        if position is None:
            return
        later = self._beginning.later(one, position)
        if later > position + len(polled):
            self._consumer.seek(one, later)
            self._judge.missed(one.partition)
            partition.polled.clear()
            partition.made_s = None
            with self._lock:
                self._ledgers[one.partition].jumped(later)
            self._observer.count(
                KAFKA_PASSED_OVER, later - position, topic=self._topic, reason="jumped"
            )

    def _look_around(self) -> None:
        """Once in a while: commit, jump, and tell how much waits."""
        lag = 0
        for one in self._consumer.assignment():
            partition = self._partitions.get(one.partition)
            if partition is None or partition.attempts is None:
                continue
            with self._lock:
                position = self._ledgers[one.partition].position()
            if partition.polled:
                self._silence.held_back(one.partition)
            with suppress(*DRIVER_ERRORS):  # a rebalance may take it away at this moment
                end = self._consumer.highwater(one)
                lag += max(0, end - position) if end is not None and position is not None else 0
                self._jump(one, partition)
        self._observer.set(KAFKA_LAG, lag, topic=self._topic)
        self._commit(self._consumer.assignment())

    def _expect(self, camera_ids: frozenset[str]) -> None:
        """Wait for cameras by name, where their records can come to no other member."""
        mine = {one.partition for one in self._consumer.assignment()}
        if mine and mine == self._consumer.partitions_for_topic(self._topic):
            unknown = [one for one in camera_ids if not self._silence.knows(one)]
            self._silence.heard(min(mine), unknown)

    # ---------------------------------------------------------------- commits

    def _commit(self, partitions: Iterable[TopicPartition], *, is_last: bool = False) -> None:
        """Send off what moved since the last commit; one that fails is made up for by the next."""
        offsets = self._offsets(partitions, is_last=is_last)
        if offsets:
            self._consumer.commit_async(offsets, callback=self._note_committed)

    def _commit_now(self, one: TopicPartition) -> None:
        """Commit and wait for the broker's word, but not in vain: reading goes on without it."""
        with suppress(*DRIVER_ERRORS):
            offsets = self._offsets([one])
            self._consumer.commit(offsets, timeout_ms=ms(LEAVE_TIMEOUT_S))
            self._note_committed(offsets, None)

    def _offsets(
        self, partitions: Iterable[TopicPartition], *, is_last: bool = False
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        offsets = {}
        with self._lock:
            for one in partitions:
                partition = self._partitions.get(one.partition)
                ledger = self._ledgers.get(one.partition)
                if partition is None or partition.attempts is None or ledger is None:
                    continue
                position = ledger.position()
                metadata = IN_GOOD_ORDER if is_last else partition.attempts.metadata
                if position is not None and partition.committed != (position, metadata):
                    offsets[one] = OffsetAndMetadata(position, metadata, -1)
        return offsets

    def _note_committed(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata], response: object
    ) -> None:
        if not offsets or isinstance(response, Exception):
            return
        self._observer.count(KAFKA_COMMITS, topic=self._topic)
        with self._lock:
            for one, offset in offsets.items():
                partition = self._partitions.get(one.partition)
                if partition is not None:
                    partition.committed = (offset.offset, offset.metadata)

    # ---------------------------------------------------------------- the group

    def _assigned(self, partitions: Iterable[TopicPartition]) -> None:
        with self._lock:
            for one in partitions:
                self._partitions[one.partition] = _Partition()
        self._consumer.pause(*partitions)  # until it is known where to begin

    def _revoked(self, partitions: Iterable[TopicPartition]) -> None:
        # The commit is sent before the next request to join: requests leave in order.
        self._commit(partitions, is_last=True)
        self._lost(partitions)

    def _lost(self, partitions: Iterable[TopicPartition]) -> None:
        with self._lock:
            for one in partitions:
                self._partitions.pop(one.partition, None)
                for camera_id in self._silence.gone(one.partition):
                    self._judge.forget(camera_id)
                self._judge.missed(one.partition)

    def _leave(self) -> None:
        timeout_s = LEAVE_TIMEOUT_S if self._client.is_connected else 0.0
        with suppress(*DRIVER_ERRORS):  # what cannot be committed any more is delivered again
            offsets = self._offsets(self._consumer.assignment(), is_last=True)
            self._consumer.commit(offsets, timeout_ms=ms(timeout_s))
            self._note_committed(offsets, None)
        with suppress(*DRIVER_ERRORS):
            self._consumer.close(autocommit=False, timeout_ms=ms(timeout_s))
