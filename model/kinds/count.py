"""`count`: a whole number; the probability of each from 0 to 99 is read in one pass."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from model.errors import CheckpointError, InputError
from model.kinds.base import (
    Branch,
    Forms,
    Kind,
    Limits,
    NewReader,
    Reader,
    Reading,
    Scored,
    Target,
    Vocabulary,
)
from model.kinds.number_words import NumberWords, number_words
from model.types import Answer

NUM_READ = 100
"""Numbers whose probability is read in one pass: 0 to 99."""
MAX_DIGITS = 6
LEAST_MASS = 0.01
"""Nobody looks behind what is no answer: below this a number is given as it is."""


class Count(Kind):
    """Asks how many there are. Its event is about at least so many."""

    name = "count"
    closing = "Answer with a number."
    published_type = int

    def readers(self, vocabulary: Vocabulary, *, limits: Limits, forms: Forms) -> NewReader:  # noqa: ARG002
        digits = digit_ids(vocabulary)
        words = number_words(vocabulary)
        return lambda _question, suffix: _Reader(suffix, digits=digits, words=words)

    def target(self, event_on: str, options: Sequence[str]) -> Target | None:  # noqa: ARG002
        is_number = event_on.isdecimal() and len(event_on) <= MAX_DIGITS
        if event_on and not (is_number and int(event_on)):
            raise InputError("event_on: expected a number from 1 for a count question")
        return int(event_on) if event_on else None

    def event_p(self, answer: Answer, target: Target) -> float | None:
        """Return P(count >= target), which falls as the target grows.

        Above 100, and in an answer without shares, only the number itself has a probability of its
        own. What is beside it may lie on either side of the target, and is taken to keep an event
        as it is: a doubtful answer neither starts nor ends one.
        """
        if answer.p is None:
            return None
        least, value = int(str(target)), int(answer.value)
        if not answer.shares:
            return max(answer.p, 1.0 - answer.p) if value >= least else 1.0 - answer.p
        p = 1.0 - math.fsum(answer.shares[:least])
        if least > NUM_READ and value < least and value >= NUM_READ:
            p -= answer.p
        return min(1.0, max(0.0, p))


@dataclass(slots=True)
class _Tally:
    """What each number holds of the probability at the first token.

    Attributes:
        shares: of 0 to 99, up to a factor.
        scale: that factor: times this they are probabilities in the whole vocabulary.
        above: of all numbers above 99, as `shares`.
    """

    shares: list[float]
    scale: float
    above: float = 0.0

    @property
    def mass(self) -> float:
        """The probability that a number is said at all."""
        return min(1.0, (math.fsum(self.shares) + self.above) * self.scale)

    @property
    def best(self) -> int:
        """The likeliest number to 99."""
        return self.shares.index(max(self.shares))

    def answer(self, *, num_generated: int = 0) -> Answer:
        """Answer the likeliest number to 99."""
        return self.answer_of(self.best, self.shares[self.best], num_generated=num_generated)

    def answer_of(self, value: int, share: float, *, num_generated: int) -> Answer:
        """Answer a number that holds so much, as `shares`."""
        total = math.fsum(self.shares) + self.above
        if not total:  # all that might answer has turned out to say something else
            return Answer(Count.name, value, 0.0, num_generated, mass=0.0)
        shares = tuple(one / total for one in self.shares)
        return Answer(
            Count.name, value, share / total, num_generated, mass=self.mass, shares=shares
        )


class _Reader(Scored):
    """Reads P(n) for n from 0 to 99 off one pass.

    The pass shows what follows the question, and what follows each of the nine digits that another
    may follow. A number ends at whatever is no digit, so that

        P(d) = P(d first) * (1 - P(a digit after d)),   P(0) = P(0 first),
        P(d e) = P(d first) * P(e after d).

    What follows two digits is not in the pass: all of them are taken to end there. Where the
    likeliest number is one of them, a second pass looks behind it (`_LongReader`), so that `120` is
    not read as 12. The others keep what numbers above 99 that begin with them may hold: no answer
    hangs on it, and P(count >= N) is too small by that for N above them.

    A number word counts with all that its first token holds; where such a word is the answer and
    may go on to a larger number, a second pass looks behind it too (`_WordReader`).
    """

    def __init__(self, suffix: Sequence[int], *, digits: Sequence[int], words: NumberWords) -> None:
        self._suffix = tuple(suffix)
        self._digits = tuple(digits)
        self._words = words
        self._word_ids = tuple(words.numbers)
        self.branches = (Branch(self._suffix, children=self._digits[1:]),)
        after = Reading(self._digits, is_share=True)
        first = Reading((*self._digits, *self._word_ids), is_share=True)
        self.readings = (first, *[after] * len(self._digits[1:]))

    def begin(self, found: Sequence[Sequence[float]]) -> Reader | None:
        first, *after = found
        peak = max(first)
        weights = [math.exp(one - peak) for one in first]
        shares = [weights[0], *[0.0] * (NUM_READ - 1)]
        for digit, row in enumerate(after, start=1):
            follow = [math.exp(one) for one in row]
            shares[digit] = weights[digit] * max(0.0, 1.0 - sum(follow))
            for unit, share in enumerate(follow):
                shares[10 * digit + unit] = weights[digit] * share
        of_digits = list(shares)
        by_word = dict(zip(self._word_ids, weights[10:], strict=True))
        for token, weight in by_word.items():
            shares[self._words.numbers[token]] += weight
        tally = _Tally(shares, math.exp(peak))
        if tally.mass < LEAST_MASS:
            self._answer = tally.answer()
            return None
        best = tally.best
        word = max(
            (token for token in by_word if self._words.numbers[token] == best),
            key=by_word.__getitem__,
            default=None,
        )
        if word is not None and by_word[word] > of_digits[best]:
            if larger := self._words.larger.get(word):
                branch = (*self._suffix, word)
                return _WordReader(branch, tally, share=by_word[word], larger=larger)
        elif best >= 10:
            branch = (*self._suffix, *(self._digits[int(one)] for one in str(best)))
            return _LongReader(branch, tally, digits=self._digits)
        self._answer = tally.answer()
        return None


class _WordReader(Scored):
    """Looks behind a number word: what goes on to a larger number is no answer."""

    def __init__(
        self, branch: tuple[int, ...], tally: _Tally, *, share: float, larger: tuple[int, ...]
    ) -> None:
        """Take the question with the word, and what the word holds of the tally."""
        self.branches = (Branch(branch),)
        self.readings = (Reading(larger, is_share=True),)
        self._tally = tally
        self._share = share

    def begin(self, found: Sequence[Sequence[float]]) -> int | None:
        number, shares = self._tally.best, self._tally.shares
        goes_on = min(1.0, sum(math.exp(one) for one in found[0]))
        shares[number] = max(0.0, shares[number] - self._share * goes_on)
        self._answer = self._tally.answer()
        return None


class _LongReader:
    """Looks behind two digits, and decodes on where more of them are likelier than all else.

    What goes on counts as above 99. Decoding is greedy, digit by digit, and ends at whatever is no
    digit, or after six.
    """

    def __init__(self, branch: tuple[int, ...], tally: _Tally, *, digits: tuple[int, ...]) -> None:
        """Take the question with the two digits that hold most of the tally."""
        self.branches = (Branch(branch, max_new_tokens=MAX_DIGITS - 2),)
        self.next_reading = Reading(digits, is_share=True)
        self.readings = (self.next_reading,)
        self._tally = tally
        self._number = self._start = tally.best
        self._share = 0.0  # of the number so far, as in the tally
        self._num_generated = 0

    def begin(self, found: Sequence[Sequence[float]]) -> int | None:
        follow = [math.exp(one) for one in found[0]]
        held, goes_on = self._tally.shares[self._start], min(1.0, sum(follow))
        self._tally.shares[self._start] = held * (1.0 - goes_on)
        self._tally.above = held * goes_on
        if self._tally.above <= max(self._tally.shares):
            return None
        self._share = held
        return self._append(follow)

    def go_on(self, found: Sequence[float]) -> int | None:
        follow = [math.exp(one) for one in found]
        ends = max(0.0, 1.0 - sum(follow))
        if ends >= max(follow) or self._num_generated == MAX_DIGITS - 2:
            self._share *= ends
            return None
        return self._append(follow)

    def answer(self) -> Answer:
        if not self._num_generated:
            return self._tally.answer()
        return self._tally.answer_of(self._number, self._share, num_generated=self._num_generated)

    def _append(self, follow: Sequence[float]) -> int:
        digit = follow.index(max(follow))
        self._number = 10 * self._number + digit
        self._share *= follow[digit]
        self._num_generated += 1
        return self.next_reading.ids[digit]


def digit_ids(vocabulary: Vocabulary) -> list[int]:
    """Give the ten digits' tokens in order.

    Raises:
        CheckpointError: a digit is not a token of its own.
    """
    encoded = [vocabulary.encode(str(digit)) for digit in range(10)]
    if any(len(ids) != 1 for ids in encoded):
        raise CheckpointError(f"tokenizer: expected a token for each digit, got {encoded}")
    return [ids[0] for ids in encoded]
