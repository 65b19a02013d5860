"""From settings to concrete parts: the only file that knows the classes behind the stages."""

import random
import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import structlog
import torch

from model import Engine, EngineConfig, Question
from model.kinds import CAPTION, kind_of
from model.videollama3.patches import pin_grid
from pipeline.admission_backlog import AdmissionBacklog
from pipeline.clock import Clock
from pipeline.errors import ConfigError
from pipeline.events import EventMachine, EventRule
from pipeline.lane import Lanes
from pipeline.load import Load
from pipeline.observer import (
    LOAD_LEVEL,
    OUTBOX_BYTES,
    OUTBOX_DEPTH,
    OUTBOX_OLDEST,
    UNOBSERVED,
    Observer,
)
from pipeline.outbox import Outbox
from pipeline.pruner import Pruner
from pipeline.publishers.redis import RedisPublisher
from pipeline.questions import CAPTION_ID, StandingQuestion
from pipeline.replies import state_name
from pipeline.runner import Runner
from pipeline.sources.file import FileSource
from pipeline.sources.kafka import KafkaConfig, KafkaSource
from pipeline.sources.rtsp import RtspSource
from pipeline.ticks import ASKED_TOGETHER, ASKED_TOGETHER_ON_CPU, Ticks
from pipeline.types import Overflow, Settle
from worker.metrics import Metrics
from worker.parts import Feed, Worker
from worker.settings import CameraSettings, QuestionSettings, Settings
from worker.status import StatusBoard

log = structlog.get_logger("vigil")

TORCH_THREADS = torch.get_num_threads()  # what it chose by itself


def build(settings: Settings, *, clock: Clock) -> Worker:
    """Load the model, open the outbox, lay the pipes; nothing is connected yet.

    Raises:
        ConfigError: CUDA is asked for and not there, or the address of Redis cannot be read.
        CheckpointError: the model's folder is not usable.
        OutboxError: the outbox cannot be opened.
    """
    metrics = Metrics()
    feeds = feeds_of(settings, clock=clock, observer=metrics)
    torch.set_num_threads(1)  # until there is a runner: see there
    engine = _loaded(settings)
    path = settings.outbox.path
    outbox = Outbox(
        None if path == "memory" else Path(path),
        max_bytes=settings.outbox.max_bytes,
        observer=metrics,
    )
    lanes = Lanes(partial(new_pruner, settings), clock=clock)
    period_s = 1.0 / settings.sample_fps
    ticks = Ticks(
        period_s=period_s,
        per_period=settings.ticks,
        asked_together=ASKED_TOGETHER_ON_CPU if engine.is_on_cpu else ASKED_TOGETHER,
    )
    load = Load(
        max_age_s=settings.load.max_age,
        period_s=period_s,
        recover_after_s=settings.load.recover_after,
    )
    admission_backlog = AdmissionBacklog()
    about = {"model": engine.model_name, "attention": engine.stats.attention_backend}
    metrics.describe(about)
    if outbox.moved_aside is not None:
        log.error("outbox_was_corrupt", moved_to=str(outbox.moved_aside))
    metrics.read(OUTBOX_DEPTH, lambda: outbox.num_waiting)
    metrics.read(OUTBOX_BYTES, lambda: outbox.size_bytes)
    metrics.read(OUTBOX_OLDEST, lambda: outbox.oldest_age_s(clock.now()))
    metrics.read(LOAD_LEVEL, lambda: load.level)

    def new_runner(settle: Settle) -> Runner:
        # On the thread that infers, and on no other: GNU OpenMP gives every thread that computes a
        # team of its own, and where teams outnumber the cores the members sleep after each product
        # and are woken for the next. One core is left to decoding and pruning: members that have to
        # share a core wait for each other by turns of the scheduler, and two on two cores beside a
        # third busy thread took 10 s for what takes 0.5.
        torch.set_num_threads(settings.model.threads or max(1, TORCH_THREADS - 1))
        return Runner(
            lanes,
            engine,
            questions=standing_questions(settings),
            replies=outbox,
            settle=settle,
            clock=clock,
            observer=metrics,
            new_machine=partial(_machine, outbox.load_states()),
            ticks=ticks,
            load=load,
            admission_backlog=admission_backlog,
            forget_after_s=settings.forget_after,
        )

    new_publisher = partial(
        RedisPublisher,
        settings.redis.url.get_secret_value(),
        prefix=settings.redis.prefix,
        stream_max_len=settings.redis.stream_max_len,
        worker_id=settings.worker_id,
        clock=clock,
        heartbeat_s=settings.redis.heartbeat,
    )
    new_publisher().close()  # reads the address, so that a mistake in it is refused now

    return Worker(
        settings=settings,
        clock=clock,
        feeds=feeds,
        lanes=lanes,
        ticks=ticks,
        load=load,
        admission_backlog=admission_backlog,
        outbox=outbox,
        status=StatusBoard(lambda message: outbox.put([message]), clock=clock),
        metrics=metrics,
        new_runner=new_runner,
        new_publisher=new_publisher,
        about=about,
        rng=random.Random(),  # noqa: S311 (jitter needs no secrecy)
    )


def load_engine(settings: Settings) -> Engine:
    """Load the model onto its device, to be used on this thread."""
    torch.set_num_threads(settings.model.threads or TORCH_THREADS)
    return _loaded(settings)


