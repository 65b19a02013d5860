"""One number of cameras for a while: lanes, pruners, schedule, ticks and engine, in real time."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import torch

from model.engine.engine import Engine
from model.engine.made_up_past import EngineWithMadeUpPast
from model.types import PrunedFrame, Question
from pipeline.admission_backlog import AdmissionBacklog
from pipeline.clock import Clock, SystemClock
from pipeline.event_machines import EventMachines
from pipeline.lane import Lanes
from pipeline.load import Load
from pipeline.messages import Message
from pipeline.metrics import (
    ANSWERS_LATE,
    FRAMES_REFUSED,
    STAGE_SECONDS,
    TICK_SECONDS,
    TOKENS,
)
from pipeline.observer import Metric, Observer
from pipeline.pruner import Pruner
from pipeline.questions import CAPTION_ID, StandingQuestion
from pipeline.rebuilding import Rebuilding
from pipeline.runner import Runner
from pipeline.sources.base import NO_PAST
from pipeline.sources.nvdec import Nvdec
from pipeline.status import StatusBoard
from pipeline.tenures import Tenures
from pipeline.ticks import ASKED_TOGETHER, ASKED_TOGETHER_ON_CPU, Ticks
from pipeline.types import Overflow
from worker.benchmarks.metered_pruner import MeteredPruner
from worker.benchmarks.rendered_cameras import Clips, Played, play, play_decoded
from worker.benchmarks.report import Progress, Row
from worker.loading import num_inference_threads, take_own_stream

MAX_AGE_S = 2.0
WINDOW_S = 180.0
SETTLE_S = 15.0  # the first questions of all cameras are due at once
CALM_AFTER_S = 75.0  # what that burst made the worker give up is given back by then
MEASURED_S = 60.0
QUESTIONS = (
    StandingQuestion("person", Question("yes_no", "Is a person in view?"), every_s=5.0),
    StandingQuestion("car", Question("yes_no", "Is a car on the road?"), every_s=5.0),
    StandingQuestion("parcel", Question("yes_no", "Is there a parcel on the ground?"), every_s=5.0),
    StandingQuestion("cars", Question("count", "How many cars are there?"), every_s=5.0),
    StandingQuestion(
        "light", Question("choice", "Is it day or night?", ("day", "night")), every_s=5.0
    ),
    StandingQuestion(CAPTION_ID, Question("caption", ""), every_s=10.0),
)


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one number of cameras."""

    num_cameras: int
    age_p50_s: float
    age_p95_s: float
    scored_p95_s: float
    num_answers: int
    num_dropped: int
    num_late: int
    level: int
    busy_share: float
    kept_share: float
    stage_shares: dict[str, float]
    pruning_core_s_a_second: float
    process_core_s_a_second: float
    pruned_late_p95_s: float
    context_tokens: float
    measured_s: float

    @property
    def holds(self) -> bool:
        """Whether the worker kept up."""
        return self.age_p95_s < MAX_AGE_S and not self.num_dropped and not self.level

    def row(self, model: str) -> Row:
        """Write it down."""
        return Row(
            f"frame_age_p95_{model}_{self.num_cameras}_cameras",
            self.age_p95_s,
            "s",
            MAX_AGE_S,
            None,  # one that does not hold is how the most that do are found
            {
                "p50_s": self.age_p50_s,
                "scored_p95_s": self.scored_p95_s,
                "answers": self.num_answers,
                "frames_dropped": self.num_dropped,
                "answers_late": self.num_late,
                "load_level": self.level,
                "busy_share": self.busy_share,
                "tokens_kept_share": self.kept_share,
                "pruning_core_s_a_second": self.pruning_core_s_a_second,
                "process_core_s_a_second": self.process_core_s_a_second,
                "pruned_late_p95_s": self.pruned_late_p95_s,
                "context_tokens": self.context_tokens,
                "seconds_measured": self.measured_s,
                **{f"{stage}_share": share for stage, share in self.stage_shares.items()},
            },
        )


