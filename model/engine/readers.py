"""How logits become an answer: weighed, scored or decoded, never searched for in free text.

A reader belongs to one question put to one context. It says which branches are to be put and what
it is to know of what follows them, and asks for further tokens until it knows the answer. What the
readers of a pass are to know is looked up for all of them at once.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from model.engine.forks import Branch
from model.errors import CheckpointError
from model.family import Tokenizer
from model.layers.to_device import to_device
from model.types import Answer, QuestionKind

YES_SPELLINGS = ("yes", "Yes", "YES", " yes", " Yes", " YES")
NO_SPELLINGS = ("no", "No", "NO", " no", " No", " NO")
MAX_COUNT_DIGITS = 3
MAX_LOOP_PERIOD = 16
MIN_LOOP_TURNS = 3
MIN_LOOP_TOKENS = 8


class Reading(NamedTuple):
    """What a reader is to know of one row of logits.

    Attributes:
        ids: the tokens whose logits it looks at; none where it looks for the likeliest token.
        is_share: it wants the logarithms of their probabilities.
    """

    ids: tuple[int, ...] = ()
    is_share: bool = False


class Reader(Protocol):
    """One question's way from logits to an answer."""

    @property
    def branches(self) -> Sequence[Branch]:
        """What is to be put after the context; one branch where it is decoded."""
        ...

    @property
    def readings(self) -> Sequence[Reading]:
        """What it is to know of each scored row, branch after branch."""
        ...

    @property
    def next_reading(self) -> Reading | None:
        """What it is to know of a decoded row; None where the likeliest token is enough."""
        ...

    def begin(self, found: Sequence[Sequence[float]]) -> int | None:
        """Take what `readings` found; give the token to go on with, if any."""
        ...

    def go_on(self, found: Sequence[float]) -> int | None:
        """Take what `next_reading` found, or the likeliest token; as `begin`."""
        ...

    def answer(self) -> Answer:
        """Give the answer, when no token was asked for."""
        ...


def read(rows: Tensor, readings: Sequence[Reading]) -> list[list[float]]:
    """Look at all rows at once, and wait for the device once.

    Args:
        rows: (N, V) float32 logits.
        readings: what is to be known of each.

    Returns:
        For each row the numbers of its tokens, in their order, or its likeliest token alone.
    """
    width = max(len(one.ids) for one in readings)
    ids = [[*one.ids, *[0] * (width - len(one.ids))] for one in readings]
    free = [row for row, one in enumerate(readings) if not one.ids]
    shared = [row for row, one in enumerate(readings) if one.is_share]
    found = [rows.gather(1, to_device(ids, rows.device)).flatten()] if width else []
    if free:
        found.append(
            rows[to_device(free, rows.device)].argmax(dim=-1).float()
        )  # exact up to 2 ** 24
    if shared:
        found.append(rows[to_device(shared, rows.device)].logsumexp(dim=-1))
    numbers = torch.cat(found).tolist()  # the wait
    num_picked = width * len(readings)
    likeliest = dict(zip(free, numbers[num_picked:], strict=False))
    totals = dict(zip(shared, numbers[num_picked + len(free) :], strict=True))
    return [
        [number - totals.get(row, 0.0) for number in numbers[row * width :][: len(one.ids)]]
        if one.ids
        else [likeliest[row]]
        for row, one in enumerate(readings)
    ]


class _Scored:
    """A reader that is done after the first pass."""

    next_reading = None
    _answer: Answer

    def go_on(self, found: Sequence[float]) -> int | None:  # noqa: ARG002
        return None

    def answer(self) -> Answer:
        return self._answer


class YesNo(_Scored):
    """Weighs every spelling of yes against every spelling of no; no other word counts."""

    def __init__(
        self, suffix: Sequence[int], *, yes_ids: Sequence[int], no_ids: Sequence[int]
    ) -> None:
        self.branches = (Branch(tuple(suffix)),)
        self.readings = (Reading((*yes_ids, *no_ids)),)
        self._num_yes = len(yes_ids)

    def begin(self, found: Sequence[Sequence[float]]) -> int | None:
        [logits] = found
        shares = _softmax(logits)
        p = sum(shares[: self._num_yes])
        self._answer = Answer("yes_no", "yes" if p >= 0.5 else "no", p, num_generated=0)
        return None


