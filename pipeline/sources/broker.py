"""Connections to Kafka that fail soon, say why, and leave nothing behind.

kafka-python's constructors wait for a broker; when none comes they say only that time ran out, and
leave a thread and its sockets running.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka import errors as driver
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import KafkaNetSocket
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from pipeline.errors import SourceError, SourceReason
from pipeline.host_name import UNRESOLVED
from pipeline.redact import redact

REQUEST_TIMEOUT_S = 10.0
JOINING_S = 0.05  # for the group, at a time, while records may come

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


def ms(seconds: float) -> int:
    """Return whole milliseconds: the driver puts some of its settings on the wire as they are."""
    return int(seconds * 1000)


class _Sockets(KafkaNetSocket):  # type: ignore[misc]  # the driver has no types
    """The driver's way to a broker, which closes the sockets of connections that fail.

    The driver leaves them to the garbage collector. It takes this class for an address of a proxy.
    """

    SCHEMES = ("vigil-direct",)

    def dns_lookup(self, host: str, port: int, *_: object) -> Any:
        try:
            return super().dns_lookup(host, port, raise_error=True)
        except driver.KafkaConnectionError as exc:
            why = getattr(exc.__context__, "strerror", None) or "no such name"
        raise driver.KafkaConnectionError(UNRESOLVED.format(name=host, why=why))

    async def sock_connect(self, net: Any, sock: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().sock_connect(net, sock, *args, **kwargs)
        except BaseException:  # the end of the driver's loop is one that is no Exception
            sock.close()
            raise


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

    def abort(self) -> None:
        """Make what waits for a broker fail now; whoever waits then closes the rest. Any thread."""

        async def hang_up() -> None:
            self._connections.close()

        with suppress(RuntimeError):  # it is closed already
            self._net.call_soon_threadsafe(hang_up)

    @property
    def failure(self) -> Exception | None:
        """Why the last connection could not be made; None once one was."""
        return self._connections.failure

    @property
    def is_connected(self) -> bool:
        """Whether any broker is."""
        return any(one.connected for one in list(self._connections._conns.values()))  # noqa: SLF001 (the driver does not tell)


def poll(consumer: Any, *, timeout_s: float, max_records: int) -> Mapping[Any, list[Any]]:
    """Return what a KafkaConsumer has, by partition, of which some may have been paused.

    The driver sets aside what it has fetched of a paused partition, and takes it up again once
    what it has in hand is None. It leaves that in hand when it is used up: a partition that was
    paused while another was read would never be read again.

    While the group waits for all members to join, the driver fetches nothing. A member keeps its
    partitions until they are revoked, under the cooperative protocol, and goes on reading them. All
    that time is spent in the driver's poll: a join that ends outside of it is begun anew, by all.
    """
    fetcher = consumer._fetcher  # noqa: SLF001 (there is no other way to it)
    if not fetcher._next_partition_records:  # noqa: SLF001 (the same)
        fetcher._next_partition_records = None  # noqa: SLF001 (the same)
    coordinator = consumer._coordinator  # noqa: SLF001 (the same)
    wait_s = JOINING_S if coordinator.rejoining else timeout_s
    polled: Mapping[Any, list[Any]] = consumer.poll(timeout_ms=ms(wait_s), max_records=max_records)
    if not polled and coordinator.rejoining:
        polled, is_more = fetcher.fetched_records(max_records)
        if not is_more:
            fetcher.send_fetches()
    return polled


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
            "proxy_url": f"{_Sockets.SCHEMES[0]}://",
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
            opening.abort()

    def source_error(self, exc: Exception, *, what: str) -> SourceError:
        """Return our error for the driver's."""
        reason = next((reason for types, reason in _REASONS if isinstance(exc, types)), None)
        return SourceError(reason or "unreachable", f"{what}: {redact(str(exc), self._secret)}")


class Rebalance(ConsumerRebalanceListener):  # type: ignore[misc]  # the driver has no types
    """Told by the driver's own loop, in which nothing may block.

    A partition that was lost may be another's already, and nothing of it is committed.
    """

    def __init__(
        self,
        *,
        assigned: Callable[[Iterable[TopicPartition]], None],
        revoked: Callable[[Iterable[TopicPartition]], None],
        lost: Callable[[Iterable[TopicPartition]], None],
    ) -> None:
        self._assigned = assigned
        self._revoked = revoked
        self._lost = lost

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._assigned(assigned)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._revoked(revoked)

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self._lost(lost)
