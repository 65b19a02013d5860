"""The settings of what a worker is connected to, where messages wait for it, and of the console."""

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field, SecretStr

from pipeline.errors import ConfigError
from pipeline.publishers.redis_address import read_address, with_authorities
from worker.health import host_of, is_loopback
from worker.site_settings import Part
from worker.values import BasePath, Duration, DurationOrZero, KeepTime, OutboxPath, Size, Slug

MIN_TOKEN = 16
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


class RedisSettings(Part):
    """These settings say where messages are published."""

    url: SecretStr = SecretStr("redis://localhost:6379/0")
    """Address of the Redis that messages are published to: redis://HOST:6379/0, rediss:// for TLS,
    or unix:///PATH. Behind Sentinel: redis+sentinel://HOST:26379,HOST:26379/NAME/0, where NAME is
    the sentinels' name for the server. Options of redis-py may follow a ?. A Redis Cluster is
    refused."""
    ca_file: str = ""
    """Path of a PEM file with the certificate authorities that the certificate of a rediss://
    server is checked against; empty: those of the system."""
    prefix: Slug = "vigil"
    """First word of the name of every Redis channel and key."""
    stream_max_len: int = Field(default=10_000, ge=1, le=10_000_000)
    """Number of messages kept in each Redis stream; older ones are deleted. A camera has four
    streams, and a message takes 750 to 1100 bytes of Redis' memory: a camera whose streams are full
    takes 35 MiB at 10000, 3.5 MiB at 1000. Its keys expire a week after its worker last ran."""
    heartbeat: Duration = 10.0
    """Time between two renewals of the worker's key PREFIX:worker:ID in Redis. When the worker is
    gone, the key expires after three times this long."""

    @property
    def address(self) -> str:
        """The URL, with the certificate authorities among its options."""
        url = self.url.get_secret_value()
        return with_authorities(url, self.ca_file) if self.ca_file else url

    def mistakes(self) -> Iterator[tuple[str, str]]:
        """Yield (setting, what was expected) where the address cannot be used."""
        for setting, read in (
            ("URL", lambda: read_address(self.url.get_secret_value())),
            ("CA_FILE", lambda: self.address),
        ):
            try:
                read()
            except ConfigError as error:
                yield f"REDIS__{setting}", str(error)


