"""How logits become an answer: weighed, scored or decoded, never searched for in free text.

A reader belongs to one question put to one context. It says which branches are to be put, looks at
what follows them, and asks for further tokens until it knows the answer.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from model.errors import CheckpointError
from model.forks import Branch
from model.tokenizer import Tokenizer
from model.types import Answer, QuestionKind

YES_SPELLINGS = ("yes", "Yes", "YES", " yes", " Yes", " YES")
NO_SPELLINGS = ("no", "No", "NO", " no", " No", " NO")
MAX_COUNT_DIGITS = 3
MAX_LOOP_PERIOD = 16
MIN_LOOP_TURNS = 3
MIN_LOOP_TOKENS = 8


class Reader(Protocol):
    """One question's way from logits to an answer."""

    @property
    def branches(self) -> Sequence[Branch]:
        """What is to be put after the context; one branch where it is decoded."""
        ...

    def begin(self, logits: Sequence[Tensor]) -> int | None:
        """Look at each branch's (num_scored, V) logits; give the token to go on with, if any."""
        ...

    def go_on(self, likeliest: int, logits: Tensor) -> int | None:
        """Look at what follows the last token, its likeliest and its (V,) logits; as `begin`."""
        ...

    def answer(self) -> Answer:
        """Give the answer, when no token was asked for."""
        ...


class _Scored:
    """A reader that is done after the first pass."""

    _answer: Answer

    def go_on(self, likeliest: int, logits: Tensor) -> int | None:  # noqa: ARG002
        return None

    def answer(self) -> Answer:
        return self._answer


class YesNo(_Scored):
    """Weighs every spelling of yes against every spelling of no; no other word counts."""

    def __init__(self, suffix: Sequence[int], *, yes_ids: Tensor, no_ids: Tensor) -> None:
        self.branches = (Branch(tuple(suffix)),)
        self._yes_ids = yes_ids
        self._no_ids = no_ids

    def begin(self, logits: Sequence[Tensor]) -> int | None:
        [row] = logits[0]
        odds = row[self._yes_ids].logsumexp(0) - row[self._no_ids].logsumexp(0)
        p = float(odds.sigmoid())
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
        self._options = options
        self._targets = [[*option, end_id] for option in ids]

    def begin(self, logits: Sequence[Tensor]) -> int | None:
        scores = [
            rows.log_softmax(-1).gather(1, torch.tensor(target, device=rows.device)[:, None]).sum()
            for rows, target in zip(logits, self._targets, strict=True)
        ]
        shares = torch.stack(scores).softmax(0)
        best = int(shares.argmax())
        self._answer = Answer("choice", self._options[best], float(shares[best]), num_generated=0)
        return None


class Count:
    """Decodes a number; p is its digits' and its end's, each among what might stand there.

    A digit comes first, then digits or the end. A leading zero and a third digit are the end.
    """

    def __init__(self, suffix: Sequence[int], *, count_ids: Tensor) -> None:
        """Take the ten digits' ids and, last, the end's."""
        self.branches = (Branch(tuple(suffix), max_new_tokens=MAX_COUNT_DIGITS),)
        self._count_ids = count_ids
        self._text = ""
        self._p = 1.0

    def begin(self, logits: Sequence[Tensor]) -> int | None:
        return self.go_on(-1, logits[0][0])

    def go_on(self, likeliest: int, logits: Tensor) -> int | None:  # noqa: ARG002
        num_allowed = 11 if self._text else 10
        shares = logits[self._count_ids[:num_allowed]].softmax(0)
        best = int(shares.argmax())
        self._p *= float(shares[best])
        if best == 10:
            return None
        self._text += str(best)
        if self._text == "0" or len(self._text) == MAX_COUNT_DIGITS:
            return None
        return int(self._count_ids[best])

    def answer(self) -> Answer:
        return Answer("count", self._text, self._p, num_generated=len(self._text))


class FreeText:
    """Decodes greedily up to the end, the limit or a loop."""

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

    def begin(self, logits: Sequence[Tensor]) -> int | None:
        return self.go_on(int(logits[0][0].argmax()), logits[0][0])

    def go_on(self, likeliest: int, logits: Tensor) -> int | None:  # noqa: ARG002
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
