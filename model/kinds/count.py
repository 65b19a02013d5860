"""`count`: a whole number, decoded digit by digit."""

from collections.abc import Sequence

from model.errors import CheckpointError, InputError
from model.kinds.base import (
    Branch,
    Forms,
    Kind,
    Limits,
    NewReader,
    Reading,
    Target,
    Vocabulary,
    softmax,
)
from model.types import Answer

MAX_DIGITS = 3


class Count(Kind):
    """Asks how many there are. Its event is about at least so many."""

    name = "count"
    closing = "Answer with a number."
    published_type = int

    def readers(self, vocabulary: Vocabulary, *, limits: Limits, forms: Forms) -> NewReader:  # noqa: ARG002
        # The end comes last, so that an index below ten is the digit itself.
        count_ids = [*digit_ids(vocabulary), vocabulary.im_end_id]
        return lambda _question, suffix: _Reader(suffix, count_ids=count_ids)

    def target(self, event_on: str, options: Sequence[str]) -> Target | None:  # noqa: ARG002
        if event_on and not event_on.isdecimal():
            raise InputError("event_on: expected a whole number for a count question")
        return int(event_on) if event_on else None

    def event_p(self, answer: Answer, target: Target) -> float | None:
        """For a number below the event's this is what is left beside the answer given.

        That is an upper bound: a doubtful answer neither starts nor ends an event.
        """
        if answer.p is None:
            return None
        return answer.p if int(answer.value) >= int(target) else 1.0 - answer.p


class _Reader:
    """Decodes a number; p is its digits' and its end's, each among what might stand there.

    A digit comes first, then digits or the end. A leading zero and a third digit are the end.
    """

    def __init__(self, suffix: Sequence[int], *, count_ids: Sequence[int]) -> None:
        """Take the ten digits' ids and, last, the end's."""
        self.branches = (Branch(tuple(suffix), max_new_tokens=MAX_DIGITS),)
        self.next_reading = Reading(tuple(count_ids))
        self.readings = (self.next_reading,)
        self._digits = ""
        self._p = 1.0

    def begin(self, found: Sequence[Sequence[float]]) -> int | None:
        return self.go_on(found[0])

    def go_on(self, found: Sequence[float]) -> int | None:
        shares = softmax(found[: 11 if self._digits else 10])
        best = shares.index(max(shares))
        self._p *= shares[best]
        if best == 10:
            return None
        self._digits += str(best)
        if self._digits == "0" or len(self._digits) == MAX_DIGITS:
            return None
        return self.next_reading.ids[best]

    def answer(self) -> Answer:
        return Answer(Count.name, int(self._digits), self._p, num_generated=len(self._digits))


def digit_ids(vocabulary: Vocabulary) -> list[int]:
    """Give the ten digits' tokens in order.

    Raises:
        CheckpointError: a digit is not a token of its own.
    """
    encoded = [vocabulary.encode(str(digit)) for digit in range(10)]
    if any(len(ids) != 1 for ids in encoded):
        raise CheckpointError(f"tokenizer: expected a token for each digit, got {encoded}")
    return [ids[0] for ids in encoded]
