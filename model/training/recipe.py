"""A stage of the recipe, from a folder to a folder."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from model.engine.config import VisionMode
from model.errors import InputError
from model.family import Prompt
from model.training.clip_encoder import CPU_GROUP_FRAMES
from model.training.feed import batches
from model.training.folder import write_folder
from model.training.held_out import HeldOut, measured
from model.training.loop import (
    MEASURES_FILE,
    Event,
    Loop,
    Schedule,
    Watch,
    read_lines,
    steps_done,
)
from model.training.lora import adapt, merge_adapters
from model.training.packing import Packed, pack
from model.training.passes import MAX_TOKENS, Pass, in_passes
from model.training.recompute import recompute_layers
from model.training.sample import Sample
from model.training.stages import Stage, parameter_groups
from model.training.teaching import Pupil
from model.videollama3.checkpoint import load_model
from model.videollama3.hub import locate
from model.videollama3.network import VideoLlama3
from model.videollama3.prompt import NANO_2, is_demo, prompt_of, speaks
from model.videollama3.tokenizer import Tokenizer

GPU_GROUP_FRAMES = 1024
HEADS_RATE = 2e-3
HEADS_FILE = "heads.safetensors"
CARD = """\
# {name}

A VideoLLaMA3 trained by `vigil train --stage {number}` ({stage}), {num_steps} steps of
{batch_size} samples on {data}, from `{start}`, seed {seed}{how}.{measures}
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a run is carried out; the stage says what it trains.

    Attributes:
        num_steps: steps in all.
        batch_size: samples of a step, packed into one row or, where they are too long, several.
        num_workers: processes that make samples.
        floor: the last rate over the highest.
        mode: how the encoder sees a clip: `delta` as in service.
        compute_dtype: what products are taken in; None for the weights' own.
        lora_rank: the layers get adapters of this rank, which learn in their place; None: they
            learn themselves.
        is_recomputed: layers keep their input alone for the gradients.
    """

    num_steps: int
    batch_size: int
    num_workers: int = 1
    floor: float = 0.02
    mode: VisionMode = "delta"
    compute_dtype: torch.dtype | None = None
    lora_rank: int | None = None
    is_recomputed: bool = False

    def __post_init__(self) -> None:
        """Refuse a run without steps.

        Raises:
            InputError: a number is below 1.
        """
        if min(self.num_steps, self.batch_size) < 1 or self.num_workers < 0:
            raise InputError(
                "plan: expected at least one step, one sample a step and no fewer than no workers, "
                f"got {self.num_steps}, {self.batch_size} and {self.num_workers}"
            )

    @property
    def kept_in(self) -> torch.dtype:
        """What weights are kept in: those that do not learn need no more than products do."""
        return self.compute_dtype if self.lora_rank and self.compute_dtype else torch.float32


@dataclass(frozen=True, slots=True)
class Job:
    """One run.

    Attributes:
        stage: what is trained, and how fast.
        sample: the data: a number to a sample; step n takes batch_size of them from there on.
        plan: how long, and how.
        out: where state, losses, heads and the model are kept.
        watch: what is done between the steps.
        held_out: what the run is measured by; None for nothing.
        seed: of what is drawn anew.
        teaches_speaking: the data say after which frames something is worth saying.
    """

    stage: Stage
    sample: Callable[[int], Sample]
    plan: Plan
    out: Path
    watch: Watch
    held_out: HeldOut | None = None
    seed: int = 0
    teaches_speaking: bool = False


def run_stage(
    model: VideoLlama3, tokenizer: Tokenizer, job: Job, *, start: Path | None
) -> Iterator[Event]:
    """Train `model` in place, from wherever a run in the job's folder was cut off.

    Args:
        model: on the device to train on; what learns of it is kept in float32 from then on.
        tokenizer: of the same checkpoint.
        job: the run.
        start: a folder where the heads of an earlier stage may lie; None for new ones.
    """
    stage, plan = job.stage, job.plan
    pupil = Pupil(model).to(model.device)
    if start is not None and (start / HEADS_FILE).is_file():
        # not strictly: a head that is newer than that stage begins anew
        pupil.heads.load_state_dict(load_file(start / HEADS_FILE), strict=False)
    heads = {
        "name": "heads", "params": list(pupil.heads.parameters()), "lr": HEADS_RATE, "rule": "adamw"
    }  # fmt: skip
    is_on_cpu = model.device.type == "cpu"
    collate = functools.partial(
        pack,
        tokenizer=tokenizer,
        max_tokens=MAX_TOKENS,
        mode=plan.mode,
        group_frames=CPU_GROUP_FRAMES if is_on_cpu else GPU_GROUP_FRAMES,
    )
    watch = job.watch
    if job.held_out is not None:
        made = functools.cache(functools.partial(_held_out, job.held_out, collate=collate))
        watch = replace(
            watch, measure=lambda: measured(model, made()), measure_every=job.held_out.every
        )
    groups = [*parameter_groups(model, stage), heads]
    for weight in (weight for group in groups for weight in group["params"]):
        weight.data = weight.data.float()  # a small step is lost in bfloat16's rounding
    loop: Loop[Pass] = Loop(
        pupil,
        groups,
        loss=lambda one: one.counted(pupil.loss(one.packed)),
        schedule=Schedule(plan.num_steps, floor=plan.floor),
        watch=watch,
        out=job.out,
        compute_dtype=plan.compute_dtype,
    )
    yield from loop.run(
        lambda first_step: batches(
            job.sample,
            functools.partial(in_passes, packed=collate),
            batch_size=plan.batch_size,
            first_step=first_step,
            num_steps=plan.num_steps,
            num_workers=plan.num_workers,
        )
    )
    if loop.is_finished:
        save_file(pupil.heads.state_dict(), job.out / HEADS_FILE)


def is_done(job: Job) -> bool:
    """Say of a run that ended, or was stopped, whether all of its steps are done."""
    return steps_done(job.out) >= job.plan.num_steps


def _measures(out: Path) -> str:
    """Say for the card how many held-out answers were right before and after."""
    measures = [row for row in read_lines(out / MEASURES_FILE) if "right" in row]
    if not measures:
        return ""
    first, last = measures[0], measures[-1]
    return (
        f"\n\nOf the answers that were held out, {first['right']:.1%} were right word for word "
        f"after step {first['step']:.0f} and {last['right']:.1%} after step {last['step']:.0f}."
    )


def _held_out(held_out: HeldOut, *, collate: Callable[[Sequence[Sample]], Packed]) -> list[Packed]:
    """Make the samples that a run is measured by, once: one row each, so that any size fits."""
    return [collate([held_out.sample(number)]) for number in range(held_out.num_samples)]


def prompt_at(start: Path | None) -> Prompt:
    """Return the prompt that a stage trains with: its start's, or nano's where it has none."""
    return NANO_2 if start is None else prompt_of(locate(str(start)))


def train_folder(start: Path, job: Job, *, device: torch.device, data: str) -> Iterator[Event]:
    """Train the model of a folder and write another that `transformers` loads too.

    Args:
        start: a model folder, or the name of a published model.
        job: the run; what was cut off or stopped in its folder goes on.
        device: to train on.
        data: what the samples are made of, for the model's card.

    Raises:
        CheckpointError: there is no whole checkpoint at `start`.
        InputError: the plan does not fit the model.
    """
    stage, plan = job.stage, job.plan
    folder = locate(str(start))
    tokenizer = Tokenizer.load(folder)
    model = load_model(folder, device=device, dtype=plan.kept_in)
    model.requires_grad_(requires_grad=True)
    if plan.lora_rank is not None:
        adapt(model, rank=plan.lora_rank, seed=job.seed)
    if plan.is_recomputed:
        recompute_layers(model)
    yield from run_stage(model, tokenizer, job, start=folder)
    if not is_done(job):
        return
    merge_adapters(model)
    card = CARD.format(
        name=job.out.resolve().name,
        number=stage.number,
        stage=stage.name,
        num_steps=plan.num_steps,
        batch_size=plan.batch_size,
        data=data,
        start=start.name,
        seed=job.seed,
        how=f", by adapters of rank {plan.lora_rank}" if plan.lora_rank else "",
        measures=_measures(job.out),
    )
    write_folder(
        model,
        job.out,
        tokenizer_source=folder,
        card=card,
        image_merge_size=stage.image_merge,
        prompt=prompt_of(folder),
        notes={"demo": is_demo(folder), "speaks": job.teaches_speaking or speaks(folder)},
    )