class KafkaSettings(Part):
    """Frames come through Kafka where bootstrap_servers is not empty."""

    bootstrap_servers: str = ""
    """Addresses of the Kafka brokers as host:port, separated by commas; empty: Kafka is not
    used."""
    topic: str = "frames"
    """Topic to read frames from: each record is one JPEG, PNG or WebP picture, and its key is the
    camera's id."""
    group_id: str = "vigil"
    """Name of the Kafka consumer group."""
    dead_letter_topic: str = ""
    """Topic that records are copied to that are no readable picture, or of no camera to be watched;
    empty: TOPIC with -dead-letter appended, such as frames-dead-letter."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Encryption and login of the connection to Kafka."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """How the worker logs in when SECURITY_PROTOCOL is SASL_PLAINTEXT or SASL_SSL."""
    sasl_username: str = ""
    """User name to log in to Kafka with."""
    sasl_password: SecretStr = SecretStr("")
    """Password to log in to Kafka with."""
    ssl_cafile: str = ""
    """Path of a PEM file with the certificate authorities that the brokers' certificates are
    checked against; empty: those of the system."""
    overflow: Literal["wait", "latest"] = "wait"
    """What happens when records come faster than the worker handles them. wait: no sampled picture
    is skipped, and the worker falls behind; only where a camera's pictures each take 0.25 s of a
    processor, some of its own are skipped, so that the others need not wait. latest: a camera's
    older pictures are skipped in favour of its newest, those older than a minute unread."""
    max_lag: DurationOrZero = 0.0
    """Skip records whose picture was captured longer ago than this; 0s: never skip."""
    stall_after: DurationOrZero = 15.0
    """A camera of which no readable picture has come through Kafka for this long is reported as
    offline with the reason stalled, until one comes. Set it to more than the longest pause between
    two pictures of a camera. 0s: never."""
    rebuild: Literal["window", "none"] = "window"
    """What becomes of the window of a camera that Kafka brings to this worker, at a start or from
    another worker. window: it is built anew from the camera's older records, as far as the topic
    has them, while the worker has time left; until then the camera is answered by what has come
    since. none: the window grows from the first new picture on."""
    only_configured: bool = False
    """Watch only those cameras through Kafka that have settings of their own. Records of others are
    copied to the dead-letter topic."""
    max_pixels: int = Field(default=16 * 2**20, ge=4096, le=64 * 2**20)
    """Largest picture that is decoded, in pixels; the default is 4096x4096. A record with a larger
    one is copied to the dead-letter topic. While a picture is decoded, it takes up to 9 bytes of
    memory for each pixel of this limit."""
    max_cameras: int = Field(default=64, ge=1, le=4096)
    """Largest number of cameras without settings of their own that are watched through Kafka. Such
    a camera is watched as soon as a record comes with its id as the key. Records of further ones
    are copied to the dead-letter topic. A camera that has settings is always watched."""

    def mistakes(self) -> Iterator[tuple[str, str]]:
        """Yield (setting, what was expected) of what Kafka cannot be reached or read with."""
        if not self.bootstrap_servers:
            return
        for server in self.bootstrap_servers.split(","):
            host, _, port = server.strip().rpartition(":")
            if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
                yield "BOOTSTRAP_SERVERS", "expected HOST:PORT, separated by commas"
                break
        for setting, topic in (
            ("TOPIC", self.topic),
            ("DEAD_LETTER_TOPIC", self.dead_letter_topic),
        ):
            if (topic or setting == "TOPIC") and not _TOPIC.fullmatch(topic):
                yield setting, "expected up to 249 letters, digits, dots, _ and -"
        if self.dead_letter_topic == self.topic:
            yield "DEAD_LETTER_TOPIC", "expected another topic than VIGIL_KAFKA__TOPIC"
        is_login, has_login = self.security_protocol.startswith("SASL"), bool(self.sasl_username)
        if is_login and not has_login:
            yield "SASL_USERNAME", f"expected one with SECURITY_PROTOCOL={self.security_protocol}"
        if has_login and not is_login:
            yield (
                "SASL_USERNAME",
                "expected none without SECURITY_PROTOCOL=SASL_SSL or SASL_PLAINTEXT",
            )


class RtspSettings(Part):
    """These settings limit connections to cameras, and say what is trusted and what decodes."""

    open_timeout: Duration = 10.0
    """Time limit for connecting to a camera, and again for its first video data. After it, the
    camera is reported as offline with the reason timeout."""
    read_timeout: Duration = 15.0
    """When a connected camera sends no data for this long, the worker disconnects and connects
    again."""
    retry_base: Duration = 1.0
    """Pause before the first reconnection to a camera. The pause doubles with every failure, up to
    RETRY_CAP."""
    retry_cap: Duration = 60.0
    """Longest pause before a reconnection to a camera."""
    ca_file: str = ""
    """Path of a PEM file with the certificate authorities, or the certificates themselves, that
    rtsps:// cameras are checked against; empty: the authorities of the system."""
    verify: bool = True
    """For rtsps:// cameras: refuse one whose certificate is not valid for the host in its address.
    no: take any certificate; then anybody between the worker and the camera can read its
    password."""
    gpu_decoders: int = Field(default=0, ge=0, le=4096)
    """Largest number of cameras whose video is decoded by the GPU's own decoder (NVIDIA's NVDEC),
    where there is one, in H.264 and H.265. It decodes those of which every picture is needed, and
    takes memory of the GPU for each, which `vigil bench ingest` measures. The processor decodes all
    others, and a camera that the GPU fails. 0: the processor decodes everything."""


class OutboxSettings(Part):
    """These settings say where messages wait for Redis."""

    path: OutboxPath = "vigil-outbox.sqlite"
    """File where messages wait until Redis has them; each worker needs its own. A folder, which is
    there or is written with a / at its end: each of the workers that share it takes the first of
    its files 0.sqlite, 1.sqlite and so on that no other one holds. While the disk is full or
    failing messages are kept in memory. The word memory instead of a path: always there, where a
    restart loses them."""
    max_bytes: Size = Field(default=256 * 1024 * 1024, ge=64 * 1024)
    """Upper limit of the waiting messages' size, such as 256MiB. When it is reached, messages are
    lost: pictures of events first, then captions, status messages, answers, and events last."""


