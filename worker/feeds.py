"""Builds the feeds from the settings: which sources there are, and how each is kept running."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from model.types import PatchGrid
from model.videollama3.grid import pin_grid
from pipeline.clips import CODEC, Clips
from pipeline.clock import Clock
from pipeline.mp4 import Piece
from pipeline.observer import UNOBSERVED, Observer
from pipeline.sources.base import NO_PAST, Past
from pipeline.sources.container import Arrival, Video
from pipeline.sources.decoding_device import DecodingDevice
from pipeline.sources.file import FileSource
from pipeline.sources.kafka import KafkaConfig, KafkaSource
from pipeline.sources.nvdec import Nvdec
from pipeline.sources.past import PastReader
from pipeline.sources.rtsp import Received, RtspSource
from pipeline.sources.rtsp_refusal import Tls
from pipeline.sources.shape import Shape
from pipeline.sources.silence import Silence
from pipeline.types import Frame, Overflow
from worker.parts import Feed, Retry
from worker.settings import Settings
from worker.site_settings import CAMERA_SOURCES, CameraSettings, CameraSource
from worker.values import file_path, scheme

WHOLE_LATE_S = 15.0


def feeds_of(
    settings: Settings,
    *,
    clock: Clock,
    observer: Observer = UNOBSERVED,
    is_held: Callable[[str], bool] = lambda _camera_id: False,
    clips: Clips | None = None,
) -> tuple[Feed, ...]:
    """Return the sources to run: one per camera with an address, one for Kafka.

    Args:
        settings: sound ones.
        clock: for all of them.
        observer: told of what is counted.
        is_held: whether a camera that a topic brings is still another worker's.
        clips: keep what RTSP cameras send; None: nothing is kept.
    """
    feeds = camera_feeds(settings, clock=clock, observer=observer, clips=clips)
    if settings.kafka.bootstrap_servers:
        feeds += (_kafka_feed(_Given(settings, clock, observer), is_held),)
    return feeds


def camera_feeds(
    settings: Settings,
    *,
    clock: Clock,
    observer: Observer = UNOBSERVED,
    clips: Clips | None = None,
) -> tuple[Feed, ...]:
    """Return a source for each camera with an address."""
    most = settings.rtsp.gpu_decoders
    gpu = int(settings.model.device.partition(":")[2] or 0)
    device = Nvdec(most=most, gpu=gpu, observer=observer) if most else None
    given = _Given(settings, clock, observer, clips, device)
    return tuple(
        _CAMERA_FEEDS[CAMERA_SOURCES[scheme(camera.url)]](given, camera_id, camera)
        for camera_id, camera in settings.cameras.items()
        if camera.url is not None
    )


@dataclass(frozen=True, slots=True)
class _Given:
    """What every feed is made from."""

    settings: Settings
    clock: Clock
    observer: Observer
    clips: Clips | None = None
    device: DecodingDevice | None = None

    @property
    def grid_of(self) -> Callable[[int, int], PatchGrid]:
        return partial(pin_grid, max_tokens=self.settings.model.max_tokens_per_frame)

    @property
    def sample_period_s(self) -> float:
        return 1.0 / self.settings.sample_fps

    @property
    def retry(self) -> Retry:
        return Retry(base_s=self.settings.rtsp.retry_base, cap_s=self.settings.rtsp.retry_cap)

    @property
    def stuck_after_s(self) -> float:
        """Twice as long as a driver may take that keeps its own time limits."""
        return 2 * (self.settings.rtsp.open_timeout + self.settings.rtsp.read_timeout)


def _file_feed(given: _Given, camera_id: str, camera: CameraSettings) -> Feed:
    return Feed(
        name=camera_id,
        camera_ids=(camera_id,),
        overflow=Overflow.LATEST if camera.live else Overflow.WAIT,
        build=lambda wanted, tell: FileSource(
            camera_id,
            file_path(_address(camera)),
            wanted=wanted,
            grid_of=given.grid_of,
            clock=given.clock,
            live=camera.live,
            loop=camera.loop,
            sample_period_s=given.sample_period_s,
            observer=given.observer,
            tell=tell,
            shape=_shape(camera),
            damaged=camera.damaged,
        ),
        is_endless=camera.loop,
        retry=given.retry,
        stuck_after_s=given.stuck_after_s,
    )


def _rtsp_feed(given: _Given, camera_id: str, camera: CameraSettings) -> Feed:
    rtsp = given.settings.rtsp
    return Feed(
        name=camera_id,
        camera_ids=(camera_id,),
        overflow=Overflow.LATEST,
        build=lambda wanted, tell: RtspSource(
            camera_id,
            _address(camera),
            wanted=wanted,
            grid_of=given.grid_of,
            clock=given.clock,
            open_timeout_s=rtsp.open_timeout,
            read_timeout_s=rtsp.read_timeout,
            transport=camera.transport,
            sample_period_s=given.sample_period_s,
            observer=given.observer,
            shape=_shape(camera),
            tls=Tls(rtsp.verify, Path(rtsp.ca_file) if rtsp.ca_file else None),
            tell=tell,
            damaged=camera.damaged,
            received=_kept_for_clips(given.clips, camera_id, camera),
            device=given.device,
        ),
        is_endless=True,
        retry=given.retry,
        stuck_after_s=given.stuck_after_s,
    )


def _kept_for_clips(clips: Clips | None, camera_id: str, camera: CameraSettings) -> Received | None:
    """Return what keeps a camera's packets; None where clips are made of pictures, or not at all.

    What is private lies in the packets, which nobody decodes on their way into a clip.
    """
    if clips is None or camera.private:
        return None

    def keep(arrival: Arrival, video: Video) -> None:
        if video.codec_context.name == CODEC:
            clips.packet(
                camera_id,
                Piece(
                    arrival.captured_at,
                    arrival.pts_s,
                    bool(arrival.packet.is_keyframe),
                    bytes(arrival.packet),
                    bytes(video.codec_context.extradata or b""),
                ),
            )

    return keep


_CAMERA_FEEDS: Mapping[CameraSource, Callable[[_Given, str, CameraSettings], Feed]] = {
    "file": _file_feed,
    "rtsp": _rtsp_feed,
}


def _shape(camera: CameraSettings) -> Shape:
    return Shape(camera.aspect, camera.rotate)


def _address(camera: CameraSettings) -> str:
    return camera.url.get_secret_value() if camera.url else ""


def _kafka_feed(given: _Given, is_held: Callable[[str], bool]) -> Feed:
    config = kafka_config(given.settings)
    silence = Silence(given.clock)  # of all connections, one after the other
    return Feed(
        name=f"kafka/{config.topic}",
        camera_ids=tuple(sorted(config.camera_ids)),
        overflow=config.overflow,
        build=lambda wanted, tell: KafkaSource(
            config=config,
            wanted=wanted,
            grid_of=given.grid_of,
            clock=given.clock,
            observer=given.observer,
            tell=tell,
            is_held=is_held,
            silence=silence,
        ),
        is_endless=True,
        retry=given.retry,
        stuck_after_s=None,  # a topic may be silent for ever; the source says which camera is
    )


def past_of(
    settings: Settings, *, clock: Clock, masked: Callable[[Frame], Frame], together: int
) -> Past:
    """Return where windows of cameras that come by Kafka are rebuilt from, so many at a time."""
    if not settings.kafka.bootstrap_servers or settings.kafka.rebuild == "none":
        return NO_PAST
    given = _Given(settings, clock, UNOBSERVED)
    return PastReader(
        kafka_config(settings),
        grid_of=given.grid_of,
        masked=masked,
        sample_period_s=given.sample_period_s,
        clock=clock,
        together=together,
    )


def kafka_config(settings: Settings) -> KafkaConfig:
    """Return where the topic is and what is taken from it."""
    kafka = settings.kafka
    with_address = frozenset(key for key, one in settings.cameras.items() if one.url is not None)
    return KafkaConfig(
        bootstrap_servers=kafka.bootstrap_servers,
        topic=kafka.topic,
        group_id=kafka.group_id,
        group_instance_id=settings.worker_id,
        dead_letter_topic=kafka.dead_letter_topic or f"{kafka.topic}-dead-letter",
        security_protocol=kafka.security_protocol,
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_username=kafka.sasl_username,
        sasl_password=kafka.sasl_password.get_secret_value(),
        ssl_cafile=kafka.ssl_cafile or None,
        camera_ids=frozenset(settings.cameras) - with_address,
        elsewhere=with_address,
        only_configured=kafka.only_configured,
        max_cameras=kafka.max_cameras,
        overflow=Overflow(kafka.overflow),
        max_pixels=kafka.max_pixels,
        shapes={key: _shape(camera) for key, camera in settings.cameras.items()},
        max_lag_s=kafka.max_lag or None,
        # as vigil ingest sends them by the same settings, and a little for their way
        whole_every_s=settings.window / 4 + WHOLE_LATE_S,
        stall_after_s=kafka.stall_after or None,
    )
