"""A stage of the recipe, from a folder to a folder."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from model.engine.config import VisionMode
from model.errors import InputError
from model.family import Prompt
from model.training.clip_encoder import CPU_GROUP_FRAMES
from model.training.feed import batches
from model.training.folder import write_folder
from model.training.loop import Loop, Progress, Schedule
from model.training.packing import Packed, pack
from model.training.sample import Sample
from model.training.stages import Stage, parameter_groups
from model.training.teaching import Pupil
from model.videollama3.checkpoint import load_model
from model.videollama3.hub import locate
from model.videollama3.network import VideoLlama3
from model.videollama3.prompt import NANO_1, prompt_of
from model.videollama3.tokenizer import Tokenizer

MAX_TOKENS = 65_536
GPU_GROUP_FRAMES = 1024
HEADS_RATE = 2e-3
HEADS_FILE = "heads.safetensors"
CARD = """\
# {name}

A VideoLLaMA3 trained by `vigil train --stage {number}` ({stage}), {num_steps} steps of
{batch_size} samples on {data}, from `{start}`, seed {seed}.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a run is carried out; the stage says what it trains.

    Attributes:
        num_steps: steps in all.
        batch_size: samples of a step, packed into one row.
        num_workers: processes that make samples.
        save_every: steps between two saved states.
        floor: the last rate over the highest.
        mode: how the encoder sees a clip: `delta` as in service.
        compute_dtype: what products are taken in; None for the weights' own.
    """

    num_steps: int
    batch_size: int
    num_workers: int = 1
    save_every: int = 100
    floor: float = 0.02
    mode: VisionMode = "delta"
    compute_dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        """Refuse a run without steps.

        Raises:
            InputError: a number is below 1.
        """
        if min(self.num_steps, self.batch_size, self.save_every) < 1 or self.num_workers < 0:
            raise InputError(
                "plan: expected at least one step, one sample a step and no fewer than no workers, "
                f"got {self.num_steps}, {self.batch_size} and {self.num_workers}"
            )


def run_stage(
    model: VideoLlama3,
    tokenizer: Tokenizer,
    stage: Stage,
    *,
    sample: Callable[[int], Sample],
    plan: Plan,
    start: Path | None,
    out: Path,
) -> Iterator[Progress]:
    """Train `model` in place, from wherever a run in `out` was cut off.

    Args:
        model: in float32, on the device to train on.
        tokenizer: of the same checkpoint.
        stage: what is trained, and how fast.
        sample: the data: a number to a sample; step n takes batch_size of them from there on.
        plan: how long, and how.
        start: a folder where the heads of an earlier stage may lie; None for new ones.
        out: where state, losses and heads are kept.
    """
    pupil = Pupil(model).to(model.device)
    if start is not None and (start / HEADS_FILE).is_file():
        pupil.heads.load_state_dict(load_file(start / HEADS_FILE))
    heads = {
        "name": "heads", "params": list(pupil.heads.parameters()), "lr": HEADS_RATE, "rule": "adamw"
    }  # fmt: skip
    loop: Loop[Packed] = Loop(
        pupil,
        [*parameter_groups(model, stage), heads],
        loss=pupil.loss,
        schedule=Schedule(plan.num_steps, floor=plan.floor, save_every=plan.save_every),
        out=out,
        compute_dtype=plan.compute_dtype,
    )
    is_on_cpu = model.device.type == "cpu"
    collate = functools.partial(
        pack,
        tokenizer=tokenizer,
        max_tokens=MAX_TOKENS,
        mode=plan.mode,
        group_frames=CPU_GROUP_FRAMES if is_on_cpu else GPU_GROUP_FRAMES,
    )
    yield from loop.run(
        lambda first_step: batches(
            sample,
            collate,
            batch_size=plan.batch_size,
            first_step=first_step,
            num_steps=plan.num_steps,
            num_workers=plan.num_workers,
        )
    )
    save_file(pupil.heads.state_dict(), out / HEADS_FILE)


def prompt_at(start: Path | None) -> Prompt:
    """Return the prompt that a stage trains with: its start's, or nano's where it has none."""
    return NANO_1 if start is None else prompt_of(locate(str(start)))


def train_folder(
    start: Path,
    stage: Stage,
    *,
    sample: Callable[[int], Sample],
    plan: Plan,
    out: Path,
    device: str,
    data: str,
    seed: int,
) -> Iterator[Progress]:
    """Train the model of a folder and write another that `transformers` loads too.

    Args:
        start: a model folder, or the name of a published model.
        stage: what is trained, and how fast.
        sample: the data, as in `run_stage`.
        plan: how long, and how.
        out: the folder to make; a run that was cut off there goes on.
        device: `cpu` or `cuda`.
        data: what the samples are made of, for the model's card.
        seed: of the samples, for the model's card.

    Raises:
        CheckpointError: there is no whole checkpoint at `start`.
    """
    folder = locate(str(start))
    tokenizer = Tokenizer.load(folder)
    model = load_model(folder, device=torch.device(device), dtype=torch.float32)
    model.requires_grad_(requires_grad=True)
    yield from run_stage(model, tokenizer, stage, sample=sample, plan=plan, start=folder, out=out)
    card = CARD.format(
        name=out.resolve().name,
        number=stage.number,
        stage=stage.name,
        num_steps=plan.num_steps,
        batch_size=plan.batch_size,
        data=data,
        start=start.name,
        seed=seed,
    )
    write_folder(
        model,
        out,
        tokenizer_source=folder,
        card=card,
        image_merge_size=stage.image_merge,
        prompt=prompt_of(folder),
    )
