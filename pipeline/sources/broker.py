"""Connections to Kafka that fail soon, say why, and leave nothing behind.

kafka-python's constructors wait for a broker; when none comes they say only that time ran out, and
leave a thread and its sockets running. This and `pipeline.sources.kafka` alone import kafka.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any

import structlog
from kafka import KafkaProducer
from kafka import errors as driver
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from pipeline.clock import Clock
from pipeline.errors import SourceError, SourceReason
from pipeline.observer import DEAD_LETTERS, Observer
from pipeline.redact import redact

REQUEST_TIMEOUT_S = 10.0
LOG_EVERY_S = 60.0  # dead letters of one reason: a producer that is wrong once is wrong every time

# What the driver raises beside its own tree: closed loops, sockets, TLS files.
DRIVER_ERRORS = (driver.KafkaError, OSError, RuntimeError, ValueError)

_AUTH_ERRORS = (
    driver.SaslAuthenticationFailedError,
    driver.UnsupportedSaslMechanismError,
    driver.AuthorizationError,
)
_REASONS: tuple[tuple[tuple[type[Exception], ...], SourceReason], ...] = (
    (_AUTH_ERRORS, "auth_failed"),
    ((driver.UnknownTopicOrPartitionError, driver.InvalidTopicError), "not_found"),
    ((driver.UnsupportedCodecError,), "codec_unsupported"),
    ((driver.CorruptRecordError,), "corrupt"),
    ((driver.KafkaTimeoutError, driver.RequestTimedOutError), "timeout"),
)


_log = structlog.get_logger(__name__)


def ms(seconds: float) -> int:
    """Return whole milliseconds: the driver puts some of its settings on the wire as they are."""
    return int(seconds * 1000)


class _Connections(KafkaConnectionManager):  # type: ignore[misc]  # the driver has no types
    """The driver's connections, which remember why the last one failed."""

    failure: Exception | None = None

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        connection = super().get_connection(*args, **kwargs)
        connection.init_future.add_both(self._note, connection)
        return connection

    def _note(self, connection: Any, outcome: object) -> None:
        self.failure = outcome if isinstance(outcome, Exception) else None
        if self.failure is None or self.bootstrapped:
            return
        has_hung_up = isinstance(outcome, driver.KafkaConnectionError)
        if has_hung_up and connection.sasl_enabled and connection.broker_version is not None:
            # It had spoken to us: the driver loses a refusal that arrives together with its end.
            self.failure = driver.SaslAuthenticationFailedError(str(outcome))
        if isinstance(self.failure, _AUTH_ERRORS):
            self.close()  # the driver would try the same password again at once, and be locked out


class BrokerClient(KafkaNetClient):  # type: ignore[misc]  # the driver has no types
    """What carries a consumer's or producer's requests."""

    def __init__(self, **configs: Any) -> None:
        loop = NetworkSelector(**configs)
        self._connections = _Connections(loop, **configs)
        super().__init__(net=loop, manager=self._connections, **configs)

    @property
    def failure(self) -> Exception | None:
        """Why the last connection could not be made; None once one was."""
        return self._connections.failure

    @property
    def is_connected(self) -> bool:
        """Whether any broker is."""
        return any(one.connected for one in list(self._connections._conns.values()))  # noqa: SLF001 (the driver does not tell)


@dataclass(frozen=True, slots=True)
class Opened:
    """A KafkaConsumer or KafkaProducer, and what carries its requests."""

    driver: Any
    client: BrokerClient


