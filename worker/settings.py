"""Every setting, with its unit, bounds and default. `worker.environment` fills them in."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from model.engine.config import VisionMode
from model.errors import InputError
from model.kinds import kind_of, standing_kinds
from model.types import Question
from pipeline.pruner import PrunerMode
from worker.values import (
    Band,
    Duration,
    DurationOrZero,
    NOfM,
    Probability,
    QuestionKind,
    Regions,
    Size,
    Slug,
    Words,
    host_name,
    scheme,
)

PREFIX = "VIGIL_"

CameraSource = Literal["file", "rtsp"]
CAMERA_SOURCES: Mapping[str, CameraSource] = {"": "file", "rtsp": "rtsp", "rtsps": "rtsp"}
"""The source of a camera by its address's scheme, of which a path has none. `worker.feeds` builds
each."""


class Part(BaseModel):
    """A group of settings: refuses unknown names, cannot be changed, prints no input."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )


class CameraSettings(Part):
    """One camera."""

    url: SecretStr | None = None
    """The camera's rtsp:// or rtsps:// address, or the path of a video file; leave it out for a
    camera whose frames come through Kafka."""
    transport: Literal["tcp", "udp"] = "tcp"
    """How RTSP video is carried over the network."""
    loop: bool = False
    """For a video file: play it again when it ends."""
    live: bool = True
    """For a video file: play it at its own speed, as a camera would send it, and not as fast as it
    can be read."""
    ignore: Regions = ()
    """Areas whose changes are ignored, such as a clock in the picture: LEFT,TOP,RIGHT,BOTTOM as
    fractions of the picture from 0 to 1. Semicolons separate several areas."""
    private: Regions = ()
    """Areas painted black before the model or anything else sees the picture; written like
    IGNORE."""


class QuestionSettings(Part):
    """One standing question."""

    ask: str = Field(min_length=1, max_length=500)
    """The question, in plain words."""
    kind: QuestionKind = Field(
        default="yes_no", description=f"Form of the answer. One of: {', '.join(standing_kinds())}."
    )
    options: Words = ()
    """For kind choice: the possible answers, separated by commas."""
    every: Duration = 5.0
    """Time between two askings."""
    cameras: Words = ()
    """Ids of the cameras it is asked about, separated by commas; empty for all."""
    unknown: Band = (0.4, 0.6)
    """For kind yes_no: while the probability of yes lies in this range, the answer is published as
    unknown."""
    events: bool = True
    """Publish events (start, update, end) for this question, beside its answers."""
    event_on: str = ""
    """The answer that makes an event: one of OPTIONS for kind choice, the smallest number for kind
    count; for yes_no it is always yes."""
    enter: Probability = 0.7
    """An event can start when its probability is at least this."""
    exit: Probability = 0.4
    """An event can end when its probability is at most this."""
    confirm: NOfM = (2, 3)
    """An event starts or ends only when N of the last M answers say so, written N/M."""
    min_duration: DurationOrZero = 0.0
    """An event does not end before it has lasted this long."""
    cooldown: DurationOrZero = 60.0
    """Shortest pause between the end of an event and the start of the next one."""

    @model_validator(mode="after")
    def _fits(self) -> "QuestionSettings":
        kind = kind_of(self.kind)
        try:
            kind.check(Question(self.kind, self.ask, self.options))
            kind.target(self.event_on, self.options)
        except InputError as error:
            name, _, expected = str(error).partition(": ")
            raise ValueError(f"{name.upper()}: {expected}") from None
        if self.exit > self.enter:
            raise ValueError("EXIT: expected at most ENTER")
        return self


class RedisSettings(Part):
    """Where replies go."""

    url: SecretStr = SecretStr("redis://localhost:6379/0")
    """Address of the Redis that messages are published to: redis://, rediss:// (TLS) or unix://."""
    prefix: Slug = "vigil"
    """First word of the name of every Redis channel and key."""
    stream_max_len: int = Field(default=10_000, ge=1, le=10_000_000)
    """Number of messages kept in each Redis stream; older ones are deleted."""
    heartbeat: Duration = 10.0
    """How often the worker renews its key in Redis; the key expires after three times as long,
    which shows that the worker is gone."""


