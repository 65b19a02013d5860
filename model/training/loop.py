"""The one training loop: resumable, the same curve for the same seed."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TextIO, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from model.errors import DataError, InputError

Batch = TypeVar("Batch")
STATE_FILE = "state.safetensors"
LOSSES_FILE = "losses.jsonl"
MEASURES_FILE = "measures.jsonl"
DIGITS = 6
SAVING_SHARE = 0.05
"""Most of a run's time that goes into saving its state."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long to train and how fast.

    Attributes:
        num_steps: steps in all.
        warmup_share: of them with a rising rate; a cosine takes it down to `floor` afterwards.
        floor: the last rate over the highest.
        max_norm: gradients are scaled down to this.
    """

    num_steps: int
    warmup_share: float = 0.03
    floor: float = 0.02
    max_norm: float = 1.0

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


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found of the weights after a step; step 0 is before the first."""

    step: int
    num_steps: int
    values: Mapping[str, float]


Event = Progress | Measured


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Watch:
    """What is done between the steps.

    Attributes:
        now_s: a clock that only goes forward.
        save_every_s: between two saved states, or longer where saving takes long.
        is_stopped: asked after each step; the run then saves its state and ends.
        measure: what is to be found of the weights; None for nothing.
        measure_every: steps between two; 0 for before the first step and after the last alone.
    """

    now_s: Callable[[], float]
    save_every_s: float = 60.0
    is_stopped: Callable[[], bool] = _never
    measure: Callable[[], Mapping[str, float]] | None = None
    measure_every: int = 0

    def is_measured(self, step: int, *, num_steps: int) -> bool:
        """Say whether the weights are looked at after a step."""
        if self.measure is None:
            return False
        is_due = self.measure_every > 0 and step % self.measure_every == 0
        return is_due or step in (0, num_steps)