def trial(
    num_cameras: int,
    engine: Engine,
    clips: Clips,
    progress: Progress,
    *,
    measured_s: float = MEASURED_S,
    video: Path | None = None,
) -> Trial:
    """Play so many cameras on an engine that holds none yet, and say how it went.

    Measured is what follows the burst of first questions, and only for as long as it may still
    hold: a number that lost a frame or gave something up is not played to the end. With a `video`
    each camera decodes that beside what it is played.

    Raises:
        RuntimeError: a camera or what infers ended early, which tells nothing of the number.
    """
    clock = SystemClock()
    pruners: list[MeteredPruner] = []
    lanes = Lanes(lambda _camera_id: MeteredPruner(pruners), clock=clock)
    ticks = Ticks(
        period_s=1.0,
        per_period=4,
        asked_together=ASKED_TOGETHER_ON_CPU if engine.is_on_cpu else ASKED_TOGETHER,
    )
    load = Load(max_age_s=MAX_AGE_S, period_s=1.0, recover_after_s=30.0)
    seen = Seen()
    cameras = [
        Played(f"camera-{number}", number, int(WINDOW_S / 2 * (1 + number / num_cameras)))
        for number in range(num_cameras)
    ]
    progress(f"{num_cameras} cameras: giving them {WINDOW_S / 2:g} to {WINDOW_S:g} s of history")
    if isinstance(engine, EngineWithMadeUpPast):
        make_up_pasts(cameras, clips, engine=engine, clock=clock)
    else:
        _live_through(cameras, clips, lanes=lanes, engine=engine, clock=clock)
    runner = Runner(
        lanes,
        engine,
        questions=QUESTIONS,
        replies=seen,
        settle=lambda _frame: None,
        clock=clock,
        observer=seen,
        machines=EventMachines(
            QUESTIONS,
            states={},
            may_come=lambda _camera_id: True,
            forget_after_s=600.0,
            clock=clock,
        ),
        status=StatusBoard(lambda _message: None, clock=clock),
        ticks=ticks,
        load=load,
        admission_backlog=AdmissionBacklog(),
        tenures=Tenures(clock=clock),
        rebuilding=Rebuilding(
            engine,
            lanes,
            NO_PAST,
            window_s=180.0,
            together=1,
            clock=clock,
            observer=seen,
        ),
        forget_after_s=600.0,
    )
    stop = Event()
    infer = partial(_infer, runner, stop, is_on_cpu=engine.is_on_cpu, decodes=video is not None)
    stages = {"ticks": ticks, "clock": clock, "stop": stop, "pruned": seen.pruned}
    threads = [
        Thread(target=infer, name="infer"),
        *_players(cameras, (clips, lanes), stages, video=video, is_on_cpu=engine.is_on_cpu),
    ]
    for thread in threads:
        thread.start()
    begun_s = clock.monotonic_s()
    clock.pause(SETTLE_S)
    while load.level and clock.monotonic_s() - begun_s < CALM_AFTER_S:
        clock.pause(0.5)
    progress(f"{num_cameras} cameras: measuring {measured_s:g} s")
    seen.reset()
    num_dropped, begun_s = lanes.num_overdue, clock.monotonic_s()
    pruning_s, level = sum(one.spent_s for one in pruners), load.level
    process_s = time.process_time()
    while clock.monotonic_s() - begun_s < measured_s and _are_alive(threads):
        clock.pause(0.5)
        level = max(level, load.level)
        if lanes.num_overdue > num_dropped or level:
            break
    spent_s = clock.monotonic_s() - begun_s
    pruning_s = sum(one.spent_s for one in pruners) - pruning_s
    process_s = time.process_time() - process_s
    has_failed = not _are_alive(threads)
    stop.set()
    for thread in threads:
        thread.join()
    if has_failed:
        raise RuntimeError(f"{num_cameras} cameras: a thread ended early, its error is above")
    return seen.trial(
        num_cameras,
        measured_s=spent_s,
        num_dropped=lanes.num_overdue - num_dropped,
        level=level,
        pruning_s=pruning_s,
        process_s=process_s,
        context_tokens=_context_tokens(engine, cameras),
    )


def _infer(runner: Runner, stop: Event, *, is_on_cpu: bool, decodes: bool) -> None:
    """Run as the worker's thread does, beside NVDEC where video is decoded."""
    torch.set_num_threads(num_inference_threads(0, is_on_cpu=is_on_cpu))
    is_beside_nvdec = decodes and not is_on_cpu
    if is_beside_nvdec:
        take_own_stream("cuda")
    runner.run(stop, beat=lambda: None)
    if is_beside_nvdec:
        torch.cuda.synchronize()  # what comes after the trial is on the default stream again


def _are_alive(threads: Sequence[Thread]) -> bool:
    return all(thread.is_alive() for thread in threads)


def _players(
    cameras: Sequence[Played],
    given: tuple[Clips, Lanes],
    stages: Mapping[str, Any],
    *,
    video: Path | None,
    is_on_cpu: bool,
) -> list[Thread]:
    """Make a thread for each camera, as in the worker; with a video each decodes that."""
    if video is None:
        return [Thread(target=play, args=(one, *given), kwargs=stages) for one in cameras]
    device = None if is_on_cpu else Nvdec(most=len(cameras))
    stages = {**stages, "path": video, "device": device}
    return [Thread(target=play_decoded, args=(one, *given), kwargs=stages) for one in cameras]


