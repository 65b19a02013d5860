"""How many answers of samples that are not trained on a model gives right."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812, the field's own name

from model.training.loss import answer_rows
from model.training.packing import IGNORED, Packed
from model.training.sample import Sample
from model.videollama3.network import VideoLlama3


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What a run is measured by.

    Attributes:
        sample: a number to a sample; none of them is trained on.
        num_samples: how many are looked at, from the first on.
        every: steps between two looks; 0 for before the first step and after the last alone.
    """

    sample: Callable[[int], Sample]
    num_samples: int
    every: int = 0


@torch.no_grad()
def measured(model: VideoLlama3, batches: Iterable[Packed]) -> dict[str, float]:
    """Measure a model.

    Returns:
        `right`: the share of the answers that greedy decoding would give word for word. Each of
        their tokens is then the likeliest after those before it, so one pass tells.
        `loss`: as in training, the weighted mean over the answers' tokens.
    """
    num_right = num_answers = 0
    total = weight = 0.0
    for batch in batches:
        hidden, labels, weights = answer_rows(model, batch)
        logits = model.language.logits(hidden)
        losses = F.cross_entropy(logits, labels, reduction="none")
        total += float((losses * weights).sum())
        weight += float(weights.sum())
        rows = (batch.labels != IGNORED).nonzero()[:, 0]
        # An answer is a run of labelled rows: between two there is a row without a label.
        answers = (rows.diff(prepend=rows[:1] - 2) > 1).cumsum(0) - 1
        is_wrong = (logits.argmax(-1) != labels).cpu()
        wrong = torch.zeros(int(answers[-1]) + 1, dtype=torch.bool)
        wrong[answers[is_wrong]] = True
        num_right += int((~wrong).sum())
        num_answers += len(wrong)
    return {"right": num_right / max(1, num_answers), "loss": total / max(1e-9, weight)}
