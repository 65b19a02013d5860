"""`vigil train`: one stage of the recipe, on rendered scenes or on conversation files.

Imports no driver but what it needs, so that it also runs on a bare machine with a GPU.
"""

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from model.errors import InputError
from model.training.begin import BEGINNING, begin
from model.training.conversation import Conversation, MediaReader, read
from model.training.folder import write_folder
from model.training.loop import Progress
from model.training.memo import ClipMemo
from model.training.recipe import Plan, run_stage
from model.training.rendered import Rendered
from model.training.sample import Sample
from model.training.shown import sample_of
from model.training.stages import NANO, PAPER, Kind, Stage
from model.videollama3.checkpoint import load_model, locate
from model.videollama3.tokenizer import Tokenizer
from pipeline.clock import SystemClock
from pipeline.pruner import prune_clip

Table = Literal["nano", "paper"]
REPORT_EVERY_S = 5.0
SMOOTHING = 0.95
CARD = """\
# {name}

A VideoLLaMA3 trained by `vigil train --stage {number}` ({stage}), {num_steps} steps of
{batch_size} samples on {data}, from `{start}`, seed {seed}.
"""


@dataclass(frozen=True, slots=True)
class Order:
    """What the command line asks for.

    Attributes:
        stage: 1 to 4, or 0 for the beginning that nano starts from.
        out: the folder to make; a run that was cut off there goes on.
        start: the model folder to start from; None only for the beginning.
        data: conversation files; empty for rendered scenes.
        table: which rates and mix: nano's, or the paper's for real checkpoints.
        num_steps: steps in all.
        rate: the table's rates are multiplied by it; the beginning's are its own.
        batch_size: samples of a step.
        seed: of data and of whatever is drawn.
        num_scenes: rendered clips there are; they come again with other questions.
        memo: where rendered clips are kept.
        device: `cpu`, `cuda`.
        is_bfloat16: products are taken in bfloat16.
        num_workers: processes that make samples.
        num_threads: of the training itself, on a CPU.
        max_tokens_per_frame: of files' pictures.
        skip_bad: pass over samples of the files that do not fit, and list them.
    """

    stage: int
    out: Path
    start: Path | None
    data: tuple[Path, ...]
    table: Table
    num_steps: int
    rate: float
    batch_size: int
    seed: int
    num_scenes: int
    memo: Path
    device: str
    is_bfloat16: bool
    num_workers: int
    num_threads: int
    max_tokens_per_frame: int
    skip_bad: bool


def train(order: Order) -> int:
    """Run one stage; return the process's exit status."""
    torch.set_num_threads(order.num_threads)
    plan = Plan(
        num_steps=order.num_steps,
        batch_size=order.batch_size,
        num_workers=order.num_workers,
        compute_dtype=torch.bfloat16 if order.is_bfloat16 else None,
    )
    if order.stage == BEGINNING.number:
        if order.rate != 1:
            raise InputError(f"--rate: expected none with --stage 0, got {order.rate:g}")
        rendered = _rendered(order, mix=BEGINNING.mix, image_merge=BEGINNING.image_merge)
        show(begin(rendered, plan=plan, seed=order.seed, out=order.out), what="beginning")
        return 0
    stage = stage_of(order.stage, table=order.table, rate=order.rate)
    if order.start is None:
        raise InputError(f"--from: expected the folder that stage {stage.number} starts from")
    folder = locate(str(order.start))
    tokenizer = Tokenizer.load(folder)
    model = load_model(folder, device=torch.device(order.device), dtype=torch.float32)
    model.requires_grad_(requires_grad=True)
    progress = run_stage(
        model,
        tokenizer,
        stage,
        sample=_samples(order, stage),
        plan=plan,
        start=folder,
        out=order.out,
    )
    show(progress, what=f"stage {stage.number}, {stage.name}")
    card = CARD.format(
        name=order.out.resolve().name,
        number=stage.number,
        stage=stage.name,
        num_steps=plan.num_steps,
        batch_size=plan.batch_size,
        data=", ".join(path.name for path in order.data) or "rendered scenes",
        start=order.start.name,
        seed=order.seed,
    )
    write_folder(
        model, order.out, tokenizer_source=folder, card=card, image_merge_size=stage.image_merge
    )
    return 0


def stage_of(number: int, *, table: Table, rate: float = 1.0) -> Stage:
    """Give a row of a table, its rates multiplied by `rate`.

    Raises:
        InputError: there is no such stage, or the rate is not a positive number.
    """
    if not 0 < rate < inf:
        raise InputError(f"--rate: expected more than 0, got {rate:g}")
    stages = {stage.number: stage for stage in (NANO if table == "nano" else PAPER)}
    if number not in stages:
        raise InputError(f"--stage: expected 0 to {max(stages)}, got {number}")
    stage = stages[number]
    return replace(stage, rates={part: rate * each for part, each in stage.rates.items()})


def show(progress: Iterable[Progress], *, what: str) -> None:
    """Print how a run goes, now and then."""
    clock = SystemClock()
    began_s = shown_s = clock.monotonic_s()
    first = 0
    smooth: dict[str, float] = {}
    for one in progress:
        first = first or one.step
        for name, value in (("loss", one.loss), *one.parts.items()):
            smooth[name] = SMOOTHING * smooth.get(name, value) + (1 - SMOOTHING) * value
        now_s = clock.monotonic_s()
        if now_s - shown_s >= REPORT_EVERY_S or one.step == one.num_steps:
            each_s = (now_s - began_s) / (one.step - first + 1)
            left_s = each_s * (one.num_steps - one.step)
            told = ", ".join(f"{name} {value:.4f}" for name, value in smooth.items())
            line = f"{what}: step {one.step} of {one.num_steps}, {told}"
            sys.stderr.write(f"{line}, {each_s:.2f} s a step, {left_s / 60:.1f} min left\n")
            sys.stderr.flush()
            shown_s = now_s


def _samples(order: Order, stage: Stage) -> Callable[[int], Sample]:
    if not order.data:
        return _rendered(order, mix=stage.mix, image_merge=stage.image_merge).sample
    from worker.training_media import Media

    media = Media(max_tokens_per_frame=order.max_tokens_per_frame)
    conversations = list(_conversations(order, media))
    if not conversations:
        raise InputError("--data: expected at least one sound conversation, got none")
    return functools.partial(
        _numbered, conversations=conversations, seed=order.seed, media=media, stage=stage
    )


def _conversations(order: Order, media: MediaReader) -> Iterator[Conversation]:
    for path in order.data:
        file = read(path, media=media, skip_bad=order.skip_bad)
        for problem in file.skipped:
            sys.stderr.write(f"skipped {problem.source}: {problem.message}\n")
        total = len(file.conversations) + len(file.skipped)
        sys.stderr.write(f"{path}: {len(file.conversations)} of {total} conversations\n")
        yield from file.conversations


def _numbered(
    index: int, *, conversations: list[Conversation], seed: int, media: MediaReader, stage: Stage
) -> Sample:
    """Give sample `index`: every epoch has every conversation once, in an order of its own."""
    epoch, place = divmod(index, len(conversations))
    order = np.random.default_rng((seed, epoch)).permutation(len(conversations))
    return sample_of(conversations[int(order[place])], media=media, prune=prune_clip, stage=stage)


def _rendered(order: Order, *, mix: Mapping[Kind, float], image_merge: int) -> Rendered:
    return Rendered(
        mix=mix,
        seed=order.seed + order.stage,
        prune=prune_clip,
        memo=ClipMemo(order.memo),
        num_scenes=order.num_scenes,
        image_merge=image_merge,
    )
