"""Builds the parts of a worker from its settings; the supervisor runs them, whatever they are."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf

import structlog
import torch

from model import Engine, Question
from model.kinds import CAPTION, kind_of
from model.kinds.base import Doubt
from model.progress import Tell, Telling, untold
from pipeline.admission_backlog import AdmissionBacklog
from pipeline.clock import Clock
from pipeline.event_machines import EventMachines
from pipeline.events import EventRule
from pipeline.freeze_watch import FreezeWatch
from pipeline.intake import Intake, Settlements, condition_of
from pipeline.lane import Lanes
from pipeline.load import Load
from pipeline.observer import (
    LOAD_LEVEL,
    OUTBOX_ASIDE,
    OUTBOX_BYTES,
    OUTBOX_DEPTH,
    OUTBOX_OLDEST,
)
from pipeline.outbox import Outbox
from pipeline.pruner import Pruner
from pipeline.publishers.base import NO_CAMERAS, Cameras
from pipeline.publishers.redis import Keeping, RedisPublisher
from pipeline.questions import CAPTION_ID, StandingQuestion
from pipeline.runner import Runner
from pipeline.sampler import Sampler
from pipeline.status import StatusBoard
from pipeline.ticks import ASKED_TOGETHER, ASKED_TOGETHER_ON_CPU, Ticks
from pipeline.types import Overflow
from worker.feeds import feeds_of
from worker.loading import engine_config, named_settings, refuse_device, try_questions
from worker.metrics import Metrics
from worker.own_outbox import open_outbox
from worker.parts import Feed, Health, Worker
from worker.publishing import KnownCameras, questions_of_cameras
from worker.settings import Settings
from worker.site_settings import QuestionSettings, event_notes

log = structlog.get_logger("vigil")

TORCH_THREADS = torch.get_num_threads()  # what it chose by itself


def build(settings: Settings, *, clock: Clock) -> Worker:
    """Open the outbox, load the model, lay the pipes; nothing is connected yet.

    Raises:
        ConfigError: CUDA is asked for and not there, the address of Redis cannot be read, or a
            question cannot be put to the model.
        CheckpointError: the model's folder is not usable.
        OutboxError: the outbox cannot be opened.
    """
    metrics = Metrics()
    torch.set_num_threads(1)  # until there is a runner: see `_new_runner`
    # before what takes long
    outbox, settings = open_outbox(settings, clock=clock, observer=metrics)
    status = StatusBoard(lambda message: outbox.put([message]), clock=clock)
    try:
        feeds = feeds_of(settings, clock=clock, observer=metrics)
        new_publisher = redis_publishers(
            settings,
            clock=clock,
            run_id=outbox.origin,  # the same outbox goes on at once after a restart
            cameras=KnownCameras(status, partial(questions_of_cameras, settings, outbox)),
        )
        new_publisher().close()  # reads the address, so that a mistake in it is refused now
        engine = _ready(settings, clock=clock)
    except BaseException:
        outbox.close()
        raise
    stages = _stages(settings, engine, outbox, status=status, clock=clock, metrics=metrics)
    about = {"model": engine.model_name, "attention": engine.stats.attention_backend}
    _describe(stages, about)
    return Worker(
        clock=clock,
        feeds=feeds,
        lanes=stages.lanes,
        load=stages.load,
        outbox=stages.outbox,
        status=stages.status,
        metrics=stages.metrics,
        health=Health(settings.health.bind, settings.health.port, settings.health.stall),
        new_intake=partial(_new_intake, settings, stages),
        new_runner=partial(_new_runner, settings, stages),
        new_publisher=new_publisher,
        about={**about, "demo_model": engine.is_demo_model},
        rng=random.Random(),  # noqa: S311 (jitter needs no secrecy)
    )


@dataclass(frozen=True, slots=True)
class _Stages:
    """What a worker has one of, shared by its threads."""

    clock: Clock
    engine: Engine
    lanes: Lanes
    ticks: Ticks
    load: Load
    admission_backlog: AdmissionBacklog
    outbox: Outbox
    settlements: Settlements
    status: StatusBoard
    metrics: Metrics


def _ready(settings: Settings, *, clock: Clock) -> Engine:
    """Load the model and try the questions on it; log what an operator should know of it."""
    telling = Telling(lambda line: log.info("model_loading", detail=line), now_s=clock.monotonic_s)
    engine = _loaded(settings, tell=telling)
    try_questions(engine, settings)
    if engine.is_demo_model:
        log.warning(
            "demo_model",
            model=engine.model_name,
            detail="it knows only its rendered world and is wrong about real cameras: "
            "VIGIL_MODEL__PATH names another",
        )
    if note := settings.window_note():
        log.warning("window_cut", detail=note)
    for note in event_notes(settings.questions):
        log.warning("question_without_events", detail=note)
    return engine


def _stages(
    settings: Settings,
    engine: Engine,
    outbox: Outbox,
    *,
    status: StatusBoard,
    clock: Clock,
    metrics: Metrics,
) -> _Stages:
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
    return _Stages(
        clock=clock,
        engine=engine,
        lanes=Lanes(partial(new_pruner, settings), clock=clock, burst_s=period_s / 2),
        ticks=ticks,
        load=load,
        admission_backlog=AdmissionBacklog(),
        outbox=outbox,
        settlements=Settlements(),
        status=status,
        metrics=metrics,
    )


def _describe(stages: _Stages, about: Mapping[str, str]) -> None:
    """Let the metrics say what runs, and read what others count."""
    metrics, outbox, load = stages.metrics, stages.outbox, stages.load
    metrics.describe(about)
    metrics.read(OUTBOX_DEPTH, lambda: outbox.num_waiting)
    metrics.read(OUTBOX_BYTES, lambda: outbox.size_bytes)
    metrics.read(OUTBOX_ASIDE, lambda: outbox.num_set_aside)
    metrics.read(OUTBOX_OLDEST, lambda: outbox.oldest_age_s(stages.clock.now()))
    metrics.read(LOAD_LEVEL, lambda: load.level)


def _new_intake(settings: Settings, stages: _Stages, feed: Feed) -> Intake:
    sampler = Sampler(
        1.0 / settings.sample_fps,
        is_live=feed.overflow is Overflow.LATEST,
        ticks=stages.ticks,
        load=stages.load,
        clock=stages.clock,
    )
    return Intake(
        partial(stages.lanes.lane, overflow=feed.overflow),
        stages.status,
        sampler=sampler,
        private={camera_id: camera.private for camera_id, camera in settings.cameras.items()},
        freeze_watch=FreezeWatch(
            settings.pruner.frozen_after,
            clock=stages.clock,
            ignore={camera_id: camera.ignore for camera_id, camera in settings.cameras.items()},
        ),
        condition_of=partial(
            condition_of,
            load=stages.load,
            admission_backlog=stages.admission_backlog,
            outbox_trouble=lambda: stages.outbox.trouble,
        ),
        settlements=stages.settlements,
        observer=stages.metrics,
    )


def _new_runner(settings: Settings, stages: _Stages) -> Runner:
    # On the thread that infers, and on no other: GNU OpenMP gives every thread that computes a
    # team of its own, and where teams outnumber the cores the members sleep after each product
    # and are woken for the next. One core is left to decoding and pruning: members that have to
    # share a core wait for each other by turns of the scheduler, and two on two cores beside a
    # third busy thread took 10 s for what takes 0.5.
    torch.set_num_threads(num_inference_threads(settings))
    return Runner(
        stages.lanes,
        stages.engine,
        questions=standing_questions(settings),
        replies=stages.outbox,
        settle=stages.settlements.settle,
        clock=stages.clock,
        observer=stages.metrics,
        machines=_machines(settings, stages),
        status=stages.status,
        ticks=stages.ticks,
        load=stages.load,
        admission_backlog=stages.admission_backlog,
        forget_after_s=settings.forget_after,
        caption_when=settings.caption_when,
    )


def redis_publishers(
    settings: Settings,
    *,
    clock: Clock,
    worker_id: str = "",
    run_id: str = "",
    cameras: Cameras = NO_CAMERAS,
) -> Callable[[], RedisPublisher]:
    """Return what makes a connection to Redis.

    Args:
        settings: name the server.
        clock: stamps what is published.
        worker_id: stands in for the settings' own.
        run_id: one that starts again with the same may publish at once.
        cameras: what the worker knows of its cameras.
    """
    return partial(
        RedisPublisher,
        settings.redis.address,
        prefix=settings.redis.prefix,
        worker_id=worker_id or settings.worker_id,
        clock=clock,
        run_id=run_id,
        keeping=Keeping(settings.redis.stream_max_len),
        heartbeat_s=settings.redis.heartbeat,
        cameras=cameras,
    )


def num_inference_threads(settings: Settings) -> int:
    """Return how many threads compute where other threads decode: one core is left to those."""
    return settings.model.threads or max(1, TORCH_THREADS - 1)


def load_engine(settings: Settings, *, tell: Tell = untold) -> Engine:
    """Load the model onto its device, to be used on this thread."""
    torch.set_num_threads(settings.model.threads or TORCH_THREADS)
    return _loaded(settings, tell=tell)


def _loaded(settings: Settings, *, tell: Tell) -> Engine:
    chosen = settings.model
    refuse_device(settings)
    with named_settings():
        return Engine.load(
            chosen.path,
            device=chosen.device,
            dtype=chosen.dtype,
            config=engine_config(settings),
            revision=chosen.revision or None,
            tell=tell,
        )


def new_pruner(settings: Settings, camera_id: str = "") -> Pruner:
    """Make a camera's pruner; one that is not in the settings gets the defaults."""
    camera = settings.cameras.get(camera_id)
    # A context begins with a whole frame every half window: until then nothing gets too old.
    is_ever_stale = settings.pruner.max_staleness < settings.window / 2
    return Pruner(
        mode=settings.pruner.mode,
        threshold_levels=settings.pruner.threshold_levels,
        refresh_ratio=settings.pruner.refresh_ratio,
        ignore=camera.ignore if camera else (),
        refresh_every_s=settings.pruner.refresh_every,
        max_staleness_s=settings.pruner.max_staleness if is_ever_stale else inf,
    )


