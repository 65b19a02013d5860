"""A packed batch through the network: the loss on its answers."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812, the field's own name
from torch import Tensor

from model.delta import VisionMode
from model.network import VideoLlama3
from model.training.clip_encoder import encode_rows
from model.training.forked import ForkedAttention
from model.training.packing import IGNORED, Packed
from model.training.sample import Media
from model.types import PrunedFrame
from model.vision import merge


def answer_loss(model: VideoLlama3, batch: Packed, *, mode: VisionMode = "delta") -> Tensor:
    """Give the weighted mean cross entropy of the answers' tokens, a float32 scalar."""
    return loss_of(model, *answer_rows(model, batch, mode=mode))


def loss_of(model: VideoLlama3, hidden: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Give the weighted mean cross entropy of what `answer_rows` gives."""
    losses = F.cross_entropy(model.language.logits(hidden), labels, reduction="none")
    return (losses * weights).sum() / weights.sum()


def answer_rows(
    model: VideoLlama3, batch: Packed, *, mode: VisionMode = "delta"
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a batch; give its labelled rows (n, D), their labels (n,) int64 and weights (n,)."""
    features = visual_features(model, batch, mode=mode)
    visual = model.projector(torch.cat(features)) if features else None
    return read(model, batch, visual)


def read(model: VideoLlama3, batch: Packed, visual: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Decode a batch; give its labelled rows (n, D), their labels (n,) int64 and weights (n,).

    The head is as wide as the vocabulary, so it is left to the rows that have a label.

    Args:
        model: the decoder is run.
        batch: samples in one row.
        visual: (num_visual, D), projected, in the order of the batch's rows; None without any.
    """
    device = model.device
    embeds = model.language.embed(batch.ids.to(device))
    if visual is not None:
        embeds = embeds.index_copy(0, batch.visual.to(device), visual.to(embeds.dtype))
    labelled = (batch.labels != IGNORED).nonzero()[:, 0]
    wanted = labelled.to(device)
    hidden = model.language.forward(
        embeds,
        batch.positions.to(device),
        attend=ForkedAttention(batch.layouts, device=device, wanted=wanted),
        wanted=wanted,
    )
    return (
        hidden,
        batch.labels[labelled].to(device),
        batch.weights[labelled].to(device),
    )


def visual_features(model: VideoLlama3, batch: Packed, *, mode: VisionMode) -> list[Tensor]:
    """Encode the frames of a batch: (rows, vision width) for each sample that has any, in order."""
    shown = [sample for sample in batch.samples if sample.frames]
    outputs: list[Tensor] = [torch.empty(0)] * len(shown)
    for merge_size in {sample.merge_size for sample in shown}:
        chosen = [i for i, sample in enumerate(shown) if sample.merge_size == merge_size]
        clips = [clip for i in chosen for clip in _clips(shown[i].frames, shown[i].media)]
        rows = merge(encode_rows(model, clips, mode=mode, merge_size=merge_size), merge_size)
        counts = [_num_rows(shown[i].frames, merge_size) for i in chosen]
        for i, piece in zip(chosen, torch.split(rows, counts), strict=True):
            outputs[i] = piece
    return outputs


def _clips(frames: Sequence[PrunedFrame], media: Media) -> list[Sequence[PrunedFrame]]:
    """Single images are clips of one frame each."""
    return [frames] if media == "video" else [[frame] for frame in frames]


def _num_rows(frames: Sequence[PrunedFrame], merge_size: int) -> int:
    return (4 // merge_size**2) * sum(frame.num_kept for frame in frames)