class KafkaSettings(Part):
    """Frames by Kafka; off while bootstrap_servers is empty."""

    bootstrap_servers: str = ""
    """Addresses of the Kafka brokers as host:port, separated by commas; empty: Kafka is not
    used."""
    topic: str = "frames"
    """Topic to read frames from: each record is one JPEG, PNG or WebP picture, its key the camera's
    id."""
    group_id: str = "vigil"
    """Name of the Kafka consumer group."""
    dead_letter_topic: str = ""
    """Topic that records without a readable picture are moved to; empty: the topic's name with
    -dead-letter behind it."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Encryption and login of the connection to Kafka."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """How the worker logs in, with a SASL security protocol."""
    sasl_username: str = ""
    """User name to log in to Kafka with."""
    sasl_password: SecretStr = SecretStr("")
    """Password to log in to Kafka with."""
    ssl_cafile: str = ""
    """Path of the certificate authority's file (PEM) that the brokers' certificates are checked
    with; empty: the system's."""
    overflow: Literal["wait", "latest"] = "wait"
    """What happens when the worker is slower than the topic. wait: every frame is analysed and the
    worker falls behind. latest: frames are skipped in favour of each camera's newest."""
    max_lag: DurationOrZero = 0.0
    """Skip records that are older than this; 0: never skip."""
    max_cameras: int = Field(default=64, ge=1, le=4096)
    """Upper limit of cameras that are watched without settings of their own, because records came
    with their id as the key."""


class ModelSettings(Part):
    """The model and where it runs."""

    path: str = "nano"
    """Folder of the model, or its name on Hugging Face such as DAMO-NLP-SG/VideoLLaMA3-2B; nano is
    the small bundled model, which knows only its rendered demo world."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """Where the model runs: cpu, cuda, cuda:N for GPU number N, or auto for the GPU if there is
    one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the model; auto is bfloat16 on a GPU and float32 on a CPU."""
    max_tokens_per_frame: int = Field(default=144, ge=16, le=4096)
    """Upper limit of tokens for one picture. A token covers 28x28 pixels, and a larger picture is
    scaled down: 144 tokens are 448x252 pixels."""
    max_context_tokens: int = Field(default=16_384, ge=512, le=131_072)
    """Upper limit of tokens that the model remembers of one camera. Where much moves, it therefore
    looks back on less than VIGIL_WINDOW."""
    max_caption_tokens: int = Field(default=64, ge=1, le=1024)
    """Upper limit of a caption's length, in tokens. An English word is one or two of them."""
    max_answer_tokens: int = Field(default=32, ge=1, le=1024)
    """Upper limit of the length of an answer to a question of kind text, in tokens."""
    threads: int = Field(default=0, ge=0, le=256)
    """Number of CPU threads the model computes with; 0: one fewer than the machine has cores."""
    vision: VisionMode = "delta"
    """What is computed of each picture. delta: only the parts that changed, which is fast. full:
    the whole picture, which is exact. isolated: the changed parts without their surroundings, for
    comparisons."""
    audit_share: float = Field(default=0.01, ge=0, le=1)
    """For vision delta: share of pictures that are also computed whole, to measure how far delta is
    off."""
    max_drift: float = Field(default=0.05, gt=0, le=2)
    """For vision delta: when a picture that was computed both ways differs by more than this (1 -
    cosine similarity), the camera's next picture is computed whole."""
    min_mass: Probability = 0.1
    """Smallest probability that the model must give to answering at all. An answer below it is
    published as unknown, with the reason no_answer, and moves no event."""
    memory_budget: Size = 0
    """Upper limit of the device's memory for the model and all cameras, such as 20GiB. A camera
    that does not fit waits until there is room. 0: no limit."""


class PrunerSettings(Part):
    """What of a frame is sent."""

    mode: PrunerMode = "adaptive"
    """Which parts of a picture count as changed. adaptive: those that differ from what the model
    last saw by more than the camera's own noise, which is learned. last_seen: those that differ by
    more than THRESHOLD_LEVELS. paper: as VideoLLaMA3's own DiffFP decides."""
    threshold_levels: float = Field(default=6.0, ge=0, le=255)
    """For mode last_seen: by how many grey levels (0 to 255) a block of 7x7 pixels must differ to
    count as changed."""
    refresh_ratio: float = Field(default=0.7, gt=0, le=1)
    """When at least this share of a picture has changed, all of it is sent."""
    max_staleness: Duration = 120.0
    """For vision delta: an unchanged part of the picture is computed again after this time. Nothing
    gets so old while half of WINDOW is no longer: all of the picture is computed that often."""
    frozen_after: Duration = 60.0
    """A camera is reported as frozen when its pictures have been identical for this long."""


class LoadSettings(Part):
    """When less is done than was asked for: captions first, then detail, then frame rate."""

    max_age: Duration = 2.0
    """The worker is overloaded when more than 5 % of its pictures are older than this by the time
    they are answered. It then gives up captions, faint changes and frame rate, in this order, until
    it keeps up."""
    recover_after: Duration = 30.0
    """Time without overload after which the worker takes one of these steps back."""


