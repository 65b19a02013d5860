"""What probabilities and answers are worth beside the truth; plain functions of arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Probabilities = NDArray[np.float64]
NUM_BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of about the same probability.

    Attributes:
        mean_p: the mean of their probabilities.
        share_true: how often it was so.
        number: of them.
    """

    mean_p: float
    share_true: float
    number: int


def average_precision(p: Probabilities, is_true: Flags) -> float | None:
    """Return the mean precision over the true ones, each at its own threshold; ties are one step.

    Args:
        p: (N,) probabilities.
        is_true: (N,) whether it is so.

    Returns:
        None where none is true, or all are: there is nothing to tell apart.
    """
    if not is_true.any() or is_true.all():
        return None
    order = np.argsort(-p, kind="stable")
    sorted_p, sorted_true = p[order], is_true[order]
    is_step = np.append(sorted_p[1:] != sorted_p[:-1], True)
    found = np.cumsum(sorted_true)[is_step]
    taken = np.flatnonzero(is_step) + 1
    gained = np.diff(found, prepend=0)
    return float(np.sum(gained * found / taken) / is_true.sum())


def area_under_roc(p: Probabilities, is_true: Flags) -> float | None:
    """Return how often a true one has more probability than one that is not; a tie is a half.

    Args:
        p: (N,) probabilities.
        is_true: (N,) whether it is so.

    Returns:
        None where none is true, or all are: there is nothing to tell apart.
    """
    num_true = int(is_true.sum())
    num_other = len(is_true) - num_true
    if not num_true or not num_other:
        return None
    _, place = np.unique(p, return_inverse=True)
    others = np.bincount(place, weights=~is_true)
    below = np.cumsum(others) - others / 2
    return float(below[place[is_true]].sum() / (num_true * num_other))


def precision(said: Flags, is_true: Flags) -> float | None:
    """Return the share of what was said that is so; None where nothing was said."""
    return float(is_true[said].mean()) if said.any() else None


def recall(said: Flags, is_true: Flags) -> float | None:
    """Return the share of what is so that was said; None where nothing is so."""
    return float(said[is_true].mean()) if is_true.any() else None


def f1(said: Flags, is_true: Flags) -> float | None:
    """Return the harmonic mean of both; None where nothing was said and nothing is so."""
    either = int(said.sum() + is_true.sum())
    return 2 * int((said & is_true).sum()) / either if either else None


def brier(p: Probabilities, is_true: Flags) -> float | None:
    """Return the mean squared distance of probabilities from the truth; 0.25 knows nothing."""
    return float(np.mean((p - is_true) ** 2)) if len(p) else None


def reliability(p: Probabilities, is_true: Flags, *, num_bins: int = NUM_BINS) -> list[Bin]:
    """Return, by tenths of probability, how often it was so; empty tenths are left out."""
    places = np.minimum((p * num_bins).astype(int), num_bins - 1)
    return [
        Bin(float(p[mine].mean()), float(is_true[mine].mean()), int(mine.sum()))
        for place in range(num_bins)
        if (mine := places == place).any()
    ]


def calibration_error(bins: list[Bin]) -> float | None:
    """Return how far probabilities are from how often it was so, in the mean over answers."""
    number = sum(one.number for one in bins)
    if not number:
        return None
    return sum(one.number * abs(one.mean_p - one.share_true) for one in bins) / number
