"""A packed batch through the network: the loss on its answers."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812, the field's own name
from torch import Tensor

from model.delta import VisionMode
from model.network import VideoLlama3
from model.training.clip_encoder import encode_clips
from model.training.packing import IGNORED, Packed
from model.training.sample import Media
from model.types import PrunedFrame


def answer_loss(model: VideoLlama3, batch: Packed, *, mode: VisionMode = "delta") -> Tensor:
    """Give the weighted mean cross entropy of the answers' tokens, a float32 scalar."""
    hidden, labels, weights = answer_rows(model, batch, mode=mode)
    losses = F.cross_entropy(model.language.logits(hidden), labels, reduction="none")
    return (losses * weights).sum() / weights.sum()


def answer_rows(
    model: VideoLlama3, batch: Packed, *, mode: VisionMode = "delta"
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a batch; give its labelled rows (n, D), their labels (n,) int64 and weights (n,).

    The head is as wide as the vocabulary, so it is left to the rows that have a label.
    """
    device = model.device
    embeds = model.language.embed(batch.ids.to(device))
    visual = visual_rows(model, batch, mode=mode)
    if visual is not None:
        embeds = embeds.index_copy(0, batch.visual.to(device), visual.to(embeds.dtype))
    sees = [mask.to(device) for mask in batch.sees]
    lengths = [len(mask) for mask in sees]

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # noqa: ARG001
        outputs = []
        pieces = (torch.split(x.transpose(0, 1), lengths, dim=1) for x in (q, k, v))
        for q_s, k_s, v_s, mask in zip(*pieces, sees, strict=True):
            outputs.append(_attention(q_s, k_s, v_s, mask))
        return torch.cat(outputs)

    hidden = model.language.forward(embeds, batch.positions.to(device), attend=attend)
    labelled = (batch.labels != IGNORED).nonzero()[:, 0]
    return (
        hidden[labelled.to(device)],
        batch.labels[labelled].to(device),
        batch.weights[labelled].to(device),
    )


def _attention(q: Tensor, k: Tensor, v: Tensor, sees: Tensor) -> Tensor:
    """Attend q (num_heads, L, D) to k and v (num_kv_heads, L, D) where (L, L) `sees` allows it.

    Written out: with a mask, on a CPU, and backwards, this is faster than the fused kernel.
    """
    rows = q.reshape(k.shape[0], -1, *q.shape[1:])  # (num_kv_heads, group, L, D)
    scores = (rows @ k.transpose(-1, -2).unsqueeze(1)) * q.shape[-1] ** -0.5
    shares = scores.masked_fill(~sees, float("-inf")).softmax(-1).to(v.dtype)
    out: Tensor = (shares @ v.unsqueeze(1)).flatten(0, 1).transpose(0, 1)
    return out


def visual_rows(model: VideoLlama3, batch: Packed, *, mode: VisionMode) -> Tensor | None:
    """Encode the frames of a batch, (num_visual, D) in the order of its rows; None without any."""
    shown = [sample for sample in batch.samples if sample.frames]
    if not shown:
        return None
    outputs: list[Tensor] = [torch.empty(0)] * len(shown)
    for merge_size in {sample.merge_size for sample in shown}:
        chosen = [i for i, sample in enumerate(shown) if sample.merge_size == merge_size]
        clips = [clip for i in chosen for clip in _clips(shown[i].frames, shown[i].media)]
        rows = encode_clips(model, clips, mode=mode, merge_size=merge_size)
        counts = [_num_rows(shown[i].frames, merge_size) for i in chosen]
        for i, piece in zip(chosen, torch.split(rows, counts), strict=True):
            outputs[i] = piece
    return torch.cat(outputs)


def _clips(frames: Sequence[PrunedFrame], media: Media) -> list[Sequence[PrunedFrame]]:
    """Single images are clips of one frame each."""
    return [frames] if media == "video" else [[frame] for frame in frames]


def _num_rows(frames: Sequence[PrunedFrame], merge_size: int) -> int:
    return (4 // merge_size**2) * sum(frame.num_kept for frame in frames)
