"""A run from the command's options: begun, gone on with, or found to be done."""

import argparse
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event as Flag

import torch

from model.engine.loading import device_of
from model.errors import InputError
from model.training.begin import BEGINNING, begin
from model.training.conversation import Conversation
from model.training.held_out import HeldOut
from model.training.loop import Event, Progress, Watch
from model.training.memo import ClipMemo
from model.training.narration import narrated
from model.training.passes import check_length
from model.training.recipe import Job, Plan, is_done, prompt_at, train_folder
from model.training.recorded import Recorded, read_files, weighed
from model.training.rendered import FIRST_HELD_OUT_SEED, SHORTEST_FRAMES, SPOKEN, Rendered
from model.training.runs import finish, standing, write_down
from model.training.sample import Sample
from model.training.shown import sample_of
from model.training.stages import Stage, stage_of
from model.videollama3.grid import pin_grid
from model.videollama3.hub import locate
from model.videollama3.tokenizer import Tokenizer
from pipeline.clock import SystemClock
from pipeline.pruner import prune_clip
from worker.training.remembered import Remembered
from worker.training.waiting import Waiting

Say = Callable[[str], None]

SAME_RUN = (
    *("stage", "table", "from", "data", "held_out", "steps", "rate", "batch", "seed"),
    *("video", "labels", "camera", "began", "scenes", "longest", "busy", "skip_bad"),
    *("bfloat16", "lora", "freeze", "max_tokens_per_frame"),
)
"""The options that make a run what it is; the others may differ when it goes on."""
LEAST = {"threads": 1, "scenes": 1, "seed": 0}
"""The options that take nothing lower."""
NUM_HELD_OUT_SCENES = 16
MOST_HELD_OUT = 256
LAST_STAGE = 4
UNFINISHED = 1


def train(arguments: argparse.Namespace, *, say: Say) -> int:
    """Run a stage from folder to folder; return the exit status.

    Raises:
        InputError, DataError, CheckpointError: the options, the data or the start are refused.
    """
    stage = _stage(arguments)
    for name, least in LEAST.items():
        if getattr(arguments, name) < least:
            got = getattr(arguments, name)
            raise InputError(f"--{name}: expected {least} or more, got {got}")
    device = _device(arguments.device)
    torch.set_num_threads(arguments.threads)
    options = {name: _plain(getattr(arguments, name)) for name in SAME_RUN}
    out: Path = arguments.out
    how = standing(out, options, is_resumed=arguments.resume)
    if how == "finished":
        say(f"{out} is finished, all {arguments.steps} steps; nothing was trained or written")
        return 0
    now_s = SystemClock().monotonic_s
    arguments = _with_own_camera(arguments, say=say)
    data = _data(arguments, stage, say=say)
    held_out = _held_out(arguments, stage, say=say)
    with _stopping() as flag:
        job = Job(
            stage=stage,
            sample=data.sample,
            plan=_plan(arguments),
            out=out,
            watch=Watch(now_s, save_every_s=arguments.save_every, is_stopped=flag.is_set),
            held_out=held_out,
            seed=arguments.seed,
            teaches_speaking=data.teaches_speaking,
        )
        if how == "new":
            write_down(out, options)
        if stage is BEGINNING:
            events = begin(job)
        else:
            events = train_folder(getattr(arguments, "from"), job, device=device, data=data.name)
        what = f"stage {stage.number}, {stage.name}"
        doing = f"{what}: reading the model, preparing the first {arguments.batch} samples"
        with Waiting(doing, say=say, now_s=now_s) as waiting:
            for line in narrated(_heard(events, waiting.over), what=what, now_s=now_s):
                say(line)
    return _ended(job, what=what, say=say)


def _heard(events: Iterable[Event], over: Callable[[], None]) -> Iterator[Event]:
    """Pass events on; say when the first step is done."""
    for event in events:
        if isinstance(event, Progress):
            over()
        yield event


def _device(name: str) -> torch.device:
    """Give the device of that name, where this machine computes on it."""
    device = device_of(name)
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ImportError) as exc:  # each backend has its own
        raise InputError(f"--device: expected one this machine has, got {name}") from exc
    return device


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


@contextmanager
def _stopping() -> Iterator[Flag]:
    """Give a flag that Ctrl-C and a plain kill raise; the second one ends the process at once."""
    flag = Flag()

    def stop(_number: int, _frame: object) -> None:
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stage(arguments: argparse.Namespace) -> Stage:
    if arguments.stage != BEGINNING.number:
        if getattr(arguments, "from") is None:
            raise InputError(
                f"--from: expected the folder that stage {arguments.stage} starts from"
            )
        table, rate, frozen = arguments.table, arguments.rate, arguments.freeze
        return stage_of(arguments.stage, table=table, rate=rate, frozen=frozen)
    for name, usual in (
        ("rate", 1.0),
        ("from", None),
        ("data", []),
        ("lora", None),
        ("freeze", []),
    ):
        if getattr(arguments, name) != usual:
            given = getattr(arguments, name)
            raise InputError(f"--{name}: expected none with --stage 0, got {given}")
    return BEGINNING


def _plan(arguments: argparse.Namespace) -> Plan:
    return Plan(
        num_steps=arguments.steps,
        batch_size=arguments.batch,
        num_workers=arguments.workers,
        compute_dtype=torch.bfloat16 if arguments.bfloat16 else None,
        lora_rank=arguments.lora,
        is_recomputed=arguments.checkpointing,
    )


