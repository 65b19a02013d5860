"""What stands in for SigLIP and Qwen2.5: an encoder and a decoder that have seen the world.

The paper begins with a vision tower and a language model that others trained. Nano has nobody's,
so both are made here: the encoder by naming what every patch shows and what the whole picture
holds (the heads that name it are dropped afterwards, as SigLIP's pooling head is), the decoder by
reading scenes written out in words and answering the questions that will be asked of pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, the field's own name
from numpy.typing import NDArray
from torch import Tensor, nn

from model.network import VideoLlama3
from model.training.clip_encoder import encode_rows
from model.training.scenes import Scene
from model.types import PrunedFrame
from model.vision import merge

HEADS = {
    "kind": 10, "colour": 11, "part": 2, "row": 6, "col": 11,
    "people": 5, "cars": 3, "bicycle": 2, "dog": 2, "parcel": 2,
    "smoke": 2, "fire": 2, "gate": 2, "light": 2,
}  # fmt: skip
"""What a token is asked to name, and how many answers there are."""
UNSURE = -100
RARE = ("kind", "colour", "part")
NOTHING_WEIGHT = 0.15  # most tokens show wall or floor, and that is soon learnt


@dataclass(frozen=True, slots=True)
class Labelled:
    """A clip and what every kept token of it shows.

    Attributes:
        frames: the first whole.
        labels: for each head, (num_kept,) int64, UNSURE where the truth is in between.
    """

    frames: tuple[PrunedFrame, ...]
    labels: dict[str, NDArray[np.int64]]


class Namer(nn.Module):
    """The encoder with a head for everything it is to name."""

    def __init__(self, model: VideoLlama3) -> None:
        super().__init__()
        self.model = model
        width = model.config.vision.hidden_size
        self.heads = nn.Linear(width, sum(HEADS.values()))

    def loss(self, clips: Sequence[Labelled]) -> Tensor:
        """Give the mean over the heads of each one's cross entropy."""
        logits = self.logits([clip.frames for clip in clips])
        losses = []
        for name, scores in logits.items():
            labels = torch.from_numpy(np.concatenate([clip.labels[name] for clip in clips]))
            weight = torch.ones(HEADS[name])
            if name in RARE:
                weight[0] = NOTHING_WEIGHT
            losses.append(
                F.cross_entropy(
                    scores.float(),
                    labels.to(scores.device),
                    weight=weight.to(scores.device),
                    ignore_index=UNSURE,
                )
            )
        return torch.stack(losses).mean()

    def logits(self, clips: Sequence[Sequence[PrunedFrame]]) -> dict[str, Tensor]:
        """Score what every kept token shows: for each head (num_kept, answers)."""
        features = merge(encode_rows(self.model, clips, mode="delta"))
        scores = self.heads(features)
        return dict(zip(HEADS, scores.split(list(HEADS.values()), dim=-1), strict=True))


def labelled(scene: Scene, frames: Sequence[PrunedFrame]) -> Labelled:
    """Label the kept tokens of frames from the scene's truth."""
    columns: dict[str, list[NDArray[np.int64]]] = {name: [] for name in HEADS}
    for frame in frames:
        kept = np.flatnonzero(frame.keep_mask)
        truth = scene.token_labels(frame.pts_s)
        for name in ("kind", "colour", "part"):
            columns[name].append(getattr(truth, name).reshape(-1)[kept].astype(np.int64))
        columns["row"].append(kept // frame.grid.cols)
        columns["col"].append(kept % frame.grid.cols)
        for name, value in _whole(scene, frame.pts_s).items():
            columns[name].append(np.full(len(kept), value, dtype=np.int64))
    return Labelled(
        tuple(frames), {name: np.concatenate(values) for name, values in columns.items()}
    )


def _whole(scene: Scene, time_s: float) -> dict[str, int]:
    """Give what the whole picture holds, as indices of the heads' answers."""
    seen, state = scene.seen(time_s), scene.state(time_s)
    found: dict[str, int] = {}
    for name, kind, most in (
        ("people", "person", 4), ("cars", "car", 2), ("bicycle", "bicycle", 1),
        ("dog", "dog", 1), ("parcel", "parcel", 1),
    ):  # fmt: skip
        shares = [one.visible for one in seen if one.kind == kind]
        is_sure = not any(0.1 < share < 0.5 for share in shares)
        found[name] = min(most, sum(share >= 0.5 for share in shares)) if is_sure else UNSURE
    for name, strength in (
        ("smoke", state.smoke), ("fire", state.fire), ("gate", state.gate_open),
    ):  # fmt: skip
        found[name] = 1 if strength > 0.6 else 0 if strength < 0.05 else UNSURE
    found["light"] = int(state.lights_on)
    return found