class EvidenceSettings(Part):
    """These settings say how long the pictures of events are kept."""

    keep: DurationOrZero = 24 * 3600.0
    """How long Redis keeps the pictures that an event's messages name: of its start, of just before
    it, the latest, and a strip of six, with private regions black. 0s: no pictures are made."""
    max_bytes: Size = Field(default=256 * 1024 * 1024, ge=64 * 1024)
    """Upper limit of the size of all of them in Redis, such as 256MiB, whatever the number of
    workers. When it is reached, the oldest are deleted. An event takes 50 to 150 kB: 256MiB are
    2000 to 5000 events. With CLIPS some MB more, and 256MiB are some 40 events."""
    clips: Literal["off", "on"] = "off"
    """on: each event has a clip too, from 5 s before its start to 5 s after. Of an RTSP camera that
    sends H.264 and has nothing private it is the camera's own video; of any other the pictures that
    the model saw, one a second, with private regions black. For it the last while of each camera is
    kept in memory, at most 32 MiB of each. off: nothing is kept, and there are no clips."""

    def mistakes(self) -> Iterator[tuple[str, str]]:
        """Yield (setting, what was expected) of what does not fit together."""
        if self.clips == "on" and not self.keep:
            yield "CLIPS", "expected off with KEEP=0s, by which nothing is kept"


class IngestBufferSettings(Part):
    """These settings say where pictures wait for Kafka."""

    path: OutboxPath = "vigil-ingest.sqlite"
    """For vigil ingest: file where pictures wait until Kafka has them; each vigil ingest needs its
    own. While its disk fails they are kept in memory, 64 MiB of them at most. The word memory
    instead of a path: always there, where a restart loses them."""
    max_bytes: Size = Field(default=1024**3, ge=1024**2)
    """For vigil ingest: upper limit of the size of the pictures that wait, such as 1GiB. When it is
    reached, the oldest are lost, and counted. A camera takes some 30 to 60 kB a second."""


class IngestSettings(Part):
    """These settings are for vigil ingest, which sends cameras' pictures to Kafka."""

    format: Literal["jpeg", "webp"] = "jpeg"
    """For vigil ingest: image format of the pictures. At the same QUALITY, webp takes a third less
    room and nine times the processor time, and more of its pictures counts as changed."""
    quality: int = Field(default=90, ge=50, le=100)
    """For vigil ingest: quality of the pictures. With jpeg at 90, a busy picture takes 33 kB, and
    1.5 % more tokens are sent to the model than without; at 95, 48 kB and 0.9 %; at 85, 27 kB and
    2.8 %."""
    whole_every: Duration = 15.0
    """For vigil ingest: a picture that is the last one bit for bit is not sent again; after this
    time it is, and after a quarter of VIGIL_WINDOW at the latest."""
    buffer: IngestBufferSettings = IngestBufferSettings()


class ConsoleSettings(Part):
    """These settings are for vigil console, the page that shows what is on Redis."""

    bind: str = "127.0.0.1"
    """For vigil console: network address that the page is served at. Any but a loopback address
    needs TOKEN. In a container it is 0.0.0.0, as docker-compose.yml has it."""
    port: int = Field(default=9300, ge=1, le=65535)
    """For vigil console: port that the page is served at."""
    token: SecretStr = SecretStr("")
    """For vigil console: what a person logs in with, 16 characters at least, such as openssl rand
    -hex 24 prints. Empty: nobody logs in, and the page is served to this machine alone."""
    base_path: BasePath = ""
    """For vigil console: path that a reverse proxy serves the page under, such as /vigil; empty: it
    has the whole host. The proxy may take the path off or leave it on."""
    path: str = "vigil-console.sqlite"
    """For vigil console: file of the history. Each vigil console needs its own."""
    keep: KeepTime = 30 * 24 * 3600.0
    """For vigil console: what is older than this is deleted from the history. An event is as old as
    its end, and stays while it goes on."""
    max_bytes: Size = Field(default=2 * 1024**3, ge=1024**2)
    """For vigil console: upper limit of the history's size, such as 2GiB. When it is reached, the
    oldest messages are deleted. A message takes 70 to 150 bytes."""

    def mistakes(self) -> Iterator[tuple[str, str]]:
        """Yield (setting, what was expected) where the page would be open to others."""
        token = self.token.get_secret_value()
        if token and len(token) < MIN_TOKEN:
            yield "TOKEN", f"expected {MIN_TOKEN} characters at least"
        if not token and not is_loopback(host_of(self.bind)):
            yield (
                "TOKEN",
                "expected one, since VIGIL_CONSOLE__BIND is reached from other machines: without a "
                "token the console listens on a loopback address alone, such as 127.0.0.1",
            )
