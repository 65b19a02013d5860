"""A stage of the recipe, from a folder to a folder; and the beginning that nano starts from."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from model.delta import VisionMode
from model.errors import InputError
from model.network import VideoLlama3
from model.tokenizer import Tokenizer
from model.training.feed import batches
from model.training.loop import Loop, Progress, Schedule
from model.training.loss import answer_loss
from model.training.packing import Packed, pack
from model.training.pretrain import Labelled, Namer
from model.training.sample import Sample
from model.training.stages import Stage, parameter_groups
from model.training.words import Speaker

MAX_TOKENS = 65_536
SAYING_RATES = {"vision": 6e-4, "projector": 2e-3, "scale": 1e-2}
Item = TypeVar("Item")
Batch = TypeVar("Batch")


@dataclass(frozen=True, slots=True)
class Plan:
    """How a run is carried out; the stage says what it trains.

    Attributes:
        num_steps: steps in all.
        batch_size: samples of a step, packed into one row.
        num_workers: processes that make samples.
        save_every: steps between two saved states.
        mode: how the encoder sees a clip: `delta` as in service.
        compute_dtype: what products are taken in; None for the weights' own.
    """

    num_steps: int
    batch_size: int
    num_workers: int = 1
    save_every: int = 100
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
    out: Path,
) -> Iterator[Progress]:
    """Train `model` in place, from wherever a run in `out` was cut off.

    Args:
        model: in float32, on the device to train on.
        tokenizer: of the same checkpoint.
        stage: what is trained, and how fast.
        sample: the data: a number to a sample; step n takes batch_size of them from there on.
        plan: how long, and how.
        out: where state and losses are kept.
    """
    loop: Loop[Packed] = Loop(
        model,
        parameter_groups(model, stage),
        loss=functools.partial(answer_loss, model, mode=plan.mode),
        schedule=Schedule(plan.num_steps, save_every=plan.save_every),
        out=out,
        compute_dtype=plan.compute_dtype,
    )
    yield from loop.run(_feed(sample, functools.partial(_packed, tokenizer=tokenizer), plan))


def run_naming(
    namer: Namer, *, clip: Callable[[int], Labelled], rate: float, plan: Plan, out: Path
) -> Iterator[Progress]:
    """Train an encoder to name what it sees: see `pretrain`."""
    parameters = [*namer.model.vision.parameters(), *namer.heads.parameters()]
    loop: Loop[list[Labelled]] = Loop(
        namer,
        [{"params": parameters, "lr": rate}],
        loss=namer.loss,
        schedule=Schedule(plan.num_steps, save_every=plan.save_every, warmup_share=0.05),
        out=out,
        compute_dtype=plan.compute_dtype,
    )
    yield from loop.run(_feed(clip, list, plan))


def run_saying(
    speaker: Speaker, *, clip: Callable[[int], Labelled], plan: Plan, out: Path
) -> Iterator[Progress]:
    """Train a projector, and its encoder a little, to say what tokens show: see `words`."""
    groups = [
        {"params": list(speaker.model.vision.parameters()), "lr": SAYING_RATES["vision"]},
        {"params": list(speaker.model.projector.parameters()), "lr": SAYING_RATES["projector"]},
        {"params": [speaker.scale, speaker.bias], "lr": SAYING_RATES["scale"]},
    ]
    loop: Loop[list[Labelled]] = Loop(
        speaker,
        groups,
        loss=speaker.loss,
        schedule=Schedule(plan.num_steps, save_every=plan.save_every),
        out=out,
        compute_dtype=plan.compute_dtype,
    )
    yield from loop.run(_feed(clip, list, plan))


def _packed(samples: Sequence[Sample], *, tokenizer: Tokenizer) -> Packed:
    return pack(samples, tokenizer, max_tokens=MAX_TOKENS)


def _feed(
    item: Callable[[int], Item], collate: Callable[[Sequence[Item]], Batch], plan: Plan
) -> Callable[[int], Iterator[Batch]]:
    def begin(first_step: int) -> Iterator[Batch]:
        return batches(
            item,
            collate,
            batch_size=plan.batch_size,
            first_step=first_step,
            num_steps=plan.num_steps,
            num_workers=plan.num_workers,
        )

    return begin
