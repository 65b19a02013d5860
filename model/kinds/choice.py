"""`choice`: one of the given options, each scored to its end."""

from collections.abc import Sequence

from model.errors import InputError
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
    softmax,
)
from model.types import Answer, Question


class Choice(Kind):
    """Asks which of two or more options holds. Its event is about one of them."""

    name = "choice"
    closing = "Answer with one of the options."

    def check(self, question: Question) -> None:
        super().check(Question(self.name, question.text))
        options = [option.strip() for option in question.options]
        if len(options) < 2 or "" in options:
            raise InputError(
                "options: expected two or more for a choice question, none of them blank, "
                f"got {len(options)}"
            )
        if len(set(options)) < len(options):
            raise InputError("options: expected different ones, got one twice")

    def wording(self, question: Question, forms: Forms) -> str:
        options = "\n".join(question.options)
        closing = forms.closings.get(self.name, self.closing)
        return f"{question.text}\nOptions:\n{options}\n{closing}"

    def readers(self, vocabulary: Vocabulary, *, limits: Limits, forms: Forms) -> NewReader:  # noqa: ARG002
        def new(question: Question, suffix: Sequence[int]) -> "_Reader":
            ids = [vocabulary.encode(option) for option in question.options]
            return _Reader(suffix, question.options, ids=ids, end_id=vocabulary.im_end_id)

        return new

    def target(self, event_on: str, options: Sequence[str]) -> Target | None:
        if event_on and event_on not in options:
            raise InputError("event_on: expected one of the options")
        return event_on or None

    def event_p(self, answer: Answer, target: Target) -> float | None:
        """For another option than the event's this is what is left beside the answer given.

        That is an upper bound: a doubtful answer neither starts nor ends an event.
        """
        if answer.p is None:
            return None
        return answer.p if answer.value == target else 1.0 - answer.p


class _Reader(Scored):
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
        shares = softmax(scores)
        best = shares.index(max(shares))
        self._answer = Answer(Choice.name, self._options[best], shares[best], num_generated=0)
        return None
