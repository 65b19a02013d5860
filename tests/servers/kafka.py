"""A real Kafka broker for the tests: one process in KRaft mode, its jars fetched by Maven.

`KAFKA_BOOTSTRAP_SERVERS` names a broker that is there already, `KAFKA_HOME` a distribution whose
jars are to be used; without either the jars are fetched once, to ~/.cache/vigil-tests.
"""

import gc
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

with warnings.catch_warnings():
    # kafka-python reads its schemas by functions that are deprecated in Python 3.11 alone.
    warnings.filterwarnings("ignore", "(read|open)_text is deprecated", DeprecationWarning)
    from kafka import KafkaAdminClient, KafkaProducer
    from kafka.admin import NewTopic

VERSION = "3.9.1"
JARS = Path.home() / ".cache" / "vigil-tests" / f"kafka-{VERSION}"
CLUSTER_ID = "dmlnaWwtdGVzdHMtMDAwMQ"
SASL_USER = "vigil"
SASL_PASSWORD = "s3cret/of-the-tests"
START_TIMEOUT_S = 90.0

POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>vigil.tests</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""

PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
log.dirs={folder}
num.network.threads=2
num.io.threads=2
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.enable=false
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
"""


@dataclass
class KafkaBroker:
    """A broker of the tests' own.

    Attributes:
        bootstrap: host:port without credentials.
        sasl_bootstrap: host:port for SASL PLAIN with SASL_USER and SASL_PASSWORD.
        folder: configuration, log and data.
    """

    bootstrap: str
    sasl_bootstrap: str
    folder: Path
    jars: str
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def start(self) -> None:
        """Run it, if it does not, until it answers; what was produced before a stop is there."""
        if self._process is not None:
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", str(self._properties)], stdout=log, stderr=log
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill it, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def format(self) -> None:
        with self._log.open("ab") as log:
            subprocess.run(
                [
                    *self._java,
                    "kafka.tools.StorageTool",
                    *("format", "-t", CLUSTER_ID, "-c", str(self._properties)),
                ],
                stdout=log,
                stderr=log,
                check=True,
                timeout=START_TIMEOUT_S,
            )

    @property
    def _log(self) -> Path:
        return self.folder / "broker.log"

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _java(self) -> list[str]:
        # Two cores and a few seconds of life: the compiler's last tier would only cost.
        return [
            "java",
            *("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            *("-cp", self.jars),
        ]

    def _wait_until_it_answers(self) -> None:
        host, port = self.bootstrap.split(":")
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                pytest.fail(f"the Kafka broker does not start:\n{self._log.read_text()[-3000:]}")
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                break
        KafkaAdminClient(bootstrap_servers=self.bootstrap).close()


def create_topic(
    bootstrap: str, name: str, *, num_partitions: int = 1, max_message_bytes: int = 2**20
) -> None:
    topic = NewTopic(
        name, num_partitions, 1, topic_configs={"max.message.bytes": str(max_message_bytes)}
    )
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.create_topics([topic])
    finally:
        admin.close()


@dataclass(frozen=True)
class Sent:
    """A record to produce."""

    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp_ms: int | None = None
    partition: int | None = None


def produce(
    bootstrap: str, topic: str, records: Iterable[Sent], *, compression: str | None = None
) -> None:
    """Write records in order, compressed as Kafka names it; wait until the broker has them."""
    producer = KafkaProducer(
        bootstrap_servers=bootstrap, max_request_size=2**24, compression_type=compression
    )
    try:
        futures = [
            producer.send(
                topic,
                value=record.value,
                key=record.key,
                headers=list(record.headers),
                timestamp_ms=record.timestamp_ms,
                partition=record.partition,
            )
            for record in records
        ]
        for future in futures:
            future.get(timeout=30)
    finally:
        producer.close(timeout=5)


@pytest.fixture(scope="session")
def new_kafka_broker() -> Iterator[Callable[[], KafkaBroker]]:
    """Make brokers that a test may stop and start; all are killed at the end."""
    brokers: list[KafkaBroker] = []

    def new() -> KafkaBroker:
        jars = _jars()
        folder = Path(tempfile.mkdtemp(prefix="vigil-kafka-"))
        plain, sasl, controller = _free_ports(3)
        (folder / "server.properties").write_text(
            PROPERTIES.format(
                plain=plain,
                sasl=sasl,
                controller=controller,
                folder=folder / "data",
                user=SASL_USER,
                password=SASL_PASSWORD,
            )
        )
        broker = KafkaBroker(f"127.0.0.1:{plain}", f"127.0.0.1:{sasl}", folder, jars)
        brokers.append(broker)
        broker.format()
        broker.start()
        return broker

    yield new
    for broker in brokers:
        broker.stop()
        shutil.rmtree(broker.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka_broker(new_kafka_broker: Callable[[], KafkaBroker]) -> KafkaBroker:
    """The session's own broker, which no test may stop."""
    return new_kafka_broker()


@pytest.fixture(scope="session")
def kafka_bootstrap(request: pytest.FixtureRequest) -> str:
    """host:port of a broker that stays up for the session."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        return given
    broker: KafkaBroker = request.getfixturevalue("kafka_broker")
    return broker.bootstrap


@pytest.fixture
def kafka_topic(kafka_bootstrap: str) -> str:
    """An empty topic of one partition; its dead-letter topic is named after it with `-dead`."""
    name = f"frames-{uuid.uuid4().hex[:12]}"
    create_topic(kafka_bootstrap, name)
    create_topic(kafka_bootstrap, f"{name}-dead")
    return name


@pytest.fixture
def every_socket_is_closed(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Find the sockets that a test left to the garbage collector: the warning is an error."""
    caplog.set_level(logging.CRITICAL, logger="kafka")  # a log record would hold on to one
    yield
    gc.collect()


def _jars() -> str:
    """Return a class path with Kafka's server on it."""
    if shutil.which("java") is None:
        pytest.skip("there is no java on the PATH to run a Kafka broker with")
    home = os.environ.get("KAFKA_HOME")
    if home:
        return str(Path(home) / "libs" / "*")
    if not JARS.exists():
        _fetch_jars()
    return str(JARS / "*")


def _fetch_jars() -> None:
    if shutil.which("mvn") is None:
        pytest.skip(f"there is no mvn on the PATH to fetch Kafka {VERSION} with")
    JARS.parent.mkdir(parents=True, exist_ok=True)
    # Fetched beside and renamed: a fetch that was cut short, or two at once, leave nothing broken.
    with tempfile.TemporaryDirectory(dir=JARS.parent) as folder:
        (Path(folder) / "pom.xml").write_text(POM)
        fetched = subprocess.run(
            ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=jars"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if fetched.returncode:
            pytest.skip(f"mvn cannot fetch Kafka {VERSION}: {fetched.stdout[-500:]}")
        if not JARS.exists():
            (Path(folder) / "jars").rename(JARS)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