def _loaded(settings: Settings) -> Engine:
    chosen = settings.model
    if chosen.device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("VIGIL_MODEL__DEVICE: expected a CUDA device on this machine, found none")
    config = engine_config(settings)
    return Engine.load(chosen.path, device=chosen.device, dtype=chosen.dtype, config=config)


def engine_config(settings: Settings) -> EngineConfig:
    """Return the engine's limits and ways."""
    chosen = settings.model
    return EngineConfig(
        window_s=settings.window,
        max_context_tokens=chosen.max_context_tokens,
        max_caption_tokens=chosen.max_caption_tokens,
        max_answer_tokens=chosen.max_answer_tokens,
        vision=chosen.vision,
        audit_share=chosen.audit_share,
        max_drift=chosen.max_drift,
        memory_budget_bytes=chosen.memory_budget or None,
    )


def new_pruner(settings: Settings, camera_id: str = "") -> Pruner:
    """Make a camera's pruner; one that is not in the settings gets the defaults."""
    camera = settings.cameras.get(camera_id)
    return Pruner(
        mode=settings.pruner.mode,
        threshold_levels=settings.pruner.threshold_levels,
        refresh_ratio=settings.pruner.refresh_ratio,
        ignore=camera.ignore if camera else (),
        max_staleness_s=settings.pruner.max_staleness,
    )


def standing_questions(settings: Settings) -> list[StandingQuestion]:
    """Return the configured questions, the caption first."""
    caption = StandingQuestion(
        id=CAPTION_ID,
        question=Question(CAPTION, settings.caption_prompt),
        every_s=settings.caption_every,
    )
    return [caption, *(_standing(key, one) for key, one in settings.questions.items())]


def feeds_of(
    settings: Settings, *, clock: Clock, observer: Observer = UNOBSERVED
) -> tuple[Feed, ...]:
    """Return the sources to run: one per camera with an address, one for Kafka."""
    grid_of = partial(pin_grid, max_tokens=settings.model.max_tokens_per_frame)
    feeds = [
        _camera_feed(camera_id, camera, settings=settings, clock=clock, observer=observer)
        for camera_id, camera in settings.cameras.items()
        if camera.url is not None
    ]
    if settings.kafka.bootstrap_servers:
        by_kafka = tuple(key for key, camera in settings.cameras.items() if camera.url is None)
        config = _kafka_config(settings)
        feeds.append(
            Feed(
                name=f"kafka/{config.topic}",
                camera_ids=by_kafka,
                overflow=Overflow(settings.kafka.overflow),
                build=lambda wanted: KafkaSource(
                    config=config,
                    wanted=wanted,
                    grid_of=grid_of,
                    clock=clock,
                    observer=observer,
                ),
                is_endless=True,
            )
        )
    return tuple(feeds)


def _camera_feed(
    camera_id: str,
    camera: CameraSettings,
    *,
    settings: Settings,
    clock: Clock,
    observer: Observer,
) -> Feed:
    url = camera.url.get_secret_value() if camera.url else ""
    grid_of = partial(pin_grid, max_tokens=settings.model.max_tokens_per_frame)
    if "://" in url:
        return Feed(
            name=camera_id,
            camera_ids=(camera_id,),
            overflow=Overflow.LATEST,
            build=lambda wanted: RtspSource(
                camera_id,
                url,
                wanted=wanted,
                grid_of=grid_of,
                clock=clock,
                open_timeout_s=settings.rtsp.open_timeout,
                read_timeout_s=settings.rtsp.read_timeout,
                transport=camera.transport,
                sample_period_s=1.0 / settings.sample_fps,
                observer=observer,
            ),
            is_endless=True,
        )
    return Feed(
        name=camera_id,
        camera_ids=(camera_id,),
        overflow=Overflow.LATEST if camera.live else Overflow.WAIT,
        build=lambda wanted: FileSource(
            camera_id,
            Path(url),
            wanted=wanted,
            grid_of=grid_of,
            clock=clock,
            live=camera.live,
            loop=camera.loop,
            sample_period_s=1.0 / settings.sample_fps,
            observer=observer,
        ),
        is_endless=camera.loop,
    )


def _kafka_config(settings: Settings) -> KafkaConfig:
    kafka = settings.kafka
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
        camera_ids=None,
        max_cameras=kafka.max_cameras,
        max_lag_s=kafka.max_lag or None,
    )


def _machine(
    states: Mapping[str, str], camera_id: str, standing: StandingQuestion
) -> EventMachine | None:
    """Make a question's event machine, as the process before this one left it."""
    if standing.rule is None:
        return None
    machine = EventMachine(standing.rule, new_id=lambda: uuid.uuid4().hex)
    snapshot = states.get(state_name(camera_id, standing))
    if snapshot is not None:
        machine.restore(snapshot)
    return machine


def _standing(question_id: str, one: QuestionSettings) -> StandingQuestion:
    return StandingQuestion(
        id=question_id,
        question=Question(one.kind, one.ask, one.options),
        every_s=one.every,
        cameras=frozenset(one.cameras) or None,
        unknown_band=one.unknown,
        rule=_rule(one),
    )


def _rule(one: QuestionSettings) -> EventRule | None:
    target = kind_of(one.kind).target(one.event_on, one.options) if one.events else None
    if target is None:
        return None
    return EventRule(
        target=target,
        enter=one.enter,
        exit=one.exit,
        confirm_n=one.confirm[0],
        confirm_m=one.confirm[1],
        min_duration_s=one.min_duration,
        cooldown_s=one.cooldown,
    )
