"""`yes_no`: the probability of yes, over every spelling of yes and no at the first token."""

from collections.abc import Sequence

from model.errors import CheckpointError, InputError
from model.kinds.base import (
    Branch,
    Doubt,
    Forms,
    Kind,
    Limits,
    NewReader,
    Published,
    Reading,
    Scored,
    Target,
    Vocabulary,
    softmax,
)
from model.types import Answer

YES_SPELLINGS = ("yes", "Yes", "YES", " yes", " Yes", " YES")
NO_SPELLINGS = ("no", "No", "NO", " no", " No", " NO")


class YesNo(Kind):
    """Asks whether something is so. Its event is about yes."""

    name = "yes_no"
    closing = "Answer yes or no."

    def readers(self, vocabulary: Vocabulary, *, limits: Limits, forms: Forms) -> NewReader:  # noqa: ARG002
        yes_ids, no_ids = yes_no_ids(vocabulary)
        return lambda _question, suffix: _Reader(suffix, yes_ids=yes_ids, no_ids=no_ids)

    def published(self, answer: Answer, doubt: Doubt) -> Published:
        published = super().published(answer, doubt)
        if published.p is not None and doubt.band[0] <= published.p < doubt.band[1]:
            return Published("unknown", published.p, "in_doubt")
        return published

    def check_published(self, published: str | int) -> None:
        if published not in ("yes", "no", "unknown"):
            raise InputError(f"answer: expected yes, no or unknown, got {published!r}")

    def target(self, event_on: str, options: Sequence[str]) -> Target | None:
        super().target(event_on, options)
        return "yes"


class _Reader(Scored):
    """Weighs every spelling of yes against every spelling of no; no other word counts."""

    def __init__(
        self, suffix: Sequence[int], *, yes_ids: Sequence[int], no_ids: Sequence[int]
    ) -> None:
        self.branches = (Branch(tuple(suffix)),)
        self.readings = (Reading((*yes_ids, *no_ids)),)
        self._num_yes = len(yes_ids)

    def begin(self, found: Sequence[Sequence[float]]) -> int | None:
        [logits] = found
        p = sum(softmax(logits)[: self._num_yes])
        self._answer = Answer(YesNo.name, "yes" if p >= 0.5 else "no", p, num_generated=0)
        return None


def yes_no_ids(vocabulary: Vocabulary) -> tuple[list[int], list[int]]:
    """Give the tokens that an answer of yes, and one of no, can begin with.

    Raises:
        CheckpointError: a token begins both.
    """
    yes = {vocabulary.encode(spelling)[0] for spelling in YES_SPELLINGS}
    no = {vocabulary.encode(spelling)[0] for spelling in NO_SPELLINGS}
    if shared := yes & no:
        raise CheckpointError(
            "tokenizer: expected yes and no to begin with different tokens; "
            f"both begin with {vocabulary.decode(sorted(shared))!r}"
        )
    return sorted(yes), sorted(no)