def standing_questions(settings: Settings) -> list[StandingQuestion]:
    """Return the configured questions, the caption first."""
    caption = StandingQuestion(
        id=CAPTION_ID,
        question=Question(CAPTION, settings.caption_prompt),
        every_s=settings.caption_every,
    )
    min_mass = settings.model.min_mass
    return [
        caption,
        *(
            _standing(key, one, min_mass=min_mass, sample_fps=settings.sample_fps)
            for key, one in settings.questions.items()
        ),
    ]


def _machines(settings: Settings, stages: _Stages) -> EventMachines:
    """Make the event machines, as the process before this one left them."""
    is_open = bool(settings.kafka.bootstrap_servers)  # a topic brings cameras that nobody named
    return EventMachines(
        standing_questions(settings),
        states=stages.outbox.load_states(),
        may_come=lambda camera_id: is_open or camera_id in settings.cameras,
        forget_after_s=settings.forget_after,
        clock=stages.clock,
    )


def _standing(
    question_id: str, one: QuestionSettings, *, min_mass: float, sample_fps: float
) -> StandingQuestion:
    return StandingQuestion(
        id=question_id,
        question=Question(one.kind, one.ask, one.options),
        every_s=one.every,
        cameras=frozenset(one.cameras) or None,
        doubt=Doubt(one.unknown, min_mass),
        rule=_rule(one, sample_fps=sample_fps),
    )


def _rule(one: QuestionSettings, *, sample_fps: float) -> EventRule | None:
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
        # one more than are looked at, since an answer may be late; half as many frames under load
        evidence_s=(one.confirm[1] + 1) * max(one.every, 2.0 / sample_fps),
    )
