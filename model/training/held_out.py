"""How many answers of samples that are not trained on a model gives right."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812, the field's own name

from model.training.loss import Labelled, answer_rows, choices
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
        `spoken` and `silent`, where the samples say when something is worth saying: the share of
        those frames, and of the others, after which the model chooses so.
    """
    num_right = num_answers = 0
    total = weight = 0.0
    chosen: dict[str, list[bool]] = {}
    for batch in batches:
        rows, is_choice = answer_rows(model, batch), choices(batch)
        for label, is_right in _chosen(model, rows.where(is_choice), batch.choice_ids):
            chosen.setdefault(label, []).append(is_right)
        hidden, labels, weights = rows.where(~is_choice)
        logits = model.language.logits(hidden)
        losses = F.cross_entropy(logits, labels, reduction="none")
        total += float((losses * weights).sum())
        weight += float(weights.sum())
        places = (batch.labels != IGNORED).nonzero()[:, 0][~is_choice]
        # An answer is a run of labelled rows: between two there is a row without a label.
        answers = (places.diff(prepend=places[:1] - 2) > 1).cumsum(0) - 1
        is_wrong = (logits.argmax(-1) != labels).cpu()
        wrong = torch.zeros(int(answers[-1]) + 1, dtype=torch.bool)
        wrong[answers[is_wrong]] = True
        num_right += int((~wrong).sum())
        num_answers += len(wrong)
    found = {"right": num_right / max(1, num_answers), "loss": total / max(1e-9, weight)}
    return found | {name: sum(each) / len(each) for name, each in chosen.items()}


def _chosen(
    model: VideoLlama3, rows: Labelled, choice_ids: tuple[int, int]
) -> Iterator[tuple[str, bool]]:
    """Say of each choice which one it was, and whether the model makes it too."""
    speak, watch = choice_ids
    logits = model.language.logits(rows.hidden)
    spoken = (logits[:, speak] > logits[:, watch]).tolist()
    for is_worth, is_spoken in zip((rows.labels == speak).tolist(), spoken, strict=True):
        yield "spoken" if is_worth else "silent", is_spoken == is_worth