class OutboxSettings(Part):
    """Where replies wait for Redis."""

    path: str = "vigil-outbox.sqlite"
    """File where messages wait until Redis has them; memory: keep them in memory, where a restart
    loses them."""
    max_bytes: int = Field(default=256 * 1024 * 1024, ge=64 * 1024)
    """Upper limit of the waiting messages, in bytes. When it is reached, captions are dropped first
    and events last."""


class RtspSettings(Part):
    """Time limits of cameras."""

    open_timeout: Duration = 10.0
    """A camera is unreachable when this time passes between connecting and the first video data."""
    read_timeout: Duration = 15.0
    """A connected camera that sends no data for this long is disconnected and tried again."""
    retry_base: Duration = 1.0
    """Pause before the first reconnection to a camera; it doubles with every failure."""
    retry_cap: Duration = 60.0
    """Longest pause before a reconnection to a camera."""


class HealthSettings(Part):
    """The worker's own HTTP port."""

    bind: str = "127.0.0.1"
    """Network address of the HTTP server for health, status and metrics. 0.0.0.0 makes it reachable
    from other machines."""
    port: int = Field(default=9200, ge=0, le=65535)
    """TCP port of that HTTP server; 0: any free port."""
    stall: Duration = 120.0
    """The process ends with exit status 1 when the model has made no progress for this long, so
    that it is restarted."""


class Settings(BaseSettings):
    """All of them. Built by `load`, never read from anywhere else."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        enable_decoding=False,
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )

    cameras: dict[Slug, CameraSettings] = Field(default={})
    """By camera id."""
    questions: dict[Slug, QuestionSettings] = Field(default={})
    """By question id."""
    caption_every: Duration = 10.0
    """Time between two captions of a camera; none is written while nothing changes."""
    caption_prompt: str = ""
    """The request for a caption that the model is given; empty: the built-in words."""
    window: Duration = 180.0
    """How far back the model remembers a camera. An answer is about at least half of this time and
    at most all of it."""
    sample_fps: float = Field(default=1.0, gt=0, le=30)
    """Pictures taken per second of each camera."""
    ticks: int = Field(default=4, ge=1, le=100)
    """Number of turns that the time between two pictures of a camera is divided into; the cameras
    are spread over the turns. More turns give answers sooner, fewer turns compute more cameras
    together."""
    forget_after: Duration = 600.0
    """The model forgets a camera of which no picture has come for this long."""
    worker_id: Slug = Field(default_factory=host_name)
    """Name of this worker in its messages and to Kafka, different for every worker; empty: the
    host's name."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Log lines less severe than this are left out."""
    log_format: Literal["json", "console"] = "json"
    """Form of a log line: JSON for machines, or text for people."""
    redis: RedisSettings = RedisSettings()
    kafka: KafkaSettings = KafkaSettings()
    model: ModelSettings = ModelSettings()
    pruner: PrunerSettings = PrunerSettings()
    load: LoadSettings = LoadSettings()
    outbox: OutboxSettings = OutboxSettings()
    rtsp: RtspSettings = RtspSettings()
    health: HealthSettings = HealthSettings()

    @model_validator(mode="after")
    def _fits(self) -> "Settings":
        for question_id, question in self.questions.items():
            if question_id == "caption":
                raise ValueError("QUESTIONS__CAPTION: expected another id, captions are built in")
            for camera_id in question.cameras:
                if camera_id not in self.cameras:
                    known = ", ".join(sorted(self.cameras)) or "none"
                    raise ValueError(
                        f"QUESTIONS__{question_id.upper()}__CAMERAS: expected ids of configured "
                        f"cameras ({known})"
                    )
        for camera_id, camera in self.cameras.items():
            if camera.url and scheme(camera.url) not in CAMERA_SOURCES:
                schemes = ", ".join(f"{name}://" for name in CAMERA_SOURCES if name)
                raise ValueError(
                    f"CAMERAS__{camera_id.upper()}__URL: expected {schemes} or a file's path"
                )
            if camera.url is None and not self.kafka.bootstrap_servers:
                raise ValueError(
                    f"CAMERAS__{camera_id.upper()}__URL: expected an address, since "
                    "VIGIL_KAFKA__BOOTSTRAP_SERVERS is not set either"
                )
        if scheme(self.redis.url) not in ("redis", "rediss", "unix"):
            raise ValueError("REDIS__URL: expected redis://, rediss:// or unix://")
        if self.rtsp.retry_base > self.rtsp.retry_cap:
            raise ValueError("RTSP__RETRY_BASE: expected at most VIGIL_RTSP__RETRY_CAP")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 (the names are pydantic-settings')
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what `worker.environment` passes and nothing else: it has checked every name."""
        return (init_settings,)
