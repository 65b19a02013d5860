"""`choice`: one of the given options, by its letter, or by itself where a model knows none."""

import math
import string
from collections.abc import Iterator, Sequence
from typing import Self

from model.errors import CheckpointError, InputError
from model.kinds.base import (
    Branch,
    Forms,
    Kind,
    Limits,
    NewReader,
    Reading,
    Scored,
    Target,
    Vocabulary,
    check_letters,
    softmax,
)
from model.types import Answer, Question

LETTERS = string.ascii_uppercase
SPELLINGS = ("{upper}", " {upper}", "({upper}", "{lower}", "({lower}")
"""How an answer may begin with a letter: `B`, ` B`, `(B`, `b` or `(b`, and whatever follows."""


class Option(str):
    """One of a question's options, which knows its place among them, from 0."""

    place: int

    def __new__(cls, text: str, place: int) -> Self:
        option = super().__new__(cls, text)
        option.place = place
        return option


class Choice(Kind):
    """Asks which of two or more options holds. Its event is about one of them."""

    name = "choice"
    closing = "Answer with the option's letter."

    def check(self, question: Question) -> None:
        super().check(Question(self.name, question.text))
        check_letters("options", "".join(question.options))
        options = [option.strip() for option in question.options]
        if len(options) < 2 or "" in options:
            raise InputError(
                "options: expected two or more for a choice question, none of them blank, "
                f"got {len(options)}"
            )
        if len(options) > len(LETTERS):
            raise InputError(
                f"options: expected at most {len(LETTERS)} for a choice question, "
                f"got {len(options)}"
            )
        if len(set(options)) < len(options):
            raise InputError("options: expected different ones, got one twice")

    def wording(self, question: Question, forms: Forms) -> str:
        options = list(question.options)
        if forms.has_letters:
            options = [f"({letter}) {option}" for letter, option in _lettered(question)]
        opening = forms.openings.get(self.name, "")
        closing = forms.closings.get(self.name, self.closing)
        return "\n".join([f"{opening}{question.text}", "Options:", *options, closing])

    def taught(self, question: Question, answer: str, forms: Forms) -> str:
        if not forms.has_letters:
            return answer
        return next(letter for letter, option in _lettered(question) if option == answer)

    def readers(self, vocabulary: Vocabulary, *, limits: Limits, forms: Forms) -> NewReader:  # noqa: ARG002
        if forms.has_letters:
            ids = letter_ids(vocabulary)
            return lambda question, suffix: _LetterReader(suffix, question.options, ids=ids)

        def new(question: Question, suffix: Sequence[int]) -> "_WordReader":
            words = [vocabulary.encode(option) for option in question.options]
            return _WordReader(suffix, question.options, ids=words, end_id=vocabulary.im_end_id)

        return new

    def target(self, event_on: str, options: Sequence[str]) -> Target | None:
        if event_on and event_on not in options:
            raise InputError("event_on: expected one of the options")
        return Option(event_on, options.index(event_on)) if event_on else None

    def event_p(self, answer: Answer, target: Target) -> float | None:
        """Return the share of the event's option.

        An answer without shares leaves, for another option than its own, what is beside it. That is
        an upper bound: a doubtful answer neither starts nor ends an event.
        """
        if answer.p is None:
            return None
        if answer.shares and isinstance(target, Option):
            return answer.shares[target.place]
        return answer.p if answer.value == target else 1.0 - answer.p


class _LetterReader(Scored):
    """Weighs the options' letters at the first token, each in as many spellings as the others."""

    def __init__(
        self, suffix: Sequence[int], options: Sequence[str], *, ids: Sequence[Sequence[int]]
    ) -> None:
        """Take for each letter the tokens that an answer of it begins with."""
        self._options = options
        self.branches = (Branch(tuple(suffix)),)
        asked = tuple(token for own in ids[: len(options)] for token in own)
        self.readings = (Reading(asked, is_share=True),)

    def begin(self, found: Sequence[Sequence[float]]) -> int | None:
        [log_shares] = found
        among = softmax(log_shares)
        width = len(among) // len(self._options)
        shares = [sum(among[start : start + width]) for start in range(0, len(among), width)]
        self._answer = _answer(self._options, shares, mass=sum(math.exp(one) for one in log_shares))
        return None


class _WordReader(Scored):
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
        self._first_ids = [option[0] for option in ids]

    def begin(self, found: Sequence[Sequence[float]]) -> int | None:
        rows = iter(found)
        scores = [[next(rows)[0] for _ in range(branch.num_scored)] for branch in self.branches]
        begun = dict(zip(self._first_ids, (score[0] for score in scores), strict=True))
        self._answer = _answer(
            self._options,
            softmax([sum(score) for score in scores]),
            mass=sum(math.exp(one) for one in begun.values()),
        )
        return None


def letter_ids(vocabulary: Vocabulary) -> list[list[int]]:
    """Give for each letter from A to Z the tokens that an answer of it can begin with.

    A spelling counts where it is one token for every letter, so that no letter has more than
    another: in Qwen's vocabulary all of `SPELLINGS` are, `(B` among them.

    Raises:
        CheckpointError: the bare letters are not tokens of their own.
    """
    spelled = []
    for spelling in SPELLINGS:
        encoded = [
            vocabulary.encode(spelling.format(upper=letter, lower=letter.lower()))
            for letter in LETTERS
        ]
        if all(len(ids) == 1 for ids in encoded):
            spelled.append([ids[0] for ids in encoded])
        elif spelling == SPELLINGS[0]:
            raise CheckpointError(f"tokenizer: expected a token for each letter, got {encoded}")
    return [list(own) for own in zip(*spelled, strict=True)]


def _answer(options: Sequence[str], shares: Sequence[float], *, mass: float) -> Answer:
    best = shares.index(max(shares))
    return Answer(
        Choice.name, options[best], shares[best], num_generated=0, mass=mass, shares=tuple(shares)
    )


def _lettered(question: Question) -> Iterator[tuple[str, str]]:
    return zip(LETTERS, question.options, strict=False)
