"""Every setting, with its unit, bounds and default. `worker.environment` fills them in.

Those of a site's cameras and questions are in `site_settings.py`, those of what the worker is
connected to in `connection_settings.py`.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from model.engine.config import VisionMode
from pipeline.caption_gate import When
from pipeline.pruner import PrunerMode
from worker.connection_settings import (
    ConsoleSettings,
    EvidenceSettings,
    IngestSettings,
    KafkaSettings,
    OutboxSettings,
    RedisSettings,
    RtspSettings,
)
from worker.fidelity import Fidelity, at_fidelity, held_window_s
from worker.site_settings import (
    CameraSettings,
    Part,
    QuestionSettings,
    event_notes,
)
from worker.values import (
    Device,
    Duration,
    DurationOrZero,
    Id,
    MemoryBudget,
    Probability,
    Share,
    Slug,
    host_name,
)

PREFIX = "VIGIL_"
UNKNOWN_CAMERAS = "expected ids of configured cameras"


class ModelSettings(Part):
    """These settings choose the model, its limits, and where it runs."""

    path: str = ""
    """Folder of the model, or its name on Hugging Face such as DAMO-NLP-SG/VideoLLaMA3-2B. The
    worker starts with no other than is named here; nano is the small bundled demo model, which
    knows only its rendered world."""
    revision: str = ""
    """For a model on Hugging Face: the branch, tag or commit to take; empty: its main branch as it
    is at the start. A commit pins the model."""
    device: Device = "auto"
    """Where the model runs: cpu, cuda, cuda:N for GPU number N, or auto for the GPU if there is
    one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the model; auto is bfloat16 on a GPU and float32 on a CPU."""
    fp8_products: bool = False
    """Keep the model's weights in 8 bits (FP8) and multiply in them: half the memory for weights,
    and faster for a large model. Answers change a little: measure yours first. It needs a GPU of
    compute capability 8.9 or later (Ada, Hopper), and DTYPE=auto or bfloat16."""
    fp8_keys: bool = False
    """Keep what the model remembers of the cameras in 8 bits (FP8): about half the memory for each
    camera. Answers change a little: measure yours first. It needs the same kinds of GPU."""
    max_tokens_per_frame: int = Field(default=144, ge=16, le=4096)
    """Upper limit of tokens for one picture. A token covers 28x28 pixels, and a larger picture is
    scaled down: 144 tokens are 448x252 pixels."""
    max_context_tokens: int = Field(default=16_384, ge=512, le=131_072)
    """Upper limit of tokens that the model remembers of one camera. A camera with much movement
    reaches this limit sooner. The model then looks back on less than VIGIL_WINDOW."""
    max_caption_tokens: int = Field(default=64, ge=1, le=1024)
    """Upper limit of a caption's length, in text tokens. An English word is one or two text
    tokens."""
    max_answer_tokens: int = Field(default=32, ge=1, le=1024)
    """Upper limit of the length of an answer to a question of kind text, in text tokens."""
    threads: int = Field(default=0, ge=0, le=256)
    """Number of CPU threads the model computes with; 0: one fewer than the machine has cores, and
    one alone where the model runs on a GPU."""
    vision: VisionMode = "delta"
    """What is computed of each picture. delta: only the parts that changed, which is fast. full:
    the whole picture, which is exact. isolated: the changed parts without their surroundings, for
    comparisons."""
    audit_share: Probability = 0.01
    """With VISION=delta: share (0 to 1) of the partly computed pictures that are also computed
    whole. Such an audit measures the error of delta."""
    max_drift: float = Field(default=0.05, gt=0, le=2)
    """With VISION=delta: when the two results of an audit differ by more than this (1 - cosine
    similarity), the result of the whole picture replaces the other."""
    min_mass: Probability = 0.1
    """Smallest probability that the model must give to answering at all. An answer below it is
    published as unknown, with the reason no_answer, and moves no event."""
    memory_budget: MemoryBudget = 0
    """Most memory of the device that the model and all cameras may use: 20GiB, or 80% of what the
    device has; 0: no limit. A camera that does not fit waits until there is room. Where cameras
    turn out busier than was expected, their answers are about shorter stretches of time. On a
    processor, and on a GPU without Triton, each sentence that is being said takes the memory of
    what its camera remembers once more, beside this."""


class PrunerSettings(Part):
    """These settings decide which parts of a picture are sent to the model."""

    mode: PrunerMode = "adaptive"
    """Which parts of a picture count as changed. adaptive: those that differ from what the model
    last saw by more than the camera's own noise, which is learned. last_seen: those that differ by
    more than THRESHOLD_LEVELS. paper: by DiffFP, the rule of the VideoLLaMA3 paper."""
    threshold_levels: float = Field(default=6.0, ge=0, le=255)
    """For mode last_seen: by how many grey levels (0 to 255) a block of 7x7 pixels must differ to
    count as changed."""
    refresh_ratio: Share = Field(default=0.7, gt=0, le=1)
    """When at least this share of a picture has changed, all of it is sent."""
    refresh_every: DurationOrZero = 0.0
    """All of a picture is sent at least this often, whatever changed; 0s: only when a large part of
    it has changed."""
    max_staleness: Duration = 120.0
    """With VIGIL_MODEL__VISION=delta: an unchanged part of the picture is computed again after this
    time. Of no effect from half of VIGIL_WINDOW on: all of the picture is computed that often."""
    frozen_after: Duration = 60.0
    """A camera is reported as frozen when its pictures have been identical for this long."""


class LoadSettings(Part):
    """These settings decide when the worker does less than it was asked to."""

    max_age: Duration = 2.0
    """The worker counts as overloaded when more than 5 % of its pictures are older than this,
    counted from their arrival, by the time the worker is done with them. It is also overloaded when
    more than 5 % of them are replaced by newer ones before that. It then takes up to three steps,
    one after the other, until it keeps up: it writes fewer captions, it ignores faint changes, it
    takes half as many pictures."""
    recover_after: Duration = 30.0
    """Time without overload after which the worker undoes the last of the steps named at
    MAX_AGE."""


class HealthSettings(Part):
    """These settings describe the worker's own HTTP port, and when it gives up."""

    bind: str = "127.0.0.1"
    """Network address of the HTTP server for health, status and metrics. 0.0.0.0 makes it reachable
    from other machines; :: too, also by IPv6. In a container leave it at the image's 0.0.0.0:
    127.0.0.1 there is reached from inside the container alone."""
    port: int = Field(default=9200, ge=0, le=65535)
    """TCP port of that HTTP server; 0: any free port. docker-compose.yml publishes the container's
    port 9200 and no other."""
    stall: Duration = 120.0
    """When the model has made no progress for this long, the process ends with exit status 1.
    docker-compose.yml tells Docker to restart it; elsewhere, systemd or the like must do so. Where
    native code hangs, the lines on stderr that begin with Timeout say in which function."""


