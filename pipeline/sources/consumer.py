"""The thread that polls a topic: it judges records, commits what is settled, hears who is silent.

It polls all the time, so that its group never waits for a slow picture. A partition whose next
record finds no room is paused; the others go on.
"""

from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import suppress
from dataclasses import replace
from threading import Event, Lock
from typing import Any

import structlog
from kafka import OffsetAndMetadata, TopicPartition

from pipeline.clock import Clock
from pipeline.errors import SourceError
from pipeline.metrics import KAFKA_COMMITS, KAFKA_LAG, KAFKA_PASSED_OVER, KAFKA_RECORDS
from pipeline.observer import Observer
from pipeline.sources.attempts import MAX_DEATHS, THIS_PROCESS, Attempts
from pipeline.sources.beginning import Beginning
from pipeline.sources.broker import DRIVER_ERRORS, Opened, Rebalance, ms, poll
from pipeline.sources.dead_letters import DeadLetters, Letter
from pipeline.sources.fair_queue import FairQueue, Taken
from pipeline.sources.judge import Verdict
from pipeline.sources.look_back import LookBack
from pipeline.sources.membership import Membership
from pipeline.sources.offsets import place_of
from pipeline.sources.partition import Partition, are_done, to_commit
from pipeline.sources.record import RecordError
from pipeline.sources.silence import Silence
from pipeline.types import RecordPlace

MAX_POLLED_RECORDS = 32
POLL_S = 0.1  # how long a poll waits for records, and so how soon `close` is noticed
RETRY_S = 0.01  # the same while a record waits for room
FINISH_S = 1.0  # for what is on its way when a partition goes to another member
LEAVE_TIMEOUT_S = 3.0  # for the last commit, and again for leaving the group
GIVEN_UP_AT = MAX_DEATHS + 2  # a record that cannot even be fetched, or copied, is skipped unseen

log = structlog.get_logger("vigil")


