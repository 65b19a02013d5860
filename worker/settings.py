"""Every setting, with its unit, bounds and default. `worker.environment` fills them in."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from model.engine.config import VisionMode
from model.errors import InputError
from model.kinds import kind_of, standing_kinds
from model.types import Question
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


class Part(BaseModel):
    """A group of settings: refuses unknown names, cannot be changed, prints no input."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class CameraSettings(Part):
    """One camera."""

    url: SecretStr | None = Field(
        default=None,
        description="rtsp:// or rtsps:// address, or a video file's path; "
        "absent for a camera whose frames come by Kafka",
    )
    transport: Literal["tcp", "udp"] = Field(default="tcp", description="RTSP transport")
    loop: bool = Field(default=False, description="play a file again when it ends")
    live: bool = Field(default=True, description="play a file at its own pace, not at full speed")
    ignore: Regions = Field(
        default=(),
        description="where changes do not count, such as a burned-in clock: LEFT,TOP,RIGHT,BOTTOM "
        "in fractions of the picture, several separated by ;",
    )
    private: Regions = Field(
        default=(), description="what is blacked out before anything sees it, written likewise"
    )


class QuestionSettings(Part):
    """One standing question."""

    ask: str = Field(min_length=1, max_length=500, description="the question, in plain words")
    kind: QuestionKind = Field(
        default="yes_no", description=f"how it is answered ({', '.join(standing_kinds())})"
    )
    options: Words = Field(default=(), description="for choice: the answers, comma-separated")
    every: Duration = Field(default=5.0, description="how often it is asked")
    cameras: Words = Field(default=(), description="comma-separated camera ids; empty for all")
    unknown: Band = Field(
        default=(0.4, 0.6), description="a probability of yes inside it is published as unknown"
    )
    events: bool = Field(default=True, description="announce events on the events channel")
    event_on: str = Field(
        default="",
        description="the option (choice) or least number (count) that raises an event; "
        "yes_no needs none",
    )
    enter: Probability = Field(default=0.7, description="probability that speaks for an event")
    exit: Probability = Field(default=0.4, description="probability that speaks against it")
    confirm: NOfM = Field(default=(2, 3), description="N of the last M answers must agree")
    min_duration: DurationOrZero = Field(
        default=0.0, description="an event lasts at least this long"
    )
    cooldown: DurationOrZero = Field(default=60.0, description="pause between an end and a start")

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

    url: SecretStr = Field(
        default=SecretStr("redis://localhost:6379/0"), description="redis://, rediss:// or unix://"
    )
    prefix: Slug = Field(default="vigil", description="first word of every channel and key")
    stream_max_len: int = Field(
        default=10_000, ge=1, le=10_000_000, description="entries kept in each Redis stream"
    )
    heartbeat: Duration = Field(default=10.0, description="how often the worker's key is renewed")


class KafkaSettings(Part):
    """Frames by Kafka; off while bootstrap_servers is empty."""

    bootstrap_servers: str = Field(default="", description="host:port, comma-separated")
    topic: str = Field(default="frames", description="topic of encoded frames, keyed by camera id")
    group_id: str = Field(default="vigil", description="consumer group")
    dead_letter_topic: str = Field(
        default="", description="where records that are no frames go; empty for TOPIC-dead-letter"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="as Kafka names it"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="PLAIN", description="as Kafka names it"
    )
    sasl_username: str = Field(default="", description="SASL user")
    sasl_password: SecretStr = Field(default=SecretStr(""), description="SASL password")
    ssl_cafile: str = Field(default="", description="path of the broker's CA certificate")
    overflow: Literal["wait", "latest"] = Field(
        default="wait",
        description="wait: no frame is lost and the consumer lags under overload; "
        "latest: the newest frame wins",
    )
    max_lag: DurationOrZero = Field(
        default=0.0, description="records older than this are passed over; 0 for never"
    )
    max_cameras: int = Field(
        default=64, ge=1, le=4096, description="cameras that keys may bring up by themselves"
    )