def _with_own_camera(arguments: argparse.Namespace, *, say: Say) -> argparse.Namespace:
    """Make conversation files of videos with labels, and train and measure by them."""
    if arguments.video is None and arguments.labels is None:
        return arguments
    if arguments.stage == BEGINNING.number:
        raise InputError("--labels: expected none with --stage 0")
    from worker.training.own_camera import OwnCamera

    own = OwnCamera(arguments, say=say)
    forms = prompt_at(getattr(arguments, "from")).forms
    train_file, held_out_file = own.write(arguments.out, forms=forms, seed=arguments.seed)
    _, weights = weighed(arguments.data)
    changed = {
        "data": [*arguments.data, f"{train_file}=1" if weights else str(train_file)],
        "held_out": [*arguments.held_out, str(held_out_file)],
        "max_tokens_per_frame": own.settings.model.max_tokens_per_frame,
        "private": own.private,
    }
    return argparse.Namespace(**(vars(arguments) | changed))


@dataclass(frozen=True, slots=True)
class _Data:
    """What is trained on.

    Attributes:
        sample: a number to a sample.
        name: what the card calls it.
        teaches_speaking: it says after which frames something is worth saying.
    """

    sample: Callable[[int], Sample]
    name: str
    teaches_speaking: bool


def _data(arguments: argparse.Namespace, stage: Stage, *, say: Say) -> _Data:
    if not arguments.data:
        is_last = stage.number == LAST_STAGE  # what comes before is no more than a beginning
        sample = _rendered(arguments, stage).sample
        return _Data(sample, "rendered scenes", teaches_speaking=is_last and SPOKEN in stage.mix)
    recorded = _recorded(arguments, stage, names=arguments.data, say=say)
    if "language" not in stage.rates and recorded.num_of_words:
        if recorded.num_of_words == recorded.num_conversations:
            raise InputError("--data: expected pictures where the decoder learns nothing, got none")
        say(
            f"{recorded.num_of_words} of {recorded.num_conversations} conversations have no "
            "picture: nothing is learnt of them where the decoder learns nothing"
        )
    name = ", ".join(Path(name).name for name in arguments.data)
    return _Data(recorded.sample, name, teaches_speaking=recorded.teaches_speaking)


def _held_out(arguments: argparse.Namespace, stage: Stage, *, say: Say) -> HeldOut | None:
    """Give what the run is measured by: files, or scenes that are never trained on."""
    every = arguments.eval_every or 0
    if arguments.held_out:
        recorded = _recorded(arguments, stage, names=arguments.held_out, say=say)
        num_samples = min(recorded.num_conversations, MOST_HELD_OUT)
        return HeldOut(recorded.sample, num_samples, every)
    if arguments.eval_every is None:
        return None
    if arguments.data:
        raise InputError("--eval-every: expected --held-out beside --data, got none")
    rendered = replace(_rendered(arguments, stage), first_scene=FIRST_HELD_OUT_SEED, seed=0)
    return HeldOut(rendered.sample, NUM_HELD_OUT_SCENES, every)


def _recorded(
    arguments: argparse.Namespace, stage: Stage, *, names: Sequence[str], say: Say
) -> Recorded:
    from pipeline.recorded import Media

    start, private = getattr(arguments, "from"), getattr(arguments, "private", {})
    grid_of = partial(pin_grid, max_tokens=arguments.max_tokens_per_frame)
    media = Remembered(Media(grid_of, private=private), paths=private)
    sampled = partial(
        sample_of,
        media=media,
        prune=prune_clip,
        stage=stage,
        shows_now=prompt_at(start).shows_now,
    )
    tokenizer = None if start is None else Tokenizer.load(locate(str(start)))

    def tried(conversation: Conversation) -> None:
        sample = sampled(conversation)
        if tokenizer is not None:  # stage 0 makes its own
            check_length(sample, tokenizer)

    paths, weights = weighed(names)
    with Waiting("reading the data", say=say, now_s=SystemClock().monotonic_s):
        files = read_files(paths, tried=tried, skip_bad=arguments.skip_bad, progress=say)
    return Recorded(files, sampled, seed=arguments.seed, weights=weights)


def _rendered(arguments: argparse.Namespace, stage: Stage) -> Rendered:
    if arguments.longest < SHORTEST_FRAMES:
        raise InputError(
            f"--longest: expected {SHORTEST_FRAMES} s or more, got {arguments.longest}"
        )
    if not 0 <= arguments.busy <= 1:
        raise InputError(f"--busy: expected a share from 0 to 1, got {arguments.busy:g}")
    return Rendered(
        mix=stage.mix,
        seed=arguments.seed + stage.number,
        prune=prune_clip,
        memo=ClipMemo(arguments.memo or arguments.out / "clips"),
        num_scenes=arguments.scenes,
        image_merge=stage.image_merge,
        prompt=prompt_at(getattr(arguments, "from")),
        longest_frames=arguments.longest,
        busy_share=arguments.busy,
    )


def _ended(job: Job, *, what: str, say: Say) -> int:
    """Draw the curve and say what there is now."""
    try:
        from worker.training.curve import draw_curve
    except ImportError:  # a bare machine with a GPU
        say("no curve is drawn: Pillow is not installed here")
    else:
        curve = draw_curve(job.out, title=f"{job.out.resolve().name}: {what}")
        say(f"{what}: curve in {curve}")
    if not is_done(job):
        say(f"{what}: stopped, its state is saved; the same command and --resume go on")
        return UNFINISHED
    finish(job.out)
    say(f"{what}: done, the model is in {job.out}")
    return 0
