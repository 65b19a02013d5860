"""Records that are no frames, on their way to the dead-letter topic, in batches.

They go by a thread of their own, so that a topic of junk keeps no camera waiting. A record is done
with only once the broker has confirmed its copy.
"""

from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any

import structlog
from kafka import KafkaProducer
from kafka import errors as driver

from pipeline.clock import Clock
from pipeline.errors import SourceError
from pipeline.metrics import DEAD_LETTERS
from pipeline.observer import Observer
from pipeline.redact import redact
from pipeline.sources.broker import DRIVER_ERRORS, Connector, ms

MAX_LETTERS = 256  # waiting for the broker's word; more hold their partitions back
MAX_LETTER_BYTES = 16 * 2**20  # of their values; one more may lie on top of it
LOG_EVERY_S = 60.0  # of one reason: a producer that is wrong once is wrong every time
LOOK_S = 0.2  # how soon `close` is noticed
LINGER_MS = 5  # how long the driver waits for a batch to grow
CLOSE_S = 1.0  # for what waits to be confirmed, and again for the thread to end

_TOO_LARGE = (driver.MessageSizeTooLargeError, driver.RecordListTooLargeError)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Letter:
    """A record that is no frame.

    Attributes:
        record: as the driver gave it.
        reason: one of a few words, for counting.
        detail: what was expected and what came.
        written: called, by the writing thread, once the broker has the copy.
    """

    record: Any
    reason: str
    detail: str
    written: Callable[[], None]

    @property
    def num_bytes(self) -> int:
        """The value's size."""
        return len(self.record.value or b"")


class DeadLetters:
    """Writes letters, in the order in which they come."""

    def __init__(
        self,
        connector: Connector,
        *,
        topic: str,
        timeout_s: float,
        clock: Clock,
        observer: Observer,
        failed: Callable[[SourceError], None],
    ) -> None:
        """Note where they go; nothing is connected before the first one.

        Args:
            connector: opens the producer.
            topic: the dead-letter topic.
            timeout_s: for a letter's delivery.
            clock: for the log.
            observer: told of every letter that was written.
            failed: called once when one could not be; what waits then is never written.
        """
        self._connector = connector
        self._topic = topic
        self._timeout_s = timeout_s
        self._clock = clock
        self._observer = observer
        self._failed = failed
        self._changed = Condition()
        self._waiting: deque[Letter] = deque()  # until they are confirmed
        self._num_bytes = 0
        self._is_closed = False
        self._thread: Thread | None = None
        self._logged_s: dict[str, float] = {}  # by reason
        self._unlogged: Counter[str] = Counter()  # since then, by reason

    def has_room(self) -> bool:
        """Say whether a letter may be put without more of them waiting than ought to."""
        with self._changed:
            return self._has_room()

    def wait_for_room(self) -> None:
        """Wait until there is room, or until nothing more is written."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._has_room())

    def put(self, letter: Letter) -> None:
        """Send a letter off.

        Each is counted; of one reason a line is logged at once, and then at most one a minute.
        """
        with self._changed:
            self._waiting.append(letter)
            self._num_bytes += letter.num_bytes
            if self._thread is None and not self._is_closed:
                self._thread = Thread(target=self._run, name="dead-letters", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait, but not for long, until everything is confirmed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or not self._waiting, CLOSE_S)

    def close(self) -> None:
        """Give up what is not confirmed yet: it was not settled, and comes again."""
        self._give_up()
        if self._thread is not None:
            self._thread.join(timeout=CLOSE_S)

    def _has_room(self) -> bool:
        return len(self._waiting) < MAX_LETTERS and self._num_bytes < MAX_LETTER_BYTES

    def _run(self) -> None:
        producer: KafkaProducer | None = None
        try:
            producer = self._open()
            while batch := self._batch():
                self._write(producer, batch)
        except (SourceError, *DRIVER_ERRORS) as exc:
            if not self._is_closed:
                what = f"writing to {self._topic!r}"
                if not isinstance(exc, SourceError):
                    exc = self._connector.source_error(exc, what=what)
                self._failed(exc)
        finally:
            self._give_up()
            if producer is not None:
                with suppress(*DRIVER_ERRORS):
                    producer.close(timeout=0)

    def _give_up(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _batch(self) -> list[Letter]:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._waiting)
            return [] if self._is_closed else list(self._waiting)

    def _write(self, producer: KafkaProducer, batch: list[Letter]) -> None:
        sent = [(letter, self._send(producer, letter, is_whole=True)) for letter in batch]
        for letter, on_its_way in sent:
            try:
                self._confirm(on_its_way)
            except _TOO_LARGE:
                self._write_shorter(producer, letter)
            self._observer.count(DEAD_LETTERS, reason=letter.reason)
            self._log(letter)
            letter.written()
            with self._changed:
                self._waiting.popleft()
                self._num_bytes -= letter.num_bytes
                self._changed.notify_all()

    def _write_shorter(self, producer: KafkaProducer, letter: Letter) -> None:
        try:  # the batch may have been too long, and not the letter
            self._confirm(self._send(producer, letter, is_whole=True))
        except _TOO_LARGE:
            # With our headers it is too long: what they name can still be found in its topic.
            self._confirm(self._send(producer, letter, is_whole=False))

    def _send(self, producer: KafkaProducer, letter: Letter, *, is_whole: bool) -> Any:
        record = letter.record
        headers = [
            *((name, value or b"") for name, value in record.headers),  # the driver takes no null
            ("reason", letter.reason.encode()),
            ("detail", letter.detail.encode()),
            ("topic", record.topic.encode()),
            ("partition", str(record.partition).encode()),
            ("offset", str(record.offset).encode()),
        ]
        value = record.value
        if not is_whole:
            headers.append(("value", b"left out: too large"))
            value = b""
        elif record.key is None and value is None:  # which the driver refuses to send
            value = b""
        return producer.send(self._topic, key=record.key, value=value, headers=headers)

    def _confirm(self, on_its_way: Any) -> None:
        """Wait for the broker's word; the driver itself gives up after the time-out."""
        for _ in range(int(2 * self._timeout_s / LOOK_S) + 1):
            try:
                on_its_way.get(timeout=LOOK_S)
            except driver.KafkaTimeoutError:
                if on_its_way.is_done or self._is_closed:
                    raise
            else:
                return
        raise driver.KafkaTimeoutError("the broker did not confirm a record in time")

    def _log(self, letter: Letter) -> None:
        reason, record = letter.reason, letter.record
        self._unlogged[reason] += 1
        now_s = self._clock.monotonic_s()
        if now_s - self._logged_s.get(reason, -LOG_EVERY_S) < LOG_EVERY_S:
            return
        _log.warning(
            "record_dead_lettered",
            reason=reason,
            detail=redact(letter.detail),
            count=self._unlogged.pop(reason),
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
        )
        self._logged_s[reason] = now_s

    def _open(self) -> KafkaProducer:
        return self._connector.open(
            KafkaProducer,
            what=f"connecting to write to {self._topic!r}",
            acks="all",
            enable_idempotence=False,  # a dead letter may come twice, and needs no further rights
            linger_ms=LINGER_MS,
            request_timeout_ms=ms(self._timeout_s),
            delivery_timeout_ms=ms(self._timeout_s) + LINGER_MS,
            max_block_ms=ms(self._timeout_s),
            max_request_size=2**30,  # what is too large is the broker's to say
        ).driver