class Loop(Generic[Batch]):
    """Steps over batches; its state is on disk now and then, when it is stopped, and at the end."""

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[dict[str, Any]],
        *,
        loss: Callable[[Batch], Mapping[str, Tensor]],
        schedule: Schedule,
        watch: Watch,
        out: Path,
        compute_dtype: torch.dtype | None = None,
    ) -> None:
        """Begin, or go on where an earlier run in `out` was cut off.

        What one that was killed before its first state noted of its steps is deleted.

        Args:
            model: what is trained, in float32; what needs no gradient is not saved.
            groups: parameter groups as `stages.parameter_groups` gives them: each with its highest
                rate as `lr`, and stepped by AdamW unless its `rule` is `muon`.
            loss: a batch's loss, as parts to be summed; of a step's batches too.
            schedule: how long and how fast.
            watch: what is done between the steps.
            out: folder of the state, the losses and what was measured; made when missing.
            compute_dtype: products are taken in it, under autocast; None for the weights' own.

        Raises:
            InputError: the state in `out` is of a run with another number of steps.
            DataError: it is not whole.
        """
        self._model = model
        self._loss = loss
        self._schedule = schedule
        self._watch = watch
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
        else:
            for name in (LOSSES_FILE, MEASURES_FILE):
                (out / name).unlink(missing_ok=True)

    @property
    def step(self) -> int:
        """Steps done."""
        return self._step

    @property
    def is_finished(self) -> bool:
        """Whether all steps are done."""
        return self._step >= self._schedule.num_steps

    def run(self, steps: Callable[[int], Iterator[Sequence[Batch]]]) -> Iterator[Event]:
        """Train to the end, or until the run is stopped, telling of every step.

        Args:
            steps: from a step to what that step and all after it are made of: batches that go
                through the model one after the other, for one change of the weights.

        Raises:
            DataError: the state cannot be written; the one before it is kept.
            InputError: a loss, a gradient or a weight is no finite number; the state before is
                kept.
        """
        watch, saved_s, gap_s = self._watch, self._watch.now_s(), self._watch.save_every_s
        with (self._out / LOSSES_FILE).open("a", encoding="utf-8") as losses:
            if self._step == 0:
                yield from self._measured()
            for batches in () if self.is_finished else steps(self._step):
                parts = self._train(batches)
                self._step += 1
                loss = sum(parts.values())
                _write_line(losses, {"step": self._step, "loss": loss, **parts})
                yield Progress(self._step, self._schedule.num_steps, loss, parts)
                yield from self._measured()
                if self.is_finished or watch.is_stopped():
                    break
                began_s = watch.now_s()
                if began_s - saved_s >= gap_s:
                    self._save()
                    saved_s = watch.now_s()
                    gap_s = max(watch.save_every_s, (saved_s - began_s) / SAVING_SHARE)
        self._save()

    def _measured(self) -> Iterator[Measured]:
        num_steps = self._schedule.num_steps
        if self._watch.measure and self._watch.is_measured(self._step, num_steps=num_steps):
            with torch.no_grad(), self._computing():
                values = self._watch.measure()
            with (self._out / MEASURES_FILE).open("a", encoding="utf-8") as measures:
                _write_line(measures, {"step": self._step, **values})
            yield Measured(self._step, num_steps, values)

    def _computing(self) -> AbstractContextManager[object]:
        device, dtype = next(self._model.parameters()).device, self._compute_dtype
        return torch.autocast(device.type, dtype) if dtype else nullcontext()

    def _train(self, batches: Sequence[Batch]) -> dict[str, float]:
        share = self._schedule.rate(self._step)
        for optimizer, rates in zip(self._optimizers, self._rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * share
        parts: dict[str, float] = {}
        for batch in batches:
            with self._computing():
                losses = self._loss(batch)
            total = torch.stack(list(losses.values())).sum()
            if total.requires_grad:  # not where a frozen decoder reads words alone
                torch.autograd.backward(total)
            for name, loss in losses.items():
                parts[name] = parts.get(name, 0.0) + float(loss.detach())
        norm = nn.utils.clip_grad_norm_(
            [
                parameter
                for optimizer in self._optimizers
                for group in optimizer.param_groups
                for parameter in group["params"]
            ],
            self._schedule.max_norm,
        )
        if not math.isfinite(sum(parts.values()) + float(norm)):
            raise self._diverged(self._step + 1)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return parts

    def _diverged(self, step: int) -> InputError:
        return InputError(
            f"step {step} of {self._schedule.num_steps}: expected finite losses, gradients and "
            f"weights, got others: this run has diverged. It stops, and a state in {self._out} is "
            "left as it was; train anew in another folder, at a lower --rate"
        )

    def _save(self) -> None:
        """Write the state beside the old one and put it in its place: a kill leaves one whole."""
        tensors = {f"model.{name}": value for name, value in self._learnt().items()}
        if not all(bool(value.isfinite().all()) for value in tensors.values()):
            raise self._diverged(self._step)
        for number, optimizer in enumerate(self._optimizers):
            for index, moments in optimizer.state_dict()["state"].items():
                for name, value in moments.items():
                    tensors[f"optimizer.{number}.{index}.{name}"] = value
        metadata = {"step": str(self._step), "num_steps": str(self._schedule.num_steps)}
        part = self._out / f"{STATE_FILE}.part"
        tensors = {name: value.contiguous() for name, value in tensors.items()}
        try:
            save_file(tensors, part, metadata=metadata)
            part.replace(self._out / STATE_FILE)
        except (OSError, SafetensorError) as exc:
            part.unlink(missing_ok=True)
            raise DataError(
                f"{self._out / STATE_FILE}: the state after step {self._step} cannot be written, "
                f"what was there before is kept: {exc}"
            ) from exc

    def _learnt(self) -> dict[str, Tensor]:
        return {
            name: weight.detach()
            for name, weight in self._model.named_parameters()
            if weight.requires_grad
        }

    def _resume(self) -> None:
        with _opened(self._out / STATE_FILE) as state:
            metadata = state.metadata()
            tensors = {name: state.get_tensor(name) for name in state.keys()}  # noqa: SIM118
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
        learnt = self._learnt()
        if weights.keys() != learnt.keys():
            odd = min(weights.keys() ^ learnt.keys())
            raise InputError(f"{self._out}: expected the state of this run, got another's: {odd}")
        self._model.load_state_dict(weights, strict=False)
        for optimizer, state in zip(self._optimizers, states, strict=True):
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        self._step = int(metadata["step"])
        for name in (LOSSES_FILE, MEASURES_FILE):
            _cut_back(self._out / name, step=self._step)


def steps_done(out: Path) -> int:
    """Say after how many steps the state in a folder was saved.

    Raises:
        DataError: there is none, or it is not whole.
    """
    with _opened(out / STATE_FILE) as state:
        return int(state.metadata()["step"])


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Open a state (an untyped `safe_open`), its errors mapped to ours."""
    try:
        with safe_open(file, framework="pt") as state:
            yield state
    except (OSError, SafetensorError) as exc:
        raise DataError(
            f"{file}: expected the whole state of a run, got: {exc}; without this file the same "
            "command begins anew"
        ) from exc


def _write_line(file: TextIO, values: Mapping[str, float]) -> None:
    rounded = {name: round(value, DIGITS) for name, value in values.items()}
    file.write(json.dumps(rounded) + "\n")
    file.flush()  # for whoever watches it grow


def read_lines(path: Path) -> list[dict[str, float]]:
    """Read what a run noted of its steps, but for a line that a kill cut short; none is none."""
    rows: list[dict[str, float]] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with suppress(ValueError):
            rows.append(json.loads(line))
    return rows


def _cut_back(path: Path, *, step: int) -> None:
    """Drop what was written after the saved state."""
    kept = [json.dumps(row) + "\n" for row in read_lines(path) if row["step"] <= step]
    path.write_text("".join(kept), encoding="utf-8")


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
