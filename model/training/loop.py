"""The one training loop: resumable, the same curve for the same seed."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
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
    """Where a run is: the step just done (from 1), of how many, and its loss."""

    step: int
    num_steps: int
    loss: float


class Loop(Generic[Batch]):
    """Steps over batches; its state is on disk every `save_every` steps and at the end."""

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[dict[str, Any]],
        *,
        loss: Callable[[Batch], Tensor],
        schedule: Schedule,
        out: Path,
        compute_dtype: torch.dtype | None = None,
    ) -> None:
        """Begin, or go on where an earlier run in `out` was cut off.

        Args:
            model: what is trained and saved, in float32.
            groups: AdamW's parameter groups, each with its highest rate as `lr`.
            loss: a batch's loss.
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
        self._optimizer = torch.optim.AdamW(
            list(groups), betas=(0.9, 0.98), eps=1e-8, weight_decay=0.0, fused=True
        )
        self._rates = [float(group["lr"]) for group in self._optimizer.param_groups]
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
                loss = self._train(batch)
                self._step += 1
                losses.write(json.dumps({"step": self._step, "loss": round(loss, 6)}) + "\n")
                if self._step % self._schedule.save_every == 0:
                    losses.flush()
                    self._save()
                yield Progress(self._step, self._schedule.num_steps, loss)
        self._save()

    def _train(self, batch: Batch) -> float:
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * self._schedule.rate(self._step)
        device = next(self._model.parameters()).device
        dtype = self._compute_dtype
        with torch.autocast(device.type, dtype) if dtype else nullcontext():
            loss = self._loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        trained = [p for group in self._optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(trained, self._schedule.max_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def _save(self) -> None:
        """Write the state beside the old one and put it in its place: a kill leaves one whole."""
        tensors = {f"model.{name}": value for name, value in self._model.state_dict().items()}
        for index, moments in self._optimizer.state_dict()["state"].items():
            for name, value in moments.items():
                tensors[f"optimizer.{index}.{name}"] = value
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
        moments: dict[int, dict[str, Tensor]] = {}
        weights: dict[str, Tensor] = {}
        for key, value in tensors.items():
            part, _, name = key.partition(".")
            if part == "model":
                weights[name] = value
            else:
                index, _, moment = name.partition(".")
                moments.setdefault(int(index), {})[moment] = value
        self._model.load_state_dict(weights)
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self._step = int(metadata["step"])
        path = self._out / LOSSES_FILE
        kept = path.read_text(encoding="utf-8").splitlines()[: self._step] if path.exists() else []
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
