"""Records onto a Kafka topic, in order, each until a broker has confirmed it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from threading import Event
from typing import Any

from kafka import KafkaProducer
from kafka import errors as driver

from pipeline.errors import PublishError, SourceError
from pipeline.publishers.base import nothing_new
from pipeline.sinks.buffer import FrameBuffer, Waiting
from pipeline.sources.broker import DRIVER_ERRORS, Connector, ms
from pipeline.sources.record import (
    CAMERA_STATE_HEADER,
    CAPTURED_AT_HEADER,
    UNCHANGED_HEADER,
)

MAX_BATCH = 64  # records on their way at once
LOOK_S = 0.5
STOP_S = 3.0  # for the last word of a broker, at the end
LINGER_MS = 5  # how long the driver waits for a batch to grow
BATCH_BYTES = 2**19  # of a partition; the driver halves one that the broker finds too large

_TOO_LARGE = (driver.MessageSizeTooLargeError, driver.RecordListTooLargeError)


class KafkaWriter:
    """One connection to a topic; used once, as a `Publisher` is: built, run, closed."""

    def __init__(self, connector: Connector, *, topic: str, timeout_s: float) -> None:
        """Note where the records go; nothing is connected before `run`.

        Args:
            connector: opens the producer.
            topic: keyed by camera id.
            timeout_s: for the first answer of a broker, and for a record's confirmation.
        """
        self._connector = connector
        self._topic = topic
        self._timeout_s = timeout_s
        self._producer: Any = None

    def run(
        self,
        outbox: FrameBuffer,
        stop: Event,
        *,
        fields: Callable[[], Mapping[str, object]] = dict,  # noqa: ARG002 (a heartbeat's; there is none)
        works: Callable[[], bool] = nothing_new,
    ) -> None:
        """Send what waits until `stop`, and then what is left.

        Raises:
            PublishError: at the first failure; what was not confirmed waits on.
        """
        try:
            self._open()
            while True:
                is_last = stop.is_set()  # before the look: what was stored before `stop` is found
                batch = outbox.pending(MAX_BATCH) if outbox.wait(LOOK_S) else []
                for part in _parts(batch):
                    if not self._send(part, outbox, stop):
                        break  # what stood for the one that was refused waits no more
                    works()
                if is_last and not batch:
                    return
        except DRIVER_ERRORS as exc:
            error = self._connector.source_error(exc, what=f"writing to {self._topic!r}")
            raise PublishError(error.reason, str(error)) from None
        except SourceError as error:
            raise PublishError(error.reason, str(error)) from None

    def close(self) -> None:
        """Let go of the connection."""
        self._connector.abort()
        if self._producer is not None:
            with suppress(*DRIVER_ERRORS):
                self._producer.close(timeout=0)

    def _send(self, part: list[Waiting], outbox: FrameBuffer, stop: Event) -> bool:
        """Send records and wait until they are confirmed; False where one was refused."""
        are_taken = True
        for one, on_its_way in [(one, self._on_its_way(one)) for one in part]:
            try:
                self._confirm(on_its_way, stop)
            except _TOO_LARGE:
                outbox.refused(one.row)
                are_taken = False
            else:
                outbox.delivered(one.row)
        return are_taken

    def _confirm(self, on_its_way: Any, stop: Event) -> None:
        """Wait for the broker's word; the driver itself gives up after the time-out."""
        stopping_s = 0.0
        while True:
            try:
                on_its_way.get(timeout=LOOK_S)
            except driver.KafkaTimeoutError:
                stopping_s += LOOK_S if stop.is_set() else 0.0
                if on_its_way.is_done or stopping_s > STOP_S:
                    raise
            else:
                return

    def _on_its_way(self, one: Waiting) -> Any:
        record = one.record
        made_ms = int(record.captured_at.timestamp() * 1000)
        headers = [
            (CAPTURED_AT_HEADER, str(made_ms).encode()),
            (CAMERA_STATE_HEADER, record.state.encode()),
        ]
        if not record.value:
            headers.append((UNCHANGED_HEADER, b"1"))
        return self._producer.send(
            self._topic,
            key=record.camera_id.encode(),
            value=record.value,
            headers=headers,
            timestamp_ms=made_ms,  # by which a topic is searched
        )

    def _open(self) -> None:
        opened = self._connector.open(
            KafkaProducer,
            what="connecting",
            acks="all",
            enable_idempotence=False,  # which needs a further right
            max_in_flight_requests_per_connection=1,  # or a batch that is tried again comes late
            allow_auto_create_topics=False,
            linger_ms=LINGER_MS,
            batch_size=BATCH_BYTES,
            request_timeout_ms=ms(self._timeout_s),
            delivery_timeout_ms=ms(self._timeout_s) + LINGER_MS,
            max_block_ms=ms(self._timeout_s),
            max_request_size=2**30,  # what is too large is the broker's to say
        ).driver
        self._producer = opened  # to be closed
        try:
            opened.partitions_for(self._topic)
        except driver.KafkaTimeoutError:
            raise SourceError("not_found", f"no topic {self._topic!r} to write to") from None


def _parts(batch: list[Waiting]) -> Iterator[list[Waiting]]:
    """Yield a batch in parts, none with both a camera's picture and what stands for it.

    What stands for a picture that turns out to be refused has then not been sent yet.
    """
    part: list[Waiting] = []
    pictures: set[str] = set()
    for one in batch:
        if not one.record.value and one.record.camera_id in pictures:
            yield part
            part, pictures = [], set()
        part.append(one)
        pictures |= {one.record.camera_id} if one.record.value else set()
    if part:
        yield part