class Seen(Observer):
    """An outbox and an observer that keep what the trial tells of."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._ages_s: list[float] = []
        self._scored_ages_s: list[float] = []  # of yes/no and choices, which need no words
        self._late_s: list[float] = []  # by how much frames were pruned after they were taken
        self._totals: defaultdict[tuple[Metric, str], float] = defaultdict(float)

    def trial(
        self,
        num_cameras: int,
        *,
        measured_s: float,
        num_dropped: int,
        level: int,
        pruning_s: float,
        process_s: float,
        context_tokens: float,
    ) -> Trial:
        """Return what it comes to."""
        totals = self._totals
        kept, pruned = totals[TOKENS, "kept"], totals[TOKENS, "pruned"]
        p50_s, p95_s = np.percentile(self._ages_s, (50, 95)) if self._ages_s else (inf, inf)
        return Trial(
            num_cameras=num_cameras,
            age_p50_s=float(p50_s),
            age_p95_s=float(p95_s),
            scored_p95_s=(
                float(np.percentile(self._scored_ages_s, 95)) if self._scored_ages_s else inf
            ),
            num_answers=len(self._ages_s),
            num_dropped=num_dropped,
            num_late=int(totals[ANSWERS_LATE, ""]),
            level=level,
            # What is said within a tick counts twice: a bound.
            busy_share=(totals[TICK_SECONDS, ""] + totals[STAGE_SECONDS, "speak"]) / measured_s,
            kept_share=kept / max(1, kept + pruned),
            stage_shares={
                stage: spent / measured_s
                for (metric, stage), spent in totals.items()
                if metric == STAGE_SECONDS
            },
            pruning_core_s_a_second=pruning_s / measured_s,
            process_core_s_a_second=process_s / measured_s,
            pruned_late_p95_s=float(np.percentile(self._late_s, 95)) if self._late_s else inf,
            context_tokens=context_tokens,
            measured_s=measured_s,
        )

    def pruned(self, late_s: float) -> None:
        """Note how long after it was taken a frame was pruned."""
        self._late_s.append(late_s)

    def put(
        self,
        messages: Sequence[Message],
        *,
        states: Mapping[str, str | None] | None = None,  # noqa: ARG002
    ) -> None:
        """Take replies."""
        told = [message.body["data"] for message in messages]
        new = [one for one in told if not one.get("reused")]
        self._ages_s += [one["frame_age_ms"] / 1000 for one in new]
        self._scored_ages_s += [
            one["frame_age_ms"] / 1000 for one in new if one.get("kind") in ("yes_no", "choice")
        ]

    @property
    def last_row(self) -> int:
        """Nothing has a row."""
        return 0

    def first_waiting(self) -> int | None:
        """Nothing waits."""
        return None

    def count(self, metric: Metric, number: float = 1, **labels: str) -> None:
        """Add up; a frame that is refused ends the trial: there is memory for all of them."""
        if metric == FRAMES_REFUSED:
            raise AssertionError(f"{labels['camera']}: {labels['reason']}")
        self._totals[metric, labels.get("kind", "")] += number

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Add up."""
        self._totals[metric, labels.get("stage", "")] += value


def _live_through(
    cameras: list[Played], clips: Clips, *, lanes: Lanes, engine: Engine, clock: SystemClock
) -> None:
    """Show every camera's history, as fast as it goes; nothing is asked of it."""
    for second in range(max(camera.history_s for camera in cameras)):
        for camera in cameras:
            if second < camera.history_s:
                lane = lanes.lane(camera.camera_id, overflow=Overflow.LATEST)
                lane.offer(camera.frame(clips, second, captured_at=clock.now()))
        engine.append([sent.pruned for sent in lanes.take()])


def make_up_pasts(
    cameras: Sequence[Played], clips: Clips, *, engine: EngineWithMadeUpPast, clock: Clock
) -> None:
    """Give every camera contexts as long as its history's, without encoding it.

    What a pruner keeps of each street in its second round is what its cameras' frames keep.
    """
    num_streets, num_seconds = clips.pictures.shape[:2]
    kept: list[list[PrunedFrame]] = []
    for street in range(num_streets):
        played, pruner = Played("", street, 0), Pruner()
        kept.append([])
        for second in range(2 * num_seconds):
            pruned = pruner.prune(played.frame(clips, second, captured_at=clock.now()))
            pruner.sent(pruned)
            kept[-1].append(pruned)
    for second in range(max(camera.history_s for camera in cameras)):
        frames = []
        for camera in cameras:
            if second < camera.history_s:
                street, place = clips.place(camera.number, second)
                like = kept[street][num_seconds + place if second else 0]
                frames.append(replace(like, stream_id=camera.camera_id, pts_s=float(second)))
        engine.live_through(frames)


def _context_tokens(engine: Engine, cameras: list[Played]) -> float:
    windows = [engine.window(camera.camera_id) for camera in cameras]
    return float(np.mean([window.num_tokens for window in windows if window]))
