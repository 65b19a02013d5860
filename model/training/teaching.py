"""Teaching: what training knows of a clip, asked of the network at every token and every moment.

Answers alone tell a small network little: a yes is one bit, and says nothing of where to look. The
truth of a rendered scene is known everywhere, so heads that service never sees ask for it: of the
encoder, what each token shows and what is true of its picture; of the decoder, at each visual
token, half-way up what is done just now, and above that all that has happened so far; at each
option of a choice, one layer from the top, its letter and whether it is right. Questions then find
in a context what they need, and a choice its letter. An encoder that is frozen is taught nothing.

Deep supervision is an old remedy (Lee et al., Deeply-Supervised Nets, arXiv 1409.5185).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, the field's own name
from numpy.typing import NDArray
from torch import Tensor, nn

from model.kinds.choice import LETTERS
from model.training.clip_encoder import LaidClips, encode_rows
from model.training.loss import choices, loss_of, read, visual_features
from model.training.packing import Options, Packed, Shown, is_end_compared
from model.training.truth import (
    DEEDS,
    NAMES,
    PAST_FLAGS,
    PICTURE_FLAGS,
    RECENT_FLAGS,
    UNSURE,
    Truth,
)
from model.videollama3.network import VideoLlama3
from model.videollama3.vision import merge

NOTHING_WEIGHT = 0.15  # most tokens show wall or floor, and that is soon learnt
RARE = ("kind", "colour", "part")
# What so many flags are worth beside one answer.
NATS_PICTURE, NATS_RECENT, NATS_PAST = 8.0, 4.0, 12.0
DEED_WORTH = 3.0  # of a flag of who did what: a caption is made of them, and they are seldom
LAST_TOKEN_SHARE = 0.5
RARE_LOGIT = -3.0
OPTIONS_WORTH = 0.5  # of which option is right, beside the answers
SPEAKING_WORTH = 0.5  # of the choice between speaking and watching on, beside the answers


_WORTH = torch.tensor(
    [DEED_WORTH if any(deed in flag for deed in DEEDS) else 1.0 for flag in PAST_FLAGS]
)


@dataclass(frozen=True, slots=True)
class _Taught:
    """A sample of which the truth is known, and the rows of its visual tokens.

    Attributes:
        shown: its frames.
        truth: of them.
        seen: (n, vision width), the encoder's.
        rows: (n, text width), the projector's.
        recent: (n, text width), the decoder's, where it is tapped first.
        past: (n, text width), the decoder's, where it is tapped again.
    """

    shown: Shown
    truth: Truth
    seen: Tensor
    rows: Tensor
    recent: Tensor
    past: Tensor


class Pupil(nn.Module):
    """A network with the heads it is taught by; they are no part of what is written out."""

    def __init__(self, model: VideoLlama3) -> None:
        super().__init__()
        self.model = model
        seeing, knowing = (
            model.config.vision.hidden_size,
            model.config.text.hidden_size,
        )
        self.names = nn.Linear(seeing, sum(NAMES.values()))
        self.pictures = nn.Linear(seeing, len(PICTURE_FLAGS))
        self.recents = nn.Linear(knowing, len(RECENT_FLAGS))
        self.pasts = nn.Linear(knowing, len(PAST_FLAGS))
        self.options = nn.Linear(knowing, 1)
        self.letters = nn.Linear(knowing, len(LETTERS))
        generator = torch.Generator().manual_seed(0)  # the same run has the same losses
        for head, bias in (
            (self.names, 0.0),
            (self.pictures, RARE_LOGIT),
            (self.recents, RARE_LOGIT),
            (self.pasts, RARE_LOGIT),
            (self.options, 0.0),
            (self.letters, 0.0),
        ):
            nn.init.normal_(head.weight, std=head.in_features**-0.5, generator=generator)
            nn.init.constant_(head.bias, bias)
        self._tapped: list[Tensor] = []
        layers = model.language.layers
        half, two_thirds = len(layers) // 2, (2 * len(layers)) // 3
        for layer in (layers[half - 1], layers[two_thirds - 1], layers[len(layers) - 2]):
            layer.register_forward_hook(self._tap)

    @property
    def heads(self) -> nn.ModuleDict:
        """The parts that are not the network's."""
        return nn.ModuleDict(
            {
                "names": self.names,
                "pictures": self.pictures,
                "recents": self.recents,
                "pasts": self.pasts,
                "options": self.options,
                "letters": self.letters,
            }
        )

    def loss(self, batch: Packed) -> dict[str, Tensor]:
        """Give the answers' loss and every lesson's, float32 scalars to be summed."""
        features = visual_features(self.model, batch)
        visual = self.model.projector(torch.cat(features)) if features else None
        self._tapped.clear()
        rows, is_choice = read(self.model, batch, visual), choices(batch)
        parts = {"answers": loss_of(self.model, *rows.where(~is_choice))}
        if is_choice.any():
            chosen = loss_of(self.model, *rows.where(is_choice))
            parts["speaking"] = SPEAKING_WORTH * chosen
        if batch.options:
            parts["options"] = OPTIONS_WORTH * self._choosing(batch.options, self._tapped[-1])
        if visual is None:
            return parts
        places = batch.visual.to(visual.device)
        counts = [len(piece) for piece in features]
        taught = [
            _Taught(shown, shown.truth, *rows)
            for shown, *rows in zip(
                batch.shown,
                features,
                torch.split(visual, counts),
                *(torch.split(tapped[places], counts) for tapped in self._tapped[:2]),
                strict=True,
            )
            if shown.truth is not None
        ]
        if not taught:
            return parts
        lessons = self._lessons(taught)
        if not any(weight.requires_grad for weight in self.model.vision.parameters()):
            return parts | lessons
        seeing = self._seeing(taught)
        return parts | seeing | lessons | {"drift": self._drift(taught, batch.whole_ends)}

    def _choosing(self, options: Sequence[Options], tapped: Tensor) -> Tensor:
        """Give the means of two cross entropies: which option is right, and each one's letter."""
        rows = [torch.tensor(one.rows) for one in options]
        places = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
        places = places.to(tapped.device)
        known, is_none = F.rms_norm(tapped[places].float(), tapped.shape[-1:]), places < 0
        right = torch.tensor([one.right for one in options], device=tapped.device)
        scores = self.options(known)[..., 0].masked_fill(is_none, float("-inf"))
        letters = torch.arange(places.shape[1], device=tapped.device).expand_as(places)
        named = F.cross_entropy(self.letters(known[~is_none]), letters[~is_none])
        return F.cross_entropy(scores, right) + named

    def _seeing(self, taught: Sequence[_Taught]) -> dict[str, Tensor]:
        """Give what the encoder's lessons cost."""
        sizes = [size for one in taught for size in one.shown.sizes]
        seen = torch.cat([one.seen for one in taught])
        frame_of = torch.repeat_interleave(torch.tensor(sizes)).to(seen.device)
        even = _weights(sizes)[0].to(seen.device)
        pictures = np.concatenate([one.truth.pictures for one in taught])
        return {
            "names": self._naming([one.truth for one in taught], seen),
            "pictures": _flagged(self.pictures(seen), pictures, frame_of, even) / NATS_PICTURE,
        }

    def _lessons(self, taught: Sequence[_Taught]) -> dict[str, Tensor]:
        """Give what the decoder's lessons cost."""
        sizes = [size for one in taught for size in one.shown.sizes]
        recent, past = (
            F.rms_norm(rows.float(), rows.shape[-1:])
            for rows in (
                torch.cat([one.recent for one in taught]),
                torch.cat([one.past for one in taught]),
            )
        )
        frame_of = torch.repeat_interleave(torch.tensor(sizes)).to(recent.device)
        late = _weights(sizes)[1].to(recent.device)
        recents = np.concatenate([one.truth.recents for one in taught])
        pasts = np.concatenate([one.truth.pasts for one in taught])
        return {
            "recents": _flagged(self.recents(recent), recents, frame_of, late) / NATS_RECENT,
            "pasts": _flagged(self.pasts(past), pasts, frame_of, late, _WORTH) / NATS_PAST,
        }

    def _naming(self, truths: Sequence[Truth], seen: Tensor) -> Tensor:
        """Give the mean over the names of each one's cross entropy."""
        losses = []
        scores = self.names(seen).float().split(list(NAMES.values()), dim=-1)
        for (name, num_names), score in zip(NAMES.items(), scores, strict=True):
            labels = torch.from_numpy(np.concatenate([truth.names[name] for truth in truths]))
            weight = torch.ones(num_names, device=seen.device)
            if name in RARE:
                weight[0] = NOTHING_WEIGHT
            losses.append(F.cross_entropy(score, labels.to(seen.device), weight=weight))
        return torch.stack(losses).mean()

    def _drift(self, taught: Sequence[_Taught], whole_ends: LaidClips | None) -> Tensor:
        """Give one minus the cosine of last frames' tokens and the same encoded whole."""
        if whole_ends is None:
            return taught[0].rows.new_zeros(())
        exact = self.model.projector(merge(encode_rows(self.model, whole_ends)))
        sent = torch.cat(
            [
                one.rows[-one.shown.sizes[-1] :]
                for one in taught
                if is_end_compared(one.shown.media, one.truth, one.shown.sizes)
            ]
        )
        return 1.0 - F.cosine_similarity(sent.float(), exact.float(), dim=-1).mean()

    def _tap(self, _layer: nn.Module, _given: object, out: Tensor) -> None:
        self._tapped.append(out)


