"""A packed batch through the network: the loss on its answers."""

from typing import NamedTuple, Self

import torch
import torch.nn.functional as F  # noqa: N812, the field's own name
from torch import Tensor

from model.training.clip_encoder import encode_rows
from model.training.forked import ForkedAttention
from model.training.packing import IGNORED, Packed
from model.training.padded import PaddedAttention
from model.videollama3.network import VideoLlama3
from model.videollama3.vision import merge


class Labelled(NamedTuple):
    """Rows of the decoder that have a label.

    Attributes:
        hidden: (n, D).
        labels: (n,) int64.
        weights: (n,) float32.
    """

    hidden: Tensor
    labels: Tensor
    weights: Tensor

    def where(self, mask: Tensor) -> Self:
        """Give some of them, by a mask (n,)."""
        return type(self)(*(one[mask] for one in self))


def loss_of(model: VideoLlama3, hidden: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Give the weighted mean cross entropy of what `answer_rows` gives, a float32 scalar."""
    losses = F.cross_entropy(model.language.logits(hidden), labels, reduction="none")
    return (losses * weights).sum() / weights.sum()


def answer_rows(model: VideoLlama3, batch: Packed) -> Labelled:
    """Run a batch; give its labelled rows."""
    features = visual_features(model, batch)
    visual = model.projector(torch.cat(features)) if features else None
    return read(model, batch, visual)


def read(model: VideoLlama3, batch: Packed, visual: Tensor | None) -> Labelled:
    """Decode a batch; give its labelled rows.

    The head is as wide as the vocabulary, so it is left to the rows that have a label.

    Args:
        model: the decoder is run.
        batch: samples in one row.
        visual: (num_visual, D), projected, in the order of the batch's rows; None without any.
    """
    device = model.device
    embeds = model.language.embed(batch.ids.to(device))
    if visual is not None:
        again, which = batch.shown_again.to(device).unbind(-1)
        rows = torch.cat((batch.visual.to(device), again))
        visual = torch.cat((visual, visual[which]))
        embeds = embeds.index_copy(0, rows, visual.to(embeds.dtype))
    labelled = (batch.labels != IGNORED).nonzero()[:, 0]
    wanted = labelled.to(device)
    attention = ForkedAttention if device.type == "cpu" else PaddedAttention
    hidden = model.language.forward(
        embeds,
        batch.positions.to(device),
        attend=attention(batch.layouts, device=device, wanted=wanted),
        wanted=wanted,
    )
    return Labelled(
        hidden,
        batch.labels[labelled].to(device),
        batch.weights[labelled].to(device),
    )


def choices(batch: Packed) -> Tensor:
    """Say which of a batch's labelled rows choose between speaking and watching on, (n,) bool."""
    return batch.is_choice[batch.labels != IGNORED]


def visual_features(model: VideoLlama3, batch: Packed) -> list[Tensor]:
    """Encode the frames of a batch: (rows, vision width) for each sample that has any, in order."""
    outputs: list[Tensor] = [torch.empty(0)] * len(batch.shown)
    for merge_size, places, clips in batch.piles:
        rows = merge(encode_rows(model, clips), merge_size)
        counts = [batch.shown[place].num_rows for place in places]
        for place, piece in zip(places, torch.split(rows, counts), strict=True):
            outputs[place] = piece
    return outputs