class ModelSettings(Part):
    """The model and where it runs."""

    path: str = Field(
        default="nano",
        description="folder, or Hugging Face repository such as DAMO-NLP-SG/VideoLLaMA3-2B; "
        "nano is the bundled one",
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto, cpu, cuda or cuda:N; auto takes CUDA where there is one",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="auto is bfloat16 on CUDA and float32 on CPU"
    )
    max_tokens_per_frame: int = Field(
        default=144, ge=16, le=4096, description="token budget of a full frame; 144 is 448x252"
    )
    max_context_tokens: int = Field(
        default=16_384, ge=512, le=131_072, description="tokens after which a context retires early"
    )
    max_caption_tokens: int = Field(default=64, ge=1, le=1024, description="longest caption")
    max_answer_tokens: int = Field(default=32, ge=1, le=1024, description="longest text answer")
    threads: int = Field(
        default=0, ge=0, le=256, description="CPU threads of the model; 0 for all cores but one"
    )
    vision: VisionMode = Field(
        default="delta",
        description="delta encodes what changed against cached keys and values; full encodes whole "
        "frames; isolated lets changed patches see each other alone, for comparison",
    )
    audit_share: float = Field(
        default=0.01, ge=0, le=1, description="delta: share of frames encoded whole too, to compare"
    )
    max_drift: float = Field(
        default=0.05,
        gt=0,
        le=2,
        description="delta: 1 - cosine to tokens of whole frames that forces a refresh",
    )
    memory_budget: Size = Field(
        default=0,
        description="device memory for weights, caches and contexts, such as 20GiB; a camera that "
        "does not fit waits; 0 for no bound",
    )


class PrunerSettings(Part):
    """What of a frame is sent."""

    mode: Literal["adaptive", "last_seen", "paper"] = Field(
        default="adaptive",
        description="adaptive learns the camera's noise and compares with what the model last saw; "
        "last_seen does so with a fixed threshold; paper is DiffFP to the bit",
    )
    threshold_levels: float = Field(
        default=6.0, ge=0, le=255, description="last_seen: change of a 7x7 block, in grey levels"
    )
    refresh_ratio: float = Field(
        default=0.7, gt=0, le=1, description="share of changed tokens that makes a full frame"
    )
    max_staleness: Duration = Field(
        default=120.0,
        description="after so long an unchanged token goes to the vision cache again, where the "
        "engine keeps one",
    )
    frozen_after: Duration = Field(
        default=60.0, description="a camera whose frames are identical for so long is frozen"
    )


class LoadSettings(Part):
    """When less is done than was asked for: captions first, then detail, then frame rate."""

    max_age: Duration = Field(
        default=2.0, description="a step down where more than 5 % of frames are answered later"
    )
    recover_after: Duration = Field(default=30.0, description="calm before a step up")


class OutboxSettings(Part):
    """Where replies wait for Redis."""

    path: str = Field(
        default="vigil-outbox.sqlite", description="file; `memory` keeps it in memory"
    )
    max_bytes: int = Field(
        default=256 * 1024 * 1024, ge=64 * 1024, description="captions are dropped beyond it"
    )


class RtspSettings(Part):
    """Time limits of cameras."""

    open_timeout: Duration = Field(default=10.0, description="to connect and see the first packet")
    read_timeout: Duration = Field(default=15.0, description="without a packet")
    retry_base: Duration = Field(default=1.0, description="first pause before reconnecting")
    retry_cap: Duration = Field(default=60.0, description="longest pause before reconnecting")


class HealthSettings(Part):
    """The worker's own HTTP port."""

    bind: str = Field(default="127.0.0.1", description="address it listens on")
    port: int = Field(default=9200, ge=0, le=65535, description="0 picks a free one")
    stall: Duration = Field(
        default=120.0, description="an inference thread silent for this long ends the process"
    )


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
    )

    cameras: dict[Slug, CameraSettings] = Field(default={}, description="by camera id")
    questions: dict[Slug, QuestionSettings] = Field(default={}, description="by question id")
    caption_every: Duration = Field(default=10.0, description="how often a caption is due")
    caption_prompt: str = Field(
        default="", description="words that ask for a caption; empty for ours"
    )
    window: Duration = Field(default=180.0, description="a camera's longest context")
    sample_fps: float = Field(default=1.0, gt=0, le=30, description="frames taken per second")
    ticks: int = Field(
        default=4, ge=1, le=100, description="looks at the cameras between two frames of one"
    )
    forget_after: Duration = Field(
        default=600.0, description="a camera without frames for so long frees its memory"
    )
    worker_id: Slug = Field(
        default_factory=host_name,
        description="names this worker in messages and to Kafka, one of its own for each; "
        "empty for the host's name",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe line that is logged"
    )
    log_format: Literal["json", "console"] = Field(default="json", description="of log lines")
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
            if camera.url and scheme(camera.url) not in ("", "rtsp", "rtsps"):
                raise ValueError(
                    f"CAMERAS__{camera_id.upper()}__URL: expected rtsp://, rtsps:// "
                    "or a file's path"
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