def amounts(batch: Packed) -> dict[str, float]:
    """Say for each part of a batch's loss how much it is a mean over; 0 where it has none of it."""
    taught = [one for one in batch.shown if one.truth is not None]
    num_frames = sum(len(one.sizes) for one in taught)
    ends = [one.sizes[-1] for one in taught if is_end_compared(one.media, one.truth, one.sizes)]
    return {
        "answers": float(batch.weights[~batch.is_choice].sum()),
        "speaking": float(batch.weights[batch.is_choice].sum()),
        "options": len(batch.options),
        "names": sum(sum(one.sizes) for one in taught),
        "pictures": num_frames,
        "recents": num_frames,
        "pasts": num_frames,
        "drift": sum(ends),
    }


def _weights(sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Weigh tokens so that frames count alike: evenly, and with half on each frame's last."""
    even = torch.cat([torch.full((size,), 1.0 / size) for size in sizes]) / len(sizes)
    late = even * (1.0 - LAST_TOKEN_SHARE)
    late[torch.tensor(sizes).cumsum(0) - 1] += LAST_TOKEN_SHARE / len(sizes)
    return even, late


def _flagged(
    scores: Tensor,
    flags: NDArray[np.int8],
    frame_of: Tensor,
    weights: Tensor,
    worth: Tensor | None = None,
) -> Tensor:
    """Give the nats that flags (frames, F) cost at the tokens of their frames, weighed.

    Tokens are weighed by `weights`, flags by `worth` (F,).
    """
    truth = torch.from_numpy(flags).to(scores.device)[frame_of]
    losses = F.binary_cross_entropy_with_logits(
        scores.float(), (truth == 1).float(), reduction="none"
    )
    known = (truth != UNSURE).float()
    if worth is not None:
        known = known * worth.to(known.device)
    return ((losses * known).sum(-1) * weights).sum()
