"""Encoded frames from a Kafka topic: consumer group, dead letters, offsets committed by hand.

Two threads share a source. One polls all the time, so that its group never waits for a slow camera
thread, and commits what is settled; the other, whoever iterates `frames`, decodes. A few records
lie between them; while there is no room for more, the partitions are paused.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, Literal, get_args

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from model.types import PatchGrid
from pipeline.camera_id import CAMERA_ID, is_camera_id
from pipeline.clock import Clock
from pipeline.errors import ConfigError, FrameError, SourceError
from pipeline.observer import (
    DEAD_LETTERS,
    KAFKA_COMMITS,
    KAFKA_LAG,
    KAFKA_RECORDS,
    KAFKA_STALE,
    UNOBSERVED,
    Observer,
)
from pipeline.sources.broker import DRIVER_ERRORS, Connector, DeadLetters, Opened, ms
from pipeline.sources.image import decode_image
from pipeline.sources.offsets import OffsetLedger, RecordPlace
from pipeline.sources.record import RecordError, RefusalReason, camera_of, captured_at
from pipeline.types import Frame, Receipt, Wanted

MAX_WAITING_RECORDS = 8  # between the two threads; each may be max_record_bytes long
POLL_S = 0.2  # how long a poll waits for records, and so how soon `close` is noticed
LEAVE_TIMEOUT_S = 3.0  # for the last commit, and again for leaving the group


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConfig:
    """Where the topic is and what is taken from it.

    Attributes:
        bootstrap_servers: host:port, comma-separated.
        topic: frames, keyed by camera id.
        group_id: consumer group.
        dead_letter_topic: where records that are no frames go.
        security_protocol: as Kafka names it.
        sasl_mechanism: as Kafka names it; used with the SASL protocols.
        sasl_username: used with the SASL protocols.
        sasl_password: used with the SASL protocols; never shown.
        ssl_cafile: the brokers' certificate authority; None for the system's.
        group_instance_id: makes this a static member, which may restart within session_timeout_s
            without a rebalance.
        auto_offset_reset: where a group begins that has no offset, or whose offset is gone.
            Earliest: an old frame is passed over by max_lag_s, a lost one never comes back.
        camera_ids: keys that are taken; None for any slug, up to max_cameras different ones.
        max_cameras: where camera_ids is None.
        max_record_bytes: longest value that is decoded, and the fetch size.
        max_lag_s: records captured longer ago are passed over and counted; None for never.
        connect_timeout_s: for the first answer of a broker, for a dead letter's delivery, and how
            long all brokers may be away before the source gives up.
        session_timeout_s: how long the group waits for a heartbeat, and so for a member that died.
        max_poll_interval_s: how long the group lets the polling thread be stuck.
        commit_interval_s: what was settled since the last commit comes again after a crash.
    """

    bootstrap_servers: str
    topic: str
    group_id: str
    dead_letter_topic: str
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str = ""
    sasl_password: str = field(default="", repr=False)
    ssl_cafile: str | None = None
    group_instance_id: str | None = None
    auto_offset_reset: Literal["earliest", "latest"] = "earliest"
    camera_ids: frozenset[str] | None = None
    max_cameras: int = 64
    max_record_bytes: int = 8 * 2**20
    max_lag_s: float | None = None
    connect_timeout_s: float = 10.0
    session_timeout_s: float = 20.0
    max_poll_interval_s: float = 60.0
    commit_interval_s: float = 1.0

    def __post_init__(self) -> None:
        if self.dead_letter_topic == self.topic:
            raise ConfigError(f"dead_letter_topic: expected another topic than {self.topic!r}")
        for camera_id in self.camera_ids or ():
            if not is_camera_id(camera_id):
                raise ConfigError(f"camera_ids: expected {CAMERA_ID}, got {camera_id!r}")


class KafkaSource:
    """Frames of every camera that writes to one topic, each delivered at least once.

    An offset is committed once it and all before it in its partition are settled. A record that is
    no frame is first written to the dead-letter topic and then settled; while it cannot be written
    nothing is lost, `frames` raises.
    """

    def __init__(
        self,
        *,
        config: KafkaConfig,
        wanted: Wanted,
        grid_of: Callable[[int, int], PatchGrid],
        clock: Clock,
        observer: Observer = UNOBSERVED,
    ) -> None:
        """Make a source; it connects in `frames`.

        Args:
            config: where the topic is and what is taken from it.
            wanted: whether the sampler takes a frame; asked before its image is decoded.
            grid_of: (height_px, width_px) of a picture to its grid.
            clock: for staleness and the commit interval.
            observer: told what becomes of the records.
        """
        self._config = config
        self._wanted = wanted
        self._grid_of = grid_of
        self._clock = clock
        self._observer = observer
        for reason in get_args(RefusalReason):
            observer.count(DEAD_LETTERS, 0, reason=reason)  # so that the first one is a growth
        self._connector = connector_of(config)
        self._dead_letters = DeadLetters(
            self._connector,
            topic=config.dead_letter_topic,
            timeout_s=config.connect_timeout_s,
            clock=clock,
            observer=observer,
        )
        self._stopped = Event()
        self._poller: Thread | None = None
        self._arrivals: SimpleQueue[Any] = SimpleQueue()  # records, then a SourceError
        self._cameras: set[str] = set()
        self._lock = Lock()  # over all that follows
        self._ledgers: dict[int, OffsetLedger] = {}
        self._committed: dict[int, int] = {}

    def frames(self) -> Iterator[Frame]:
        try:
            opened = self._subscribe()
            self._poller = Thread(target=self._poll, args=(opened,), name="kafka", daemon=True)
            self._poller.start()
            while True:
                arrived = self._arrivals.get()
                if self._stopped.is_set():
                    return
                if isinstance(arrived, SourceError):
                    raise arrived
                frame = self._frame(arrived)
                if frame is not None:
                    yield frame
        except SourceError:
            if not self._stopped.is_set():
                raise
        finally:
            self.close()

    def settle(self, receipt: Receipt) -> None:
        if not isinstance(receipt, RecordPlace) or receipt.topic != self._config.topic:
            return
        with self._lock:
            ledger = self._ledgers.get(receipt.partition)
            if ledger is not None:
                ledger.settled(receipt.offset)

    def close(self) -> None:
        self._stopped.set()
        self._arrivals.put(SourceError("ended", "closed"))
        self._connector.abort()
        self._dead_letters.close()
        if self._poller is not None:
            self._poller.join(timeout=POLL_S + 2 * LEAVE_TIMEOUT_S)

    # ---------------------------------------------------------------- the thread that iterates

    def _subscribe(self) -> Opened:
        config = self._config
        opened = self._connector.open(
            KafkaConsumer,
            what="connecting",
            group_id=config.group_id,
            group_instance_id=config.group_instance_id,
            enable_auto_commit=False,
            auto_offset_reset=config.auto_offset_reset,
            allow_auto_create_topics=False,
            # In a rebalance only partitions that go to another member are taken away; the eager
            # assignors take all of them, and every frame in flight would come again.
            partition_assignment_strategy=[CooperativeStickyAssignor],
            max_poll_records=MAX_WAITING_RECORDS,
            max_poll_interval_ms=ms(config.max_poll_interval_s),
            session_timeout_ms=ms(config.session_timeout_s),
            heartbeat_interval_ms=ms(min(3.0, config.session_timeout_s / 4)),
            max_partition_fetch_bytes=config.max_record_bytes,
            fetch_max_bytes=4 * config.max_record_bytes,
            # In pure Python they take 27 ms for 200 kB, and nothing else runs; what breaks a record
            # on the broker's disk breaks its image too.
            check_crcs=False,
        )
        listener = _Rebalance(
            assigned=self._assigned,
            revoked=lambda partitions: self._commit(opened.driver, partitions),
        )
        opened.driver.subscribe([config.topic], listener=listener)
        return opened

    def _frame(self, record: Any) -> Frame | None:
        """Return the record's frame, or None where it needs no further care and is settled."""
        receipt = Receipt(RecordPlace(record.topic, record.partition, record.offset))
        try:
            frame = self._read(record, receipt)
        except FrameError as exc:
            reason = exc.reason if isinstance(exc, RecordError) else "bad_image"
            self._dead_letters.write(record, reason=reason, detail=str(exc))
            frame = None
        if frame is None:
            self.settle(receipt)
        return frame

    def _read(self, record: Any, receipt: Receipt) -> Frame | None:
        config = self._config
        camera_id = self._known(camera_of(record.key))
        captured = captured_at(record.headers, timestamp_ms=record.timestamp)
        if config.max_lag_s is not None and self._clock.now() - captured > timedelta(
            seconds=config.max_lag_s
        ):
            self._observer.count(KAFKA_STALE, topic=config.topic)
            return None
        pts_s = captured.timestamp()
        if not self._wanted(camera_id, pts_s):
            return None
        value = record.value or b""
        if len(value) > config.max_record_bytes:
            raise RecordError(
                "too_large", f"expected at most {config.max_record_bytes} bytes, got {len(value)}"
            )
        image = decode_image(value, grid_of=self._grid_of)
        return Frame(camera_id, image.pixels, image.grid, pts_s, captured, receipt)

    def _known(self, camera_id: str) -> str:
        known, most = self._config.camera_ids, self._config.max_cameras
        if known is not None and camera_id not in known:
            raise RecordError(
                "unknown_camera", f"expected the key of a configured camera, got {camera_id!r}"
            )
        if known is None and camera_id not in self._cameras:
            if len(self._cameras) >= most:
                raise RecordError(
                    "too_many_cameras", f"expected at most {most} cameras, got {camera_id!r} too"
                )
            self._cameras.add(camera_id)
        return camera_id

    # ---------------------------------------------------------------- the thread that polls

    def _poll(self, opened: Opened) -> None:
        consumer, config = opened.driver, self._config
        try:
            if not consumer.partitions_for_topic(config.topic):
                self._arrivals.put(SourceError("not_found", f"no topic {config.topic!r} to read"))
                return
            committed_s = connected_s = self._clock.monotonic_s()
            while not self._stopped.is_set():
                self._take(consumer, room=MAX_WAITING_RECORDS - self._arrivals.qsize())
                now_s = self._clock.monotonic_s()
                if now_s - committed_s >= config.commit_interval_s:
                    self._commit(consumer, consumer.assignment())
                    self._note_lag(consumer)
                    committed_s = now_s
                if opened.client.is_connected:
                    connected_s = now_s
                elif now_s - connected_s > config.connect_timeout_s:
                    raise opened.client.failure or TimeoutError("no broker answers")
        except DRIVER_ERRORS as exc:
            self._arrivals.put(self._connector.source_error(exc, what="consuming"))
        finally:
            timeout_s = LEAVE_TIMEOUT_S if opened.client.is_connected else 0.0
            with suppress(*DRIVER_ERRORS):  # what cannot be committed any more is delivered again
                offsets = self._offsets(consumer.assignment())
                consumer.commit(offsets, timeout_ms=ms(timeout_s))
                self._note_committed(offsets, None)
            with suppress(*DRIVER_ERRORS):
                consumer.close(autocommit=False, timeout_ms=ms(timeout_s))
            self._arrivals.put(SourceError("ended", "the polling thread ended"))

    def _take(self, consumer: KafkaConsumer, *, room: int) -> None:
        if room > 0:
            consumer.resume(*consumer.paused())
        else:
            consumer.pause(*consumer.assignment())
        polled = consumer.poll(timeout_ms=ms(POLL_S), max_records=max(1, room))
        with self._lock:
            for records in polled.values():
                for record in records:
                    self._ledgers[record.partition].delivered(record.offset)
                    self._arrivals.put(record)
        num_records = sum(len(records) for records in polled.values())
        self._observer.count(KAFKA_RECORDS, num_records, topic=self._config.topic)

    def _note_lag(self, consumer: KafkaConsumer) -> None:
        """Tell how many records are not settled yet, as far as the last fetches have shown."""
        lag = 0
        for one in consumer.assignment():
            with suppress(*DRIVER_ERRORS):  # a rebalance may take it away at this moment
                end = consumer.highwater(one)
                with self._lock:
                    position = self._position(one)
                if end is not None and position is not None:
                    lag += max(0, end - position)
        self._observer.set(KAFKA_LAG, lag, topic=self._config.topic)

    def _commit(self, consumer: KafkaConsumer, partitions: Iterable[TopicPartition]) -> None:
        """Send off what moved since the last commit; one that fails is made up for by the next."""
        offsets = self._offsets(partitions)
        if offsets:
            consumer.commit_async(offsets, callback=self._note_committed)

    def _offsets(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        offsets = {}
        with self._lock:
            for one in partitions:
                position = self._position(one)
                if position is not None and position != self._committed.get(one.partition):
                    offsets[one] = OffsetAndMetadata(position, "", -1)
        return offsets

    def _position(self, partition: TopicPartition) -> int | None:
        ledger = self._ledgers.get(partition.partition)
        return ledger.position() if ledger else None

    def _note_committed(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata], response: object
    ) -> None:
        if offsets and not isinstance(response, Exception):
            self._observer.count(KAFKA_COMMITS, topic=self._config.topic)
            with self._lock:
                for one, offset in offsets.items():
                    self._committed[one.partition] = offset.offset

    def _assigned(self, partitions: Iterable[TopicPartition]) -> None:
        with self._lock:
            for one in partitions:
                self._ledgers.setdefault(one.partition, OffsetLedger()).restart()
                self._committed.pop(one.partition, None)


class _Rebalance(ConsumerRebalanceListener):  # type: ignore[misc]  # the driver has no types
    """Told by the driver's own thread, on which nothing may block."""

    def __init__(
        self,
        *,
        assigned: Callable[[Iterable[TopicPartition]], None],
        revoked: Callable[[Iterable[TopicPartition]], None],
    ) -> None:
        self._assigned = assigned
        self._revoked = revoked

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._assigned(assigned)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        # The commit is sent before the next request to join: requests leave in order.
        self._revoked(revoked)

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        """Do nothing: what was ours may be another's already."""


def connector_of(config: KafkaConfig) -> Connector:
    """Return what opens connections to the brokers."""
    options: dict[str, object] = {
        "bootstrap_servers": config.bootstrap_servers.split(","),
        "security_protocol": config.security_protocol,
        "ssl_cafile": config.ssl_cafile,
    }
    if config.security_protocol.startswith("SASL_"):
        options |= {
            "sasl_mechanism": config.sasl_mechanism,
            "sasl_plain_username": config.sasl_username,
            "sasl_plain_password": config.sasl_password,
        }
    return Connector(options, timeout_s=config.connect_timeout_s, secret=config.sasl_password)