class Choice(_Scored):
    """Scores each option to its end, so that none wins by being another's beginning."""

    def __init__(
        self,
        suffix: Sequence[int],
        options: Sequence[str],
        *,
        ids: Sequence[Sequence[int]],
        end_id: int,
    ) -> None:
        self.branches = tuple(
            Branch((*suffix, *option), num_scored=len(option) + 1) for option in ids
        )
        self.readings = tuple(
            Reading((token,), is_share=True) for option in ids for token in (*option, end_id)
        )
        self._options = options

    def begin(self, found: Sequence[Sequence[float]]) -> int | None:
        rows = iter(found)
        scores = [sum(next(rows)[0] for _ in range(branch.num_scored)) for branch in self.branches]
        shares = _softmax(scores)
        best = shares.index(max(shares))
        self._answer = Answer("choice", self._options[best], shares[best], num_generated=0)
        return None


class Count:
    """Decodes a number; p is its digits' and its end's, each among what might stand there.

    A digit comes first, then digits or the end. A leading zero and a third digit are the end.
    """

    def __init__(self, suffix: Sequence[int], *, count_ids: Sequence[int]) -> None:
        """Take the ten digits' ids and, last, the end's."""
        self.branches = (Branch(tuple(suffix), max_new_tokens=MAX_COUNT_DIGITS),)
        self.next_reading = Reading(tuple(count_ids))
        self.readings = (self.next_reading,)
        self._text = ""
        self._p = 1.0

    def begin(self, found: Sequence[Sequence[float]]) -> int | None:
        return self.go_on(found[0])

    def go_on(self, found: Sequence[float]) -> int | None:
        shares = _softmax(found[: 11 if self._text else 10])
        best = shares.index(max(shares))
        self._p *= shares[best]
        if best == 10:
            return None
        self._text += str(best)
        if self._text == "0" or len(self._text) == MAX_COUNT_DIGITS:
            return None
        return self.next_reading.ids[best]

    def answer(self) -> Answer:
        return Answer("count", self._text, self._p, num_generated=len(self._text))


class FreeText:
    """Decodes greedily up to the end, the limit or a loop."""

    readings = (Reading(),)
    next_reading = None

    def __init__(
        self,
        kind: QuestionKind,
        suffix: Sequence[int],
        *,
        max_new_tokens: int,
        end_ids: frozenset[int],
        tokenizer: Tokenizer,
    ) -> None:
        self.branches = (Branch(tuple(suffix), max_new_tokens=max_new_tokens),)
        self._kind = kind
        self._max_new_tokens = max_new_tokens
        self._end_ids = end_ids
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._num_repeated = 0

    def begin(self, found: Sequence[Sequence[float]]) -> int | None:
        return self.go_on(found[0])

    def go_on(self, found: Sequence[float]) -> int | None:
        likeliest = int(found[0])
        if likeliest in self._end_ids:
            return None
        self._ids.append(likeliest)
        self._num_repeated = looped_tail(self._ids)
        is_over = self._num_repeated or len(self._ids) == self._max_new_tokens
        return None if is_over else likeliest

    def answer(self) -> Answer:
        told = self._ids[: len(self._ids) - self._num_repeated]
        text = self._tokenizer.decode(told).strip()
        return Answer(self._kind, text, None, num_generated=len(self._ids))


def _softmax(scores: Sequence[float]) -> list[float]:
    weights = [math.exp(score - max(scores)) for score in scores]
    return [weight / sum(weights) for weight in weights]


def looped_tail(ids: Sequence[int]) -> int:
    """Count the tokens at the end that only say the same again.

    The end loops when its last n tokens, n up to 16, have come three times running and the turns
    are eight tokens together: `1000` is no loop, nor is a word said twice.

    Returns:
        The length of every turn but the first; 0 where nothing loops.
    """
    for period in range(1, MAX_LOOP_PERIOD + 1):
        turns = max(MIN_LOOP_TURNS, math.ceil(MIN_LOOP_TOKENS / period))
        tail = list(ids[-turns * period :])
        if len(tail) == turns * period and tail == tail[:period] * turns:
            return (turns - 1) * period
    return 0


def yes_no_ids(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Give the tokens that an answer of yes, and one of no, can begin with.

    Raises:
        CheckpointError: a token begins both.
    """
    yes = {tokenizer.encode(spelling)[0] for spelling in YES_SPELLINGS}
    no = {tokenizer.encode(spelling)[0] for spelling in NO_SPELLINGS}
    if shared := yes & no:
        raise CheckpointError(
            "tokenizer: expected yes and no to begin with different tokens; "
            f"both begin with {tokenizer.decode(sorted(shared))!r}"
        )
    return sorted(yes), sorted(no)


def digit_ids(tokenizer: Tokenizer) -> list[int]:
    """Give the ten digits' tokens in order.

    Raises:
        CheckpointError: a digit is not a token of its own.
    """
    encoded = [tokenizer.encode(str(digit)) for digit in range(10)]
    if any(len(ids) != 1 for ids in encoded):
        raise CheckpointError(f"tokenizer: expected a token for each digit, got {encoded}")
    return [ids[0] for ids in encoded]