class Connector:
    """Opens consumers and producers to one cluster; `abort` ends an opening from another thread."""

    def __init__(self, options: Mapping[str, object], *, timeout_s: float, secret: str) -> None:
        """Take the driver's options for security and address.

        Args:
            options: as the driver's constructors take them.
            timeout_s: for the first answer of a broker.
            secret: what no error may show.
        """
        self._options = {
            "bootstrap_timeout_ms": ms(timeout_s),
            "request_timeout_ms": ms(REQUEST_TIMEOUT_S),
            "reconnect_backoff_max_ms": 1000,
            **options,
        }
        self._secret = secret
        self._lock = Lock()
        self._is_aborted = False
        self._opening: BrokerClient | None = None

    def open(self, driver_class: Callable[..., Any], *, what: str, **options: object) -> Opened:
        """Build a consumer or producer, or leave nothing of it behind.

        Raises:
            SourceError: no broker answered in time, or it refused.
        """
        clients: list[BrokerClient] = []

        def new_client(**configs: Any) -> BrokerClient:
            client = BrokerClient(**configs)
            clients.append(client)
            with self._lock:
                self._opening = client
                if self._is_aborted:
                    raise driver.Cancelled("closed while it was connecting")
            return client

        try:
            opened = driver_class(**{**self._options, **options}, kafka_client=new_client)
        except DRIVER_ERRORS as exc:
            failure = clients[0].failure if clients else None
            for client in clients:
                client.close()
            raise self.source_error(failure or exc, what=what) from None
        finally:
            with self._lock:
                self._opening = None
        return Opened(opened, clients[0])

    def abort(self) -> None:
        """Make an `open` that waits for a broker fail now, and every later one at once."""
        with self._lock:
            self._is_aborted = True
            opening, self._opening = self._opening, None
        if opening is not None:
            opening.close()

    def source_error(self, exc: Exception, *, what: str) -> SourceError:
        """Return our error for the driver's."""
        reason = next((reason for types, reason in _REASONS if isinstance(exc, types)), None)
        return SourceError(reason or "unreachable", f"{what}: {redact(str(exc), self._secret)}")


class DeadLetters:
    """Records that are no frames, on their way to the dead-letter topic."""

    def __init__(
        self,
        connector: Connector,
        *,
        topic: str,
        timeout_s: float,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._connector = connector
        self._topic = topic
        self._timeout_s = timeout_s
        self._clock = clock
        self._observer = observer
        self._logged_s: dict[str, float] = {}  # by reason
        self._unlogged: Counter[str] = Counter()  # since then, by reason
        self._producer: KafkaProducer | None = None

    def write(self, record: Any, *, reason: str, detail: str) -> None:
        """Produce the record's key, value and headers with why and whence; wait for the broker.

        Each is counted; of one reason a line is logged at once, and then at most one a minute.

        Raises:
            SourceError: the topic could not be written.
        """
        headers = [
            *((name, value or b"") for name, value in record.headers),  # the driver takes no null
            ("reason", reason.encode()),
            ("detail", detail.encode()),
            ("topic", record.topic.encode()),
            ("partition", str(record.partition).encode()),
            ("offset", str(record.offset).encode()),
        ]
        producer = self._producer = self._producer or self._open()
        try:
            try:
                self._send(producer, record.key, record.value, headers)
            except (driver.MessageSizeTooLargeError, driver.RecordListTooLargeError):
                # With our headers it is too long: what they name can still be found in its topic.
                headers.append(("value", b"left out: too large"))
                self._send(producer, record.key, b"", headers)
        except DRIVER_ERRORS as exc:
            raise self._connector.source_error(exc, what=f"writing to {self._topic!r}") from None
        self._observer.count(DEAD_LETTERS, reason=reason)
        self._log(record, reason=reason, detail=detail)

    def close(self) -> None:
        """Let go of the producer, unless a `write` waits: that one ends by itself; close again."""
        if self._producer is not None:
            with suppress(*DRIVER_ERRORS):
                self._producer.close(
                    timeout=0
                )  # raises, and closes nothing, while one is on its way
                self._producer = None

    def _log(self, record: Any, *, reason: str, detail: str) -> None:
        self._unlogged[reason] += 1
        now_s = self._clock.monotonic_s()
        if now_s - self._logged_s.get(reason, -LOG_EVERY_S) < LOG_EVERY_S:
            return
        _log.warning(
            "record_dead_lettered",
            reason=reason,
            detail=redact(detail),
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
            linger_ms=0,
            request_timeout_ms=ms(self._timeout_s),
            delivery_timeout_ms=ms(self._timeout_s),
            max_block_ms=ms(self._timeout_s),
            max_request_size=2**30,  # what is too large is the broker's to say
        ).driver

    def _send(
        self, producer: KafkaProducer, key: bytes | None, value: bytes | None, headers: list[Any]
    ) -> None:
        if key is None and value is None:  # which the driver refuses to send
            value = b""
        sent = producer.send(self._topic, key=key, value=value, headers=headers)
        sent.get(timeout=2 * self._timeout_s)  # the driver itself gives up after one
