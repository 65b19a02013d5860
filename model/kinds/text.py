"""`text` and `caption`: free words, decoded greedily."""

from collections.abc import Sequence

from model.errors import InputError
from model.kinds.base import Branch, Forms, Kind, Limits, NewReader, Reading, Vocabulary
from model.kinds.loops import Loop
from model.types import Answer, Question

CAPTION_TEXT = "Describe what is happening in the video in one sentence."


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
        self._loop = Loop()
        self._is_truncated = False

    def begin(self, found: Sequence[Sequence[float]]) -> int | None:
        return self.go_on(found[0])

    def go_on(self, found: Sequence[float]) -> int | None:
        likeliest = int(found[0])
        if likeliest in self._end_ids:
            return None
        self._ids.append(likeliest)
        self._loop.add(likeliest)
        if self._loop.num_repeated:
            return None
        self._is_truncated = len(self._ids) == self._max_new_tokens
        return None if self._is_truncated else likeliest

    def answer(self) -> Answer:
        """Give the text, a loop cut to one turn."""
        told = self._ids[: len(self._ids) - self._loop.num_repeated]
        return Answer(
            self._kind,
            self._vocabulary.decode(told).strip(),
            None,
            num_generated=len(self._ids),
            is_truncated=self._is_truncated,
        )
