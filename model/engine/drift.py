"""Drift: how far tokens encoded in part are from tokens of the whole frame."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

NUM_RECENT_AUDITS = 32


@dataclass(frozen=True, slots=True)
class Drift:
    """The distance between the tokens sent and those of the frame encoded whole.

    Attributes:
        cosine_distance: mean over tokens of 1 - cosine.
        relative_l2: length of the difference over that of the whole frame's tokens.
    """

    cosine_distance: float
    relative_l2: float

    @classmethod
    def between(cls, sent: Tensor, exact: Tensor) -> Self:
        """Compare the tokens sent (n, D) with what they would be (n, D)."""
        sent, exact = sent.float(), exact.float()
        cosine = torch.cosine_similarity(sent, exact, dim=-1).mean()
        distance = (sent - exact).norm() / exact.norm()
        return cls(cosine_distance=1 - float(cosine), relative_l2=float(distance))


@dataclass(frozen=True, slots=True)
class Audits:
    """What the shadow audits have found.

    Attributes:
        num: made.
        num_forced: that ended in a refresh.
        recent: the last 32, oldest first.
    """

    num: int = 0
    num_forced: int = 0
    recent: tuple[Drift, ...] = ()

    def with_one(self, drift: Drift, *, is_forced: bool) -> "Audits":
        """Add an audit."""
        recent = (*self.recent, drift)[-NUM_RECENT_AUDITS:]
        return Audits(self.num + 1, self.num_forced + is_forced, recent)
