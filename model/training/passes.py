"""A step in passes: samples that are too long for one row go through the network in several.

Gradients of the passes add up, and each part of a pass's loss counts as much as the pass has of
what that part is a mean over: answers and choices cost what they would in one pass, to rounding.
So do the lessons of rendered scenes, but for `names` and `options`, of which the rare names and
the letters count a little otherwise.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from model.errors import DataError
from model.training.packing import LengthError, Packed, write
from model.training.sample import Sample
from model.training.teaching import amounts
from model.videollama3.tokenizer import Tokenizer

MAX_TOKENS = 65_536
"""Of one pass."""


class Pass(NamedTuple):
    """Some of a step's samples.

    Attributes:
        packed: the samples.
        shares: how much of each part of the step's loss is theirs, from 0 to 1.
    """

    packed: Packed
    shares: Mapping[str, float]

    def counted(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give what the parts of their own loss add to the step's."""
        return {name: self.shares[name] * part for name, part in parts.items()}


def in_passes(
    samples: Sequence[Sample], *, packed: Callable[[Sequence[Sample]], Packed]
) -> tuple[Pass, ...]:
    """Pack a step's samples, all in one pass if they fit.

    Args:
        samples: of the step.
        packed: packs them.

    Raises:
        LengthError: there are none, or one of them is too long by itself.
    """
    rows = _halved(samples, packed)
    each = [amounts(row) for row in rows]
    whole = {name: sum(one[name] for one in each) for name in each[0]}
    shares = [
        {name: amount / whole[name] if amount else 0.0 for name, amount in one.items()}
        for one in each
    ]
    return tuple(map(Pass, rows, shares))


def check_length(sample: Sample, tokenizer: Tokenizer) -> None:
    """Refuse a sample that no pass has room for.

    Raises:
        DataError: it is longer than `MAX_TOKENS`.
    """
    num_tokens = len(write(sample, tokenizer).ids)
    if num_tokens > MAX_TOKENS:
        raise DataError(
            f"expected up to {MAX_TOKENS} tokens, got {num_tokens}: shorten it, or lower "
            "--max-tokens-per-frame"
        )


def _halved(
    samples: Sequence[Sample], packed: Callable[[Sequence[Sample]], Packed]
) -> list[Packed]:
    try:
        return [packed(samples)]
    except LengthError:
        if len(samples) < 2:
            raise
    half = len(samples) // 2
    return [*_halved(samples[:half], packed), *_halved(samples[half:], packed)]
