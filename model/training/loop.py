"""The one training loop: resumable, the same curve for the same seed."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from model.errors import InputError

Batch = TypeVar("Batch")
STATE_FILE = "state.safetensors"
LOSSES_FILE = "losses.jsonl"


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long to train and how fast.

    Attributes:
        num_steps: steps in all.
        warmup_share: of them with a rising rate; a cosine takes it down to `floor` afterwards.
        floor: the last rate over the highest.
        max_norm: gradients are scaled down to this.
        save_every: steps between two saved states.
    """

    num_steps: int
    warmup_share: float = 0.03
    floor: float = 0.02
    max_norm: float = 1.0
    save_every: int = 200

    def rate(self, step: int) -> float:
        """Give the share of the highest rate at a step, counted from 0."""
        warmup = max(1, round(self.warmup_share * self.num_steps))
        if step < warmup:
            return (step + 1) / warmup
        share = (step - warmup) / max(1, self.num_steps - warmup)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is: the step just done (from 1), of how many, its loss and that one's parts."""

    step: int
    num_steps: int
    loss: float
    parts: Mapping[str, float] = field(default_factory=dict)


class Loop(Generic[Batch]):
    """Steps over batches; its state is on disk every `save_every` steps and at the end."""

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[dict[str, Any]],
        *,
        loss: Callable[[Batch], Mapping[str, Tensor]],
        schedule: Schedule,
        out: Path,
        compute_dtype: torch.dtype | None = None,
    ) -> None:
        """Begin, or go on where an earlier run in `out` was cut off.

        Args:
            model: what is trained and saved, in float32.
            groups: parameter groups as `stages.parameter_groups` gives them: each with its highest
                rate as `lr`, and stepped by AdamW unless its `rule` is `muon`.
            loss: a batch's loss, as parts to be summed.
            schedule: how long and how fast.
            out: folder of the state and the losses; made when missing.
            compute_dtype: products are taken in it, under autocast; None for the weights' own.

        Raises:
            InputError: the state in `out` is of a run with another number of steps.
        """
        self._model = model
        self._loss = loss
        self._schedule = schedule
        self._out = out
        self._compute_dtype = compute_dtype
        self._optimizers = list(_optimizers(groups))
        self._rates = [
            [float(group["lr"]) for group in optimizer.param_groups]
            for optimizer in self._optimizers
        ]
        self._step = 0
        out.mkdir(parents=True, exist_ok=True)
        if (out / STATE_FILE).is_file():
            self._resume()

    @property
    def step(self) -> int:
        """Steps done."""
        return self._step

    def run(self, batches: Callable[[int], Iterator[Batch]]) -> Iterator[Progress]:
        """Train to the end, telling of every step.

        Args:
            batches: from a step to the batches of that step and all after it.
        """
        with (self._out / LOSSES_FILE).open("a", encoding="utf-8") as losses:
            for batch in batches(self._step):
                if self._step >= self._schedule.num_steps:
                    break
                parts = self._train(batch)
                self._step += 1
                loss = sum(parts.values())
                line = {"step": self._step, "loss": loss, **parts}
                rounded = {name: round(value, 6) for name, value in line.items()}
                losses.write(json.dumps(rounded) + "\n")
                if self._step % self._schedule.save_every == 0:
                    losses.flush()
                    self._save()
                yield Progress(self._step, self._schedule.num_steps, loss, parts)
        self._save()

    def _train(self, batch: Batch) -> dict[str, float]:
        share = self._schedule.rate(self._step)
        for optimizer, rates in zip(self._optimizers, self._rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * share
        device = next(self._model.parameters()).device
        dtype = self._compute_dtype
        with torch.autocast(device.type, dtype) if dtype else nullcontext():
            parts = self._loss(batch)
        torch.autograd.backward(torch.stack(list(parts.values())).sum())
        nn.utils.clip_grad_norm_(
            [
                parameter
                for optimizer in self._optimizers
                for group in optimizer.param_groups
                for parameter in group["params"]
            ],
            self._schedule.max_norm,
        )
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return {name: float(part.detach()) for name, part in parts.items()}

    def _save(self) -> None:
        """Write the state beside the old one and put it in its place: a kill leaves one whole."""
        tensors = {f"model.{name}": value for name, value in self._model.state_dict().items()}
        for number, optimizer in enumerate(self._optimizers):
            for index, moments in optimizer.state_dict()["state"].items():
                for name, value in moments.items():
                    tensors[f"optimizer.{number}.{index}.{name}"] = value
        metadata = {"step": str(self._step), "num_steps": str(self._schedule.num_steps)}
        part = self._out / f"{STATE_FILE}.part"
        save_file({name: x.contiguous() for name, x in tensors.items()}, part, metadata=metadata)
        part.replace(self._out / STATE_FILE)

    def _resume(self) -> None:
        with safe_open(self._out / STATE_FILE, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if int(metadata["num_steps"]) != self._schedule.num_steps:
            raise InputError(
                f"{self._out}: expected a run of {self._schedule.num_steps} steps, "
                f"got one of {metadata['num_steps']}"
            )
        states: list[dict[int, dict[str, Tensor]]] = [{} for _ in self._optimizers]
        weights: dict[str, Tensor] = {}
        for key, value in tensors.items():
            part, _, name = key.partition(".")
            if part == "model":
                weights[name] = value
            else:
                number, index, moment = name.split(".")
                states[int(number)].setdefault(int(index), {})[moment] = value
        self._model.load_state_dict(weights)
        for optimizer, state in zip(self._optimizers, states, strict=True):
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        self._step = int(metadata["step"])
        path = self._out / LOSSES_FILE
        kept = path.read_text(encoding="utf-8").splitlines()[: self._step] if path.exists() else []
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _optimizers(groups: Sequence[dict[str, Any]]) -> Iterator[torch.optim.Optimizer]:
    """Make what steps the groups.

    Muon (Jordan et al. 2024; its updates scaled to AdamW's, Liu et al. 2025, arXiv 2502.16982)
    orthogonalises a matrix's step, so that no direction of it is left untrained for long.
    """
    muon = [group for group in groups if group.get("rule") == "muon"]
    others = [group for group in groups if group.get("rule") != "muon"]
    if muon:
        yield torch.optim.Muon(muon, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    if others:
        yield torch.optim.AdamW(others, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.0, fused=True)
