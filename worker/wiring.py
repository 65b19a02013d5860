"""Builds the parts of a worker from its settings; the supervisor runs them, whatever they are."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf

import structlog
import torch

from model import Engine
from model.kinds.base import Doubt
from model.progress import Telling
from pipeline.admission_backlog import AdmissionBacklog
from pipeline.clips import Clips
from pipeline.clock import Clock
from pipeline.control import Control
from pipeline.counted import oldest_age_s
from pipeline.event_machines import EventMachines
from pipeline.freeze_watch import FreezeWatch
from pipeline.intake import Intake, Settlements, condition_of, masked
from pipeline.lane import Lanes
from pipeline.load import Load
from pipeline.metrics import (
    CLIP_MEMORY,
    LOAD_LEVEL,
    OUTBOX_ASIDE,
    OUTBOX_BYTES,
    OUTBOX_DEPTH,
    OUTBOX_OLDEST,
)
from pipeline.outbox import Outbox
from pipeline.pruner import Pruner
from pipeline.publishers.base import Publisher
from pipeline.rebuilding import Rebuilding
from pipeline.regions import Region
from pipeline.runner import Runner
from pipeline.sampler import Sampler
from pipeline.status import StatusBoard
from pipeline.tenures import Tenures
from pipeline.ticks import ASKED_TOGETHER, ASKED_TOGETHER_ON_CPU, Ticks
from pipeline.types import Overflow
from pipeline.visits import Visits
from worker.controlling import Controlling
from worker.evidence import clips_of, cutting, evidence_of
from worker.feeds import feeds_of, past_of
from worker.loading import loaded, num_inference_threads, take_own_stream, try_questions
from worker.metrics import Metrics
from worker.orphans import Orphans
from worker.own_outbox import folder_of, open_outbox
from worker.parts import Feed, Health, Served, Worker
from worker.publishers import redis_publishers
from worker.publishing import KnownCameras, must_wait, put_status, questions_of_cameras
from worker.questions import standing_questions
from worker.settings import Settings
from worker.site_settings import event_notes
from worker.visiting import visiting

log = structlog.get_logger("vigil")

REBUILT_TOGETHER = 8  # windows, on a GPU: a pass over eight cameras costs hardly more than one


def build(
    settings: Settings,
    *,
    clock: Clock,
    engine: Served | None = None,
    publisher: Publisher | None = None,
    visits: Visits | None = None,
) -> Worker:
    """Open the outbox, load the model, lay the pipes; nothing is connected yet.

    Args:
        settings: sound ones.
        clock: for all parts.
        engine: a model that is loaded already; None to load the settings' own.
        publisher: takes what there is to publish in Redis' place; nobody is visited by Redis then.
        visits: told of every frame that the model has seen, and has questions asked once.

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
    tenures = _tenures(settings, clock=clock)
    status = StatusBoard(partial(put_status, outbox, tenures), clock=clock)
    control = Control(
        standing_questions(settings), is_on=settings.control == "on" and publisher is None
    )
    clips = clips_of(settings, control.now.questions, clock=clock, observer=metrics)
    clips = clips if publisher is None else None
    try:
        feeds = feeds_of(
            settings, clock=clock, observer=metrics, is_held=tenures.is_held, clips=clips
        )
        publishers = partial(redis_publishers, settings, clock=clock, observer=metrics)
        new_publisher: Callable[[], Publisher] = publishers(
            run_id=outbox.origin,  # the same outbox goes on at once after a restart
            cameras=KnownCameras(
                status,
                partial(questions_of_cameras, settings, outbox, control),
                tenures,
                metrics,
                control,
            ),
        )
        new_publisher().close()  # reads the address, so that a mistake in it is refused now
        engine = engine or _ready(settings, clock=clock)
    except BaseException:
        outbox.close()
        raise
    visits = visits or Visits(clock=clock, observer=metrics)
    controlling = Controlling(settings, control, status=status, visits=visits, clock=clock)
    stages = _stages(
        settings,
        engine,
        outbox,
        tenures=tenures,
        status=status,
        clock=clock,
        metrics=metrics,
        visits=visits,
        controlling=controlling,
        clips=clips,
    )
    visit = visiting(
        settings,
        visits,
        status=status,
        tenures=tenures,
        outbox=outbox,
        engine=engine,
        clock=clock,
    )
    serve = {"visits": visit} | ({"control": controlling.serve} if control.is_on else {})
    if clips is not None:
        serve["clips"] = cutting(settings, clips, clock=clock, observer=metrics)
    about = {
        "model": engine.model_name,
        "attention": engine.stats.attention_backend,
        "small_kernels": engine.stats.small_kernels,
    }
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
        new_publisher=new_publisher if publisher is None else lambda: publisher,
        about={**about, "demo_model": engine.is_demo_model},
        rng=random.Random(),  # noqa: S311 (jitter needs no secrecy)
        # under the outbox's own name: who only passes on what another left is no camera's owner
        adopt=Orphans(
            folder_of(settings),
            connect=lambda origin: publishers(run_id=origin)(),
            max_bytes=settings.outbox.max_bytes,
            clock=clock,
        ).run,
        serve=serve if publisher is None else {},
    )


@dataclass(frozen=True, slots=True)
class _Stages:
    """What a worker has one of, shared by its threads."""

    clock: Clock
    engine: Served
    lanes: Lanes
    ticks: Ticks
    load: Load
    admission_backlog: AdmissionBacklog
    outbox: Outbox
    settlements: Settlements
    tenures: Tenures
    status: StatusBoard
    metrics: Metrics
    visits: Visits
    control: Control
    controlling: Controlling
    clips: Clips | None


