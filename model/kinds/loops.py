"""Noticing text that only says the same again, at any period and at little cost a token."""

import math
from collections.abc import Sequence

MIN_TURNS = 3
MIN_TOKENS = 8
LONG_PERIOD = 16
"""A turn of so many tokens, or more, is a loop when it comes a second time."""


class Loop:
    """Watches a text grow, token by token.

    The end loops when its last n tokens have come three times running and are eight together, or
    twice where n is 16 or more: `1000` is no loop, nor is a word said twice.

    Attributes:
        num_repeated: the tokens at the end that only say the same again: every turn but the first;
            0 where nothing loops.
    """

    def __init__(self) -> None:
        self.num_repeated = 0
        self._num_tokens = 0
        self._places: dict[int, list[int]] = {}  # where each token has been
        self._matches: dict[int, int] = {}  # by period: how many of the last tokens fit it

    def add(self, token: int) -> None:
        """Take the next token. The cost is its number of earlier places, not the text's length."""
        places = self._places.setdefault(token, [])
        periods = [self._num_tokens - place for place in places]
        self._matches = {period: self._matches.get(period, 0) + 1 for period in periods}
        places.append(self._num_tokens)
        self._num_tokens += 1
        self.num_repeated = max(
            (fits for period, fits in self._matches.items() if fits >= _enough(period)), default=0
        )


def looped_tail(ids: Sequence[int]) -> int:
    """Count the tokens at the end of a whole text that only say the same again; see `Loop`."""
    loop = Loop()
    for token in ids:
        loop.add(token)
    return loop.num_repeated


def _enough(period: int) -> int:
    """Tell how many tokens must say the same again for a loop of a period."""
    turns = 2 if period >= LONG_PERIOD else max(MIN_TURNS, math.ceil(MIN_TOKENS / period))
    return (turns - 1) * period