class TopicReader:
    """Reads one topic for one member of a group. `run` belongs to a thread of its own."""

    def __init__(  # noqa: PLR0913 - all that a record goes by comes together here
        self,
        topic: str,
        opened: Opened,
        *,
        beginning: Beginning,
        judge: LookBack,
        queue: FairQueue,
        dead_letters: DeadLetters,
        silence: Silence,
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
            silence: who came by which partition, also in connections before.
            clock: for commits.
            observer: told what becomes of the records.
        """
        self._topic = topic
        self._consumer, self._client = opened.driver, opened.client
        self._beginning = beginning
        self._judge = judge
        self._queue, self._dead_letters = queue, dead_letters
        self._clock = clock
        self._observer = observer
        self._membership = Membership(opened.driver, topic, clock=clock)
        self._is_leaving = False
        self._silence = silence
        self._lock = Lock()  # over all that follows
        self._partitions: dict[int, Partition] = {}
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
        moved: Callable[[str], None] = lambda _camera_id: None,
    ) -> None:
        """Read until `stop`; leave the group in good order.

        Args:
            stop: set to end.
            expected: cameras of which one may say, where nobody else reads, that they never came.
            commit_interval_s: between two commits.
            patience_s: how long all brokers may be away.
            moved: told of cameras whose partition is another member's now.

        Raises:
            SourceError: there is no such topic.
            Exception: one of DRIVER_ERRORS.
        """
        self._moved = moved
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
            partition = self._partitions.get(place.partition)
            if partition is not None and place.tenure in (None, partition.tenure):
                partition.ledger.settled(place.offset)

    def decoded(self, taken: Taken, *, is_good: bool) -> None:
        """Note that a record's picture was decoded, or is none. Any thread."""
        place = place_of(taken.record)
        with self._lock:
            if self._trying == place:
                self._trying = None
            if (partition := self._partitions.get(place.partition)) is None:
                return
            partition.ended(place.offset)
        if is_good:
            self._silence.heard(place.partition, [taken.camera_id])

    def silent(self, after_s: float) -> frozenset[str]:
        """Return the cameras whose last good picture came longer ago. Any thread."""
        with self._lock:
            silent = self._silence.longer_than(after_s, here=self._partitions)
        return frozenset(one for one in silent if not self._queue.waits(one))

    # ---------------------------------------------------------------- records

    def _read(self) -> None:
        for one in self._consumer.assignment():
            self._begin_or_hold(one)
        is_urgent = any(one.polled or one.is_named for one in self._partitions.values())
        timeout_s = RETRY_S if is_urgent else POLL_S
        polled = poll(self._consumer, timeout_s=timeout_s, max_records=MAX_POLLED_RECORDS)
        for records in polled.values():
            for record in records:
                if not self._judged(record):
                    break
        for partition in list(self._partitions.values()):
            while partition.polled and self._place(partition, *partition.polled[0]):
                partition.polled.popleft()
        self._acquit()
        self._observer.count(KAFKA_RECORDS, sum(map(len, polled.values())), topic=self._topic)

    def _acquit(self) -> None:
        """Take a record's name back as soon as it was decoded: what kills now is another's deed."""
        done = [number for number, one in self._partitions.items() if one.is_acquitted()]
        self._commit(TopicPartition(self._topic, number) for number in done)

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
            why = f"expected a record to be read, but {deaths} processes died at it"
            verdict = RecordError("killed_the_worker", why)
        else:
            verdict = self._judge.judge(record)
        partition.polled.append((record, verdict))
        return True

    def _place(self, partition: Partition, record: Any, verdict: Verdict) -> bool:
        """Pass the record on; False where there is no room for it yet."""
        if isinstance(verdict, Taken):
            return self._offer(partition, verdict)
        if isinstance(verdict, RecordError) and not self._dead_letters.has_room():
            return False
        with self._lock:
            partition.ledger.delivered(record.offset)
            partition.ended(record.offset)
            if not isinstance(verdict, RecordError):
                partition.ledger.settled(record.offset)
        if isinstance(verdict, RecordError):
            self._dead_letters.put(self.letter(record, verdict.reason, str(verdict)))
        elif verdict is not None:
            self._observer.count(KAFKA_PASSED_OVER, topic=self._topic, reason=verdict)
        return True

    def letter(self, record: Any, reason: str, detail: str) -> Letter:
        """Return a record's dead letter, which settles it once it is written."""
        return Letter(record, reason, detail, written=lambda: self.settle(place_of(record)))

    def _offer(self, partition: Partition, taken: Taken) -> bool:
        place = place_of(taken.record)
        if not self._queue.has_room(taken):
            return False
        if partition.attempts is not None and partition.attempts.is_cautious:
            if self._trying is not None:
                return False
            with self._lock:
                self._trying = place
                partition.begin(place.offset)
                # the next one is another partition's
                self._partitions[place.partition] = self._partitions.pop(place.partition)
            self._commit_now(TopicPartition(place.topic, place.partition))
        with self._lock:
            partition.ledger.delivered(place.offset)
        gone = self._queue.put(replace(taken, tenure=partition.tenure))
        if gone is not None:
            older, reason = gone
            self._observer.count(KAFKA_PASSED_OVER, topic=self._topic, reason=reason)
            self.decoded(older, is_good=False)
            self.settle(place_of(older.record, older.tenure))
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

    def _begin(self, one: TopicPartition, partition: Partition) -> None:
        found = self._beginning.of(one)
        if found is None:
            return
        position, metadata = found
        attempts, begin = Attempts(metadata, position=position, process=THIS_PROCESS), position
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
            partition.ledger.restart(later)
            partition.attempts = attempts
        self._commit_now(one)

    def _jump(self, one: TopicPartition, partition: Partition) -> None:
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
                partition.ledger.jumped(later)
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
                position = partition.ledger.position()
            if partition.polled:
                self._silence.held_back(one.partition)
            with suppress(*DRIVER_ERRORS):  # a rebalance may take it away at this moment
                end = self._consumer.highwater(one)
                lag += max(0, end - position) if end is not None and position is not None else 0
                self._jump(one, partition)
        self._observer.set(KAFKA_LAG, lag, topic=self._topic)
        self._commit(self._consumer.assignment())
        self._membership.look()
        if self._membership.is_settled:
            self._lost()  # what earlier connections had, and this one was not given

    def _expect(self, camera_ids: frozenset[str]) -> None:
        """Wait for cameras by name, where their records can come to no other member."""
        mine = {one.partition for one in self._consumer.assignment()}
        if mine and mine == self._consumer.partitions_for_topic(self._topic):
            self._silence.expect(min(mine), camera_ids)

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
        with self._lock:
            return to_commit(self._partitions, partitions, is_last=is_last)

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
                self._partitions[one.partition] = Partition(self._membership.tenure())
                self._silence.held_back(one.partition)  # while it was not here
        self._consumer.pause(*partitions)  # until it is known where to begin

    def _revoked(self, partitions: Iterable[TopicPartition]) -> None:
        self._finish({one.partition for one in partitions})
        # The commit is sent before the next request to join: requests leave in order.
        self._commit(partitions, is_last=True)
        self._lost(partitions)

    def _finish(self, partitions: Set[int]) -> None:
        """Let what was taken of partitions go through to Redis, within a bound, for the commit."""
        going = [one for key, one in self._partitions.items() if key in partitions]
        for partition in going:
            partition.polled.clear()
        until_s = self._clock.monotonic_s() + (0.0 if self._is_leaving else FINISH_S)
        while not are_done(going) and self._clock.monotonic_s() < until_s:
            self._clock.wait(RETRY_S, Event())

    def _lost(self, partitions: Iterable[TopicPartition] = ()) -> None:
        """Let go of partitions; tell whose cameras those are that another member has."""
        with self._lock:
            for one in partitions:
                partition = self._partitions.pop(one.partition, None)
                if partition is not None:
                    partition.tenure.is_over = True
                self._judge.missed(one.partition)
            # at the end nobody may have taken them: the next connection sees which come back
            moved = [] if self._is_leaving else self._silence.elsewhere(self._partitions)
            for camera_id in moved:
                self._judge.forget(camera_id)
        for camera_id in moved:
            self._moved(camera_id)

    def _leave(self) -> None:
        self._is_leaving = True
        timeout_s = LEAVE_TIMEOUT_S if self._client.is_connected else 0.0
        with suppress(*DRIVER_ERRORS):  # what cannot be committed any more is delivered again
            offsets = self._offsets(self._consumer.assignment(), is_last=True)
            self._consumer.commit(offsets, timeout_ms=ms(timeout_s))
            self._note_committed(offsets, None)
        with suppress(*DRIVER_ERRORS):
            self._consumer.close(autocommit=False, timeout_ms=ms(timeout_s))