def _tenures(settings: Settings, *, clock: Clock) -> Tenures:
    own = [camera_id for camera_id, one in settings.cameras.items() if one.url is not None]
    return Tenures(clock=clock, own=own, has_group=bool(settings.kafka.bootstrap_servers))


def _ready(settings: Settings, *, clock: Clock) -> Engine:
    """Load the model and try the questions on it; log what an operator should know of it."""
    telling = Telling(lambda line: log.info("model_loading", detail=line), now_s=clock.monotonic_s)
    engine = loaded(settings, tell=telling)
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


def _stages(  # noqa: PLR0913 - what all threads share comes together here
    settings: Settings,
    engine: Served,
    outbox: Outbox,
    *,
    tenures: Tenures,
    status: StatusBoard,
    clock: Clock,
    metrics: Metrics,
    visits: Visits,
    controlling: Controlling,
    clips: Clips | None,
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
    lanes = Lanes(
        partial(new_pruner, settings),
        clock=clock,
        burst_s=period_s / 2,
        is_held=partial(must_wait, tenures, outbox),
    )
    tenures.wake = lanes.wake
    return _Stages(
        clock=clock,
        engine=engine,
        lanes=lanes,
        ticks=ticks,
        load=load,
        admission_backlog=AdmissionBacklog(),
        outbox=outbox,
        settlements=Settlements(tenures),
        tenures=tenures,
        status=status,
        metrics=metrics,
        visits=visits,
        control=controlling.control,
        controlling=controlling,
        clips=clips,
    )


def _describe(stages: _Stages, about: Mapping[str, str]) -> None:
    """Let the metrics say what runs, and read what others count."""
    metrics, outbox, load = stages.metrics, stages.outbox, stages.load
    metrics.describe(about)
    metrics.read(OUTBOX_DEPTH, lambda: outbox.num_waiting)
    metrics.read(OUTBOX_BYTES, lambda: outbox.size_bytes)
    metrics.read(OUTBOX_ASIDE, lambda: outbox.num_set_aside)
    metrics.read(OUTBOX_OLDEST, lambda: oldest_age_s(outbox, stages.clock.now()))
    metrics.read(LOAD_LEVEL, lambda: load.level)
    if (clips := stages.clips) is not None:
        metrics.read(CLIP_MEMORY, lambda: clips.held_bytes)


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
        private=_private(settings),
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
            unknown=stages.tenures.why,
            is_paused=stages.control.is_paused,
        ),
        settlements=stages.settlements,
        observer=stages.metrics,
    )


def _private(settings: Settings) -> dict[str, tuple[Region, ...]]:
    return {camera_id: camera.private for camera_id, camera in settings.cameras.items()}


def _new_runner(settings: Settings, stages: _Stages) -> Runner:
    # On the thread that infers alone: GNU OpenMP gives each thread that computes a team of its own,
    # and where teams outnumber the cores their members sleep after each product and are woken for
    # the next. One core is left to decoding and pruning: members that share a core wait for each
    # other's turns, and two on two cores beside a third busy thread took 10 s for what takes 0.5.
    threads = num_inference_threads(settings.model.threads, is_on_cpu=stages.engine.is_on_cpu)
    torch.set_num_threads(threads)
    if settings.rtsp.gpu_decoders and not stages.engine.is_on_cpu:
        take_own_stream(settings.model.device)
    if stages.control.is_on:
        stages.controlling.begin(stages.engine.check)
    return Runner(
        stages.lanes,
        stages.engine,
        questions=stages.control.now.questions,
        replies=stages.outbox,
        settle=stages.settlements.settle,
        clock=stages.clock,
        observer=stages.metrics,
        machines=_machines(settings, stages),
        status=stages.status,
        ticks=stages.ticks,
        load=stages.load,
        admission_backlog=stages.admission_backlog,
        tenures=stages.tenures,
        rebuilding=_rebuilding(settings, stages),
        forget_after_s=settings.forget_after,
        visits=stages.visits,
        evidence=evidence_of(settings, stages.metrics, stages.clips),
        doubt=Doubt(min_mass=settings.model.min_mass),
        caption_when=settings.caption_when,
        control=stages.control,
    )


def _rebuilding(settings: Settings, stages: _Stages) -> Rebuilding:
    together = 1 if stages.engine.is_on_cpu else REBUILT_TOGETHER
    past = past_of(
        settings,
        clock=stages.clock,
        masked=partial(masked, private=_private(settings)),
        together=together,
    )
    return Rebuilding(
        stages.engine,
        stages.lanes,
        past,
        window_s=settings.window,
        together=together,
        clock=stages.clock,
        observer=stages.metrics,
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


def _machines(settings: Settings, stages: _Stages) -> EventMachines:
    """Make the event machines, as the process before this one left them."""
    is_open = bool(settings.kafka.bootstrap_servers)  # a topic brings cameras that nobody named
    with_address = {key for key, one in settings.cameras.items() if one.url is not None}
    return EventMachines(
        stages.control.now.questions,
        states=stages.outbox.load_states(),
        may_come=lambda camera_id: is_open or camera_id in settings.cameras,
        forget_after_s=settings.forget_after,
        clock=stages.clock,
        waits=lambda camera_id: is_open and camera_id not in with_address,
        paused=stages.control.now.paused,
    )
