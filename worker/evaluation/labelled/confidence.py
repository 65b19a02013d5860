"""How far a figure can be believed: intervals by blocks of time.

Answers a few seconds apart are much the same answer, so what is drawn again and again is not
answers but blocks of time, all that is in them together.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

BLOCK_S = 60.0
MIN_BLOCKS = 5
NUM_DRAWS = 400
_SHARE = 0.95
_Z = 1.96

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with what it was made of and how far it can be believed.

    Attributes:
        value: the figure; None where there is none.
        why_none: why there is none.
        low: of the interval that holds the true one in 95 of 100 cases; None where too little is
            known to give one.
        high: see there.
    """

    value: float | None
    why_none: str = ""
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        if self.low is None or self.high is None:
            return f"{self.value:.2f}"
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def block_s_of(total_s: float) -> float:
    """Return how long blocks are: a minute, shorter where that would leave few of them."""
    return BLOCK_S if total_s >= 2 * MIN_BLOCKS * BLOCK_S else max(10.0, total_s / 10)


def by_block(keys: Sequence[Hashable]) -> list[Indices]:
    """Gather the places that have the same key."""
    places: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return [np.asarray(mine, dtype=np.intp) for mine in places.values()]


def with_interval(
    statistic: Callable[[Indices], float | None],
    blocks: Sequence[Indices],
    *,
    counting: Callable[[Indices], bool],
    why_none: str,
) -> Figure:
    """Return a figure over all blocks with its interval.

    Where no drawing changes it (all right, or all wrong), the interval is Wilson's, with as many
    cases as there are blocks that count for it.

    Args:
        statistic: of some of the places; None where they say nothing.
        blocks: the places, block by block.
        counting: whether a block counts for the figure's denominator.
        why_none: why there is no figure, where there is none.
    """
    every = np.concatenate(blocks) if blocks else np.empty(0, dtype=np.intp)
    value = statistic(every)
    if value is None:
        return Figure(None, why_none)
    num_counting = sum(counting(block) for block in blocks)
    if num_counting < MIN_BLOCKS:
        return Figure(value)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(NUM_DRAWS):
        chosen = rng.integers(len(blocks), size=len(blocks))
        again = statistic(np.concatenate([blocks[place] for place in chosen]))
        drawn += [] if again is None else [again]
    edges = [(1 - _SHARE) / 2, (1 + _SHARE) / 2]
    low, high = (float(edge) for edge in np.quantile(drawn, edges))
    if high - low < 1e-9:
        low, high = wilson(value * num_counting, num_counting)
    return Figure(value, "", low, high)


def wilson(num_right: float, number: int) -> tuple[float, float]:
    """Return the interval of a share of independent cases."""
    share, z2 = num_right / number, _Z**2
    middle = (share + z2 / (2 * number)) / (1 + z2 / number)
    reach = _Z * sqrt(share * (1 - share) / number + z2 / (4 * number**2)) / (1 + z2 / number)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def share(num_right: int, number: int, *, why_none: str) -> Figure:
    """Return a share of cases that are far apart, as events are, with Wilson's interval."""
    if not number:
        return Figure(None, why_none)
    if number < MIN_BLOCKS:
        return Figure(num_right / number)
    return Figure(num_right / number, "", *wilson(num_right, number))


def terms_of(figure: Figure) -> Mapping[str, float]:
    """Return the interval as terms of a row."""
    if figure.low is None or figure.high is None:
        return {}
    return {"low_95": figure.low, "high_95": figure.high}
