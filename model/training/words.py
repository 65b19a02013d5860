"""Visual tokens brought close to the decoder's own words for what they show.

A decoder that has read scenes in words finds its answers by those words' embeddings. The projector
learns to put them into a token's row: for each word, whether the row points its way is whether
the word is true of the token. No decoder runs, so a step costs what the encoder's does.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, the field's own name
from numpy.typing import NDArray
from torch import Tensor, nn

from model.errors import InputError
from model.network import VideoLlama3
from model.tokenizer import Tokenizer
from model.training.clip_encoder import encode_clips
from model.training.pretrain import NOTHING_WEIGHT, UNSURE, Labelled
from model.training.scenes import COLOURS, KINDS
from model.types import PrunedFrame

PLACES = {"left": range(4), "middle": range(4, 7), "right": range(7, 11)}
"""Columns of the token grid, by what `samples.described` calls them."""
STATES = {
    "smoke": ("smoke", 1), "fire": ("fire", 1), "open": ("gate", 1), "closed": ("gate", 0),
    "light": ("light", 1), "dark": ("light", 0),
}  # fmt: skip
"""Words of the whole picture: the label they hang on and its value."""
LOCAL = (*KINDS, *COLOURS, *PLACES)
COUNTS = tuple("01234")
WORDS = (*LOCAL, *STATES, *COUNTS)


class Speaker(nn.Module):
    """Encoder and projector, and how far a row has to point a word's way."""

    ids: Tensor  # (words,) int64

    def __init__(self, model: VideoLlama3, tokenizer: Tokenizer) -> None:
        """Look the words up.

        Raises:
            InputError: one of them is not a token of its own.
        """
        super().__init__()
        self.model = model
        encoded = [tokenizer.encode(word if word in COUNTS else f" {word}") for word in WORDS]
        for word, ids in zip(WORDS, encoded, strict=True):
            if len(ids) != 1:
                raise InputError(f"words: expected {word!r} as one token, got {len(ids)}")
        self.register_buffer("ids", torch.tensor([ids[0] for ids in encoded]), persistent=False)
        self.scale = nn.Parameter(torch.tensor(32.0))
        self.bias = nn.Parameter(torch.full((len(WORDS),), -2.0))

    def loss(self, clips: Sequence[Labelled]) -> Tensor:
        """Give the mean over tokens and words of the binary cross entropy."""
        logits = self.logits([clip.frames for clip in clips])
        truths, weights = zip(*(true_words(clip.labels) for clip in clips), strict=True)
        truth = torch.from_numpy(np.concatenate(truths)).to(logits.device)
        weight = torch.from_numpy(np.concatenate(weights)).to(logits.device)
        losses = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        return (losses * weight).sum() / weight.sum()

    def logits(self, clips: Sequence[Sequence[PrunedFrame]]) -> Tensor:
        """Score every word for every kept token: (num_kept, words) float32."""
        rows = encode_clips(self.model, clips).float()
        embeddings = self.model.language.embed_tokens.weight[self.ids].detach().float()
        alike = F.normalize(rows, dim=-1) @ F.normalize(embeddings, dim=-1).T
        return self.scale * alike + self.bias


def true_words(
    labels: Mapping[str, NDArray[np.int64]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Say which words are true of which tokens, and how much each counts.

    Returns:
        (num_kept, words) each: 1 where the word is true; 0 weight where that is not sure, and
        little where a token that shows no thing is not this thing either.
    """
    kind, column = labels["kind"], labels["col"]
    truth = np.zeros((len(kind), len(WORDS)), dtype=np.float32)
    weight = np.ones_like(truth)
    index = {word: place for place, word in enumerate(WORDS)}
    for number, word in enumerate(KINDS, start=1):
        truth[:, index[word]] = kind == number
    for number, word in enumerate(COLOURS, start=1):
        truth[:, index[word]] = labels["colour"] == number
    for word, columns in PLACES.items():
        truth[:, index[word]] = (kind > 0) & np.isin(column, list(columns))
    for word in LOCAL:
        weight[kind == 0, index[word]] = NOTHING_WEIGHT
    for word, (name, value) in STATES.items():
        truth[:, index[word]] = labels[name] == value
        weight[labels[name] == UNSURE, index[word]] = 0.0
    for word in COUNTS:
        truth[:, index[word]] = labels["people"] == int(word)
        weight[labels["people"] == UNSURE, index[word]] = 0.0
    return truth, weight
