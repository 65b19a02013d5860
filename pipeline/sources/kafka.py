"""Encoded frames from a Kafka topic: consumer group, dead letters, offsets committed by hand.

Three threads share a source. One polls all the time and judges the records (`TopicReader`), one
writes dead letters, and one, whoever iterates `frames`, decodes. Between them lie a few records of
each camera (`FairQueue`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Literal, get_args

from kafka import KafkaConsumer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from model.types import PatchGrid
from pipeline.camera_id import CAMERA_ID, is_camera_id
from pipeline.clock import Clock
from pipeline.errors import ConfigError, FrameError, SourceError
from pipeline.metrics import DEAD_LETTERS, KAFKA_PASSED_OVER
from pipeline.observer import UNOBSERVED, Observer
from pipeline.sources.beginning import Beginning
from pipeline.sources.broker import DRIVER_ERRORS, Connector, Opened, ms
from pipeline.sources.camera_health import LOOK_S, CameraHealth
from pipeline.sources.consumer import (
    LEAVE_TIMEOUT_S,
    MAX_POLLED_RECORDS,
    POLL_S,
    TopicReader,
)
from pipeline.sources.dead_letters import DeadLetters
from pipeline.sources.fair_queue import FairQueue, Taken
from pipeline.sources.image import MAX_PIXELS
from pipeline.sources.judge import Door, Judge, PassedOver
from pipeline.sources.look_back import LookBack
from pipeline.sources.offsets import place_of
from pipeline.sources.record import RefusalReason
from pipeline.sources.shape import Shape
from pipeline.sources.silence import Silence
from pipeline.sources.topic_pictures import TopicPictures
from pipeline.types import Frame, Overflow, Receipt, RecordPlace, Tell, Wanted, tell_nobody

_MOVED = "another worker of the group has it now"

LATEST_BACK_S = 60.0  # where the newest pictures are wanted, no older ones are read


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
        camera_ids: cameras that are expected; their keys are always taken.
        elsewhere: cameras with an address of their own; their keys are never taken.
        only_configured: whether keys beside camera_ids are refused.
        max_cameras: most keys beside camera_ids; any slug is one.
        max_record_bytes: longest value that is decoded, and the fetch size.
        overflow: what happens to a camera's records when they come faster than they are decoded;
            see `pipeline.sources.fair_queue`.
        max_pixels: largest picture that is decoded.
        shapes: what pictures do not say of themselves, by camera id.
        max_lag_s: records captured longer ago are passed over and counted; None for never.
        whole_every_s: of pictures that do not change, a whole one comes this often at least; so far
            back is looked for the one that a record speaks of.
        stall_after_s: a camera without a good picture for so long is silent; None for never.
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
    camera_ids: frozenset[str] = frozenset()
    elsewhere: frozenset[str] = frozenset()
    only_configured: bool = False
    max_cameras: int = 64
    max_record_bytes: int = 8 * 2**20
    overflow: Overflow = Overflow.WAIT
    max_pixels: int = MAX_PIXELS
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    max_lag_s: float | None = None
    whole_every_s: float = 60.0
    stall_after_s: float | None = None
    connect_timeout_s: float = 10.0
    session_timeout_s: float = 20.0
    max_poll_interval_s: float = 60.0
    commit_interval_s: float = 1.0

    def __post_init__(self) -> None:
        if self.dead_letter_topic == self.topic:
            raise ConfigError(f"dead_letter_topic: expected another topic than {self.topic!r}")
        for camera_id in self.camera_ids:
            if not is_camera_id(camera_id):
                raise ConfigError(f"camera_ids: expected {CAMERA_ID}, got {camera_id!r}")

    @property
    def back_s(self) -> float | None:
        """How far back the topic is read at all; None for as far as the group has not read."""
        bounds = [LATEST_BACK_S] if self.overflow is Overflow.LATEST else []
        bounds += [self.max_lag_s] if self.max_lag_s is not None else []
        return min(bounds, default=None)


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
        tell: Tell = tell_nobody,
        is_held: Callable[[str], bool] = lambda _camera_id: False,
        silence: Silence | None = None,
    ) -> None:
        """Make a source; it connects in `frames`.

        Args:
            config: where the topic is and what is taken from it.
            wanted: whether the sampler takes a frame; asked before its image is decoded.
            grid_of: (height_px, width_px) of a picture to its grid.
            clock: for capture times, silences and the commit interval.
            observer: told what becomes of the records.
            tell: told of cameras that are silent, or whose pictures come late.
            is_held: whether a camera's frames wait, so that others' are to go before.
            silence: what earlier connections knew of the topic's cameras; None: there were none.
        """
        self._config = config
        self._wanted = wanted
        self._clock = clock
        self._observer = observer
        self._tell = tell
        for reason in get_args(RefusalReason):
            observer.count(DEAD_LETTERS, 0, reason=reason)  # so that the first one is a growth
        for reason in get_args(PassedOver):
            observer.count(KAFKA_PASSED_OVER, 0, topic=config.topic, reason=reason)
        self._connector = connector_of(config)
        self._silence = silence or Silence(clock)
        self._queue = FairQueue(config.overflow, is_held=is_held)
        self._door = Door(
            camera_ids=config.camera_ids,
            elsewhere=config.elsewhere,
            only_configured=config.only_configured,
            max_strangers=config.max_cameras,
        )
        self._dead_letters = DeadLetters(
            self._connector,
            topic=config.dead_letter_topic,
            timeout_s=config.connect_timeout_s,
            clock=clock,
            observer=observer,
            failed=self._queue.fail,
        )
        self._health = CameraHealth(config.stall_after_s, tell=tell, clock=clock, observer=observer)
        self._pictures = pictures_of(config, grid_of=grid_of)
        self._stopped = Event()
        self._leaving = Event()  # the same for the polling thread, which commits last
        self._reader: TopicReader | None = None
        self._thread: Thread | None = None

    def frames(self) -> Iterator[Frame]:
        try:
            opened = self._open()
            reader = self._reader = self._new_reader(opened)
            self._thread = Thread(target=self._read, args=(reader,), name="kafka", daemon=True)
            self._thread.start()
            while not self._stopped.is_set():
                taken = self._queue.take(LOOK_S)
                frame = self._decoded(taken, reader) if taken else None
                self._health.look(reader.silent)
                if frame is not None and taken is not None and not frame.has_moved:
                    self._health.came(frame, taken.state)
                    yield frame
        except SourceError:
            if not self._stopped.is_set():
                raise
        finally:
            self.close()

    def settle(self, receipt: Receipt) -> None:
        if isinstance(receipt, RecordPlace) and receipt.topic == self._config.topic:
            reader = self._reader
            if reader is not None:
                reader.settle(receipt)

    def close(self) -> None:
        self._stopped.set()
        self._queue.close()
        self._dead_letters.flush()
        self._connector.abort()
        self._dead_letters.close()
        self._leaving.set()
        if self._thread is not None:
            self._thread.join(timeout=POLL_S + 2 * LEAVE_TIMEOUT_S)

    def _open(self) -> Opened:
        config = self._config
        return self._connector.open(
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
            max_poll_records=MAX_POLLED_RECORDS,
            max_poll_interval_ms=ms(config.max_poll_interval_s),
            session_timeout_ms=ms(config.session_timeout_s),
            # By which the others hear that somebody joins: the first to hear waits for the last.
            heartbeat_interval_ms=ms(min(0.3, config.session_timeout_s / 4)),
            max_partition_fetch_bytes=config.max_record_bytes,
            fetch_max_bytes=4 * config.max_record_bytes,
            # In pure Python they take 27 ms for 200 kB, and nothing else runs; what breaks a record
            # on the broker's disk breaks its image too.
            check_crcs=False,
        )

    def _new_reader(self, opened: Opened) -> TopicReader:
        config = self._config
        return TopicReader(
            config.topic,
            opened,
            beginning=Beginning(opened.driver, back_s=config.back_s, clock=self._clock),
            judge=LookBack(
                Judge(
                    self._door,
                    wanted=self._wanted,
                    clock=self._clock,
                    max_lag_s=config.max_lag_s,
                    max_record_bytes=config.max_record_bytes,
                ),
                opened.driver,
                back_s=config.whole_every_s,
            ),
            queue=self._queue,
            dead_letters=self._dead_letters,
            silence=self._silence,
            clock=self._clock,
            observer=self._observer,
        )

    def _read(self, reader: TopicReader) -> None:
        """Poll, on a thread of its own; what ends it ends `frames`."""
        try:
            reader.run(
                self._leaving,
                expected=self._config.camera_ids,
                commit_interval_s=self._config.commit_interval_s,
                patience_s=self._config.connect_timeout_s,
                moved=lambda camera_id: self._tell(camera_id, "moved", _MOVED),
            )
        except SourceError as exc:
            self._queue.fail(exc)
        except DRIVER_ERRORS as exc:
            self._queue.fail(self._connector.source_error(exc, what="consuming"))
        finally:
            self._queue.fail(SourceError("ended", "the polling thread ended"))

    def _decoded(self, taken: Taken, reader: TopicReader) -> Frame | None:
        """Return the record's frame, or None where it is no image."""
        record, camera_id = taken.record, taken.camera_id
        if taken.picture is None:
            self._nothing_shown(taken, reader)
            return None
        begun_s = self._clock.spent_s()  # a process that was stopped has no heavy pictures
        try:
            frame = self._pictures.frame(taken, place_of(record, taken.tenure))
        except FrameError as exc:
            self._door.was_junk(camera_id)
            reader.decoded(taken, is_good=False)
            self._dead_letters.wait_for_room()
            self._dead_letters.put(reader.letter(record, "bad_image", str(exc)))
            return None
        finally:
            self._queue.decoded(camera_id, spent_s=self._clock.spent_s() - begun_s)
        self._door.was_read(camera_id)
        reader.decoded(taken, is_good=True)
        return frame

    def _nothing_shown(self, taken: Taken, reader: TopicReader) -> None:
        """Take what a record says of its camera, which has nothing to show, or nothing new."""
        self._door.was_junk(taken.camera_id)
        self._health.heard(taken.camera_id, taken.state)
        if taken.state != "damaged":
            self._observer.count(KAFKA_PASSED_OVER, topic=self._config.topic, reason="no_picture")
        reader.decoded(taken, is_good=True)
        reader.settle(place_of(taken.record, taken.tenure))


def pictures_of(config: KafkaConfig, *, grid_of: Callable[[int, int], PatchGrid]) -> TopicPictures:
    """Return what makes frames of the topic's records."""
    return TopicPictures(grid_of=grid_of, max_pixels=config.max_pixels, shapes=config.shapes)


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
