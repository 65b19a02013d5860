"""`text` and `caption`: free words, decoded greedily."""

import math
from collections.abc import Sequence

from model.errors import InputError
from model.kinds.base import Branch, Forms, Kind, Limits, NewReader, Reading, Vocabulary
from model.types import Answer, Question

CAPTION_TEXT = "Describe what is happening in the video in one sentence."
MAX_LOOP_PERIOD = 16
MIN_LOOP_TURNS = 3
MIN_LOOP_TOKENS = 8


class Text(Kind):
    """Asks for an answer in free words. It raises no event."""

    name = "text"

    def readers(self, vocabulary: Vocabulary, *, limits: Limits, forms: Forms) -> NewReader:  # noqa: ARG002
        return self._readers(vocabulary, limits, max_new_tokens=limits.max_answer_tokens)

    def _readers(self, vocabulary: Vocabulary, limits: Limits, *, max_new_tokens: int) -> NewReader:
        return lambda _question, suffix: TextReader(
            self.name,
            suffix,
            max_new_tokens=max_new_tokens,
            end_ids=limits.end_ids,
            vocabulary=vocabulary,
        )


class Caption(Text):
    """Asks for what is happening; without words of its own, in the model's usual ones."""

    name = "caption"

    def check(self, question: Question) -> None:
        if question.options:
            raise InputError(f"options: expected none for a caption, got {len(question.options)}")

    def wording(self, question: Question, forms: Forms) -> str:  # noqa: ARG002
        return question.text or CAPTION_TEXT

    def readers(self, vocabulary: Vocabulary, *, limits: Limits, forms: Forms) -> NewReader:  # noqa: ARG002
        return self._readers(vocabulary, limits, max_new_tokens=limits.max_caption_tokens)


class TextReader:
    """Decodes greedily up to the end, the limit or a loop."""

    readings = (Reading(),)
    next_reading = None

    def __init__(
        self,
        kind: str,
        suffix: Sequence[int],
        *,
        max_new_tokens: int,
        end_ids: frozenset[int],
        vocabulary: Vocabulary,
    ) -> None:
        self.branches = (Branch(tuple(suffix), max_new_tokens=max_new_tokens, is_text=True),)
        self._kind = kind
        self._max_new_tokens = max_new_tokens
        self._end_ids = end_ids
        self._vocabulary = vocabulary
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
        text = self._vocabulary.decode(told).strip()
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