class Settings(BaseSettings):
    """Every setting of a worker. `worker.environment.load` builds this, and nothing else does."""

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
    fidelity: Fidelity = "fast"
    """How closely the model is shown what it was trained on. reference: as VideoLLaMA3 does it,
    VIGIL_PRUNER__MODE=paper and VIGIL_MODEL__VISION=full; many more tokens are sent, so that the
    window may be cut short. balanced: VIGIL_MODEL__VISION=full and VIGIL_PRUNER__REFRESH_EVERY=30s.
    fast: the defaults. Each of these settings still wins where it is set."""
    caption_every: Duration = 10.0
    """Time between two captions of a camera. No caption is written while nothing changes. Captions
    cannot be switched off; the longest time is 168h."""
    caption_when: When = "periodic"
    """What makes a caption due. periodic: VIGIL_CAPTION_EVERY. news: the same, but only once as
    many tokens were sent as an eighth of a picture has; so a quiet camera is not described. model:
    the model itself says after each picture whether something is worth saying, whatever
    VIGIL_CAPTION_EVERY; refused with a model that did not learn it (`"speaks": true` in its
    vigil.json)."""
    caption_prompt: str = ""
    """The words with which the model is asked for a caption; empty: the built-in words."""
    window: Duration = 180.0
    """How far back the model remembers a camera. An answer looks back on between half of this time
    and all of it; on less in the first minutes, and where VIGIL_MODEL__MAX_CONTEXT_TOKENS is
    reached first."""
    sample_fps: float = Field(default=1.0, gt=0, le=30)
    """How many pictures per second are taken from each camera."""
    ticks: int = Field(default=4, ge=1, le=100)
    """Number of ticks (looks of the worker at the cameras) between two pictures of a camera. The
    cameras are spread over the ticks. With more ticks, answers come sooner. With fewer ticks, more
    cameras are computed together."""
    forget_after: Duration = 600.0
    """The model forgets a camera when no picture of it has come for this long. An event ends
    (camera_lost) when no sound answer has come for this long: of a camera that is away, frozen,
    damaged or without memory, and of a model that does not answer, none is sound."""
    control: Literal["off", "on"] = "off"
    """on: questions are put, changed and removed, and cameras paused, by commands on Redis while
    the worker runs (deploy/MESSAGES.md): whoever may write there may do so. What they changed is
    kept on Redis, over these settings. off: neither is looked at."""
    worker_id: Id = Field(default_factory=host_name)
    """Name of this worker in its messages and to Kafka. Give every worker a different name. Empty:
    the host's name, or where VIGIL_OUTBOX__PATH is a folder a name that goes with the worker's
    file, such as worker-0-3f9c2a. Where it is set and workers share such a folder, the one with
    1.sqlite has -1 behind it, and so on. Open events and cooldowns do not depend on the name."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Log lines less severe than this are left out."""
    log_format: Literal["json", "console"] = "json"
    """Form of a log line: json, for machines, or console, plain text for people."""
    redis: RedisSettings = RedisSettings()
    kafka: KafkaSettings = KafkaSettings()
    model: ModelSettings = ModelSettings()
    pruner: PrunerSettings = PrunerSettings()
    load: LoadSettings = LoadSettings()
    outbox: OutboxSettings = OutboxSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    ingest: IngestSettings = IngestSettings()
    rtsp: RtspSettings = RtspSettings()
    console: ConsoleSettings = ConsoleSettings()
    health: HealthSettings = HealthSettings()

    @model_validator(mode="before")
    @classmethod
    def _at_its_fidelity(cls, given: Mapping[str, object]) -> Mapping[str, object]:
        return at_fidelity(given)

    def mistakes(self) -> Iterator[tuple[str, str]]:
        """Yield (variable without its prefix, what was expected) of what does not fit together."""
        for question_id, question in self.questions.items():
            name = f"QUESTIONS__{question_id.upper()}"
            if question_id == "caption":
                yield name, "expected another id, captions are built in"
            yield from ((f"{name}__{setting}", words) for setting, words in question.mistakes())
            if not set(question.cameras) <= set(self.cameras):
                known = ", ".join(sorted(self.cameras)) or "none"
                yield f"{name}__CAMERAS", f"{UNKNOWN_CAMERAS} ({known})"
        for camera_id, camera in self.cameras.items():
            if camera.url is None and not self.kafka.bootstrap_servers:
                yield (
                    f"CAMERAS__{camera_id.upper()}__URL",
                    "expected an address, since VIGIL_KAFKA__BOOTSTRAP_SERVERS is not set either",
                )
        yield from self.redis.mistakes()
        if self.rtsp.retry_base > self.rtsp.retry_cap:
            yield "RTSP__RETRY_BASE", "expected at most VIGIL_RTSP__RETRY_CAP"
        yield from ((f"KAFKA__{setting}", words) for setting, words in self.kafka.mistakes())
        yield from ((f"EVIDENCE__{setting}", words) for setting, words in self.evidence.mistakes())

    def notes(self) -> list[str]:
        """Say, a line each, what these settings do that nobody may have meant."""
        window = self.window_note()
        return [*([window] if window else []), *event_notes(self.questions)]

    def window_note(self) -> str | None:
        """Say how long a window of whole frames the tokens hold; None where it is not cut."""
        model = self.model
        held_s = held_window_s(
            max_context_tokens=model.max_context_tokens,
            max_tokens_per_frame=model.max_tokens_per_frame,
            sample_fps=self.sample_fps,
        )
        if self.pruner.mode != "paper" or held_s >= self.window:
            return None
        return (
            f"window of {held_s} s at most, not of {self.window:g} s: {model.max_context_tokens} "
            f"tokens hold no more pictures of {model.max_tokens_per_frame} tokens"
        )

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
