"""What a question kind is: the words put to the model, how its answer is read, what is published.

A kind is one file of this folder and one entry in `model.kinds.KINDS`. Nothing here knows torch:
readers deal in lists of numbers that the engine looks up in the logits for them.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple, Protocol

from model.errors import InputError
from model.types import Answer, Question

Target = str | int
"""What an event is about: an option, a least number, `yes`."""


@dataclass(frozen=True, slots=True)
class Branch:
    """Words after a context.

    Attributes:
        ids: the tokens, one at least.
        num_scored: how many of the last tokens have the logits after them looked at.
        max_new_tokens: the branch may be decoded so far; 0 where nothing is.
        is_text: it is decoded as free text, and so under the checkpoint's repetition penalty.
        children: tokens that might come next, each on its own: a child sees the context, the
            branch and itself, and none of the others. The logits after each are looked at.
    """

    ids: tuple[int, ...]
    num_scored: int = 1
    max_new_tokens: int = 0
    is_text: bool = False
    children: tuple[int, ...] = ()

    @property
    def num_readings(self) -> int:
        """Rows of logits that are looked at: the last tokens', then the children's."""
        return self.num_scored + len(self.children)


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
        """What the reader is to know of each row, branch after branch.

        A branch has `num_readings` rows: its scored tokens, then its children.
        """
        ...

    @property
    def next_reading(self) -> Reading | None:
        """What the reader is to know of a decoded row; None for the likeliest token alone."""
        ...

    def begin(self, found: Sequence[Sequence[float]]) -> "int | Reader | None":
        """Take what `readings` found.

        Returns:
            The token to go on with; or the reader that answers in this one's place, after another
            pass; None where the answer is known.
        """
        ...

    def go_on(self, found: Sequence[float]) -> int | None:
        """Take what `next_reading` found, or the likeliest token; as `begin`."""
        ...

    def answer(self) -> Answer:
        """Give the answer, when no token was asked for."""
        ...


class Scored:
    """A reader that is done after the first pass: it sets `_answer` in `begin`."""

    next_reading = None
    _answer: Answer

    def go_on(self, found: Sequence[float]) -> int | None:  # noqa: ARG002
        return None

    def answer(self) -> Answer:
        return self._answer


class Vocabulary(Protocol):
    """What kinds ask of a tokenizer."""

    @property
    def im_end_id(self) -> int:
        """The id that closes a turn."""
        ...

    def encode(self, text: str) -> list[int]:
        """Give the ids of `text`."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Give the text of `ids` without control tokens, in whole characters."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Where generated text ends.

    Attributes:
        max_caption_tokens: of a caption.
        max_answer_tokens: of a free text.
        end_ids: tokens that end either.
    """

    max_caption_tokens: int
    max_answer_tokens: int
    end_ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Forms:
    """How a checkpoint was taught to be asked.

    Attributes:
        closings: by kind, the line that says what form the answer should take; a kind that is
            missing has its own.
        has_letters: the options of a choice are lettered, and a letter is the answer.
        openings: by kind, what stands before the question on its line; nothing where it is missing.
    """

    closings: Mapping[str, str] = field(default_factory=dict)
    has_letters: bool = True
    openings: Mapping[str, str] = field(default_factory=dict)


Reason = Literal["no_answer", "in_doubt", "frozen", "stalled", "damaged", "no_memory"]
"""Why an answer is `unknown`."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """When an answer is published as `unknown`.

    Attributes:
        band: [low, high): a probability of yes in it is no answer.
        min_mass: an answer that the model gives less probability than this to, against all else it
            might say, is none.
    """

    band: tuple[float, float] = (0.4, 0.6)
    min_mass: float = 0.1


@dataclass(frozen=True, slots=True)
class Published:
    """An answer as messages give it.

    Attributes:
        answer: of its kind's type, or `unknown`.
        p: its probability; None where it has none.
        reason: why it is `unknown`; None where it is not.
    """

    answer: str | int
    p: float | None
    reason: Reason | None = None


NewReader = Callable[[Question, Sequence[int]], Reader]
"""(question, ids of what is put after the context) -> its reader."""


def check_letters(name: str, text: str) -> None:
    """Refuse text that is no Unicode, as JSON and command lines may have it.

    Raises:
        InputError: it has half a surrogate pair.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{name}: expected whole characters, got half of one") from None


class Kind(ABC):
    """One kind of question. Stateless: one value serves all questions.

    Attributes:
        name: as settings and messages give it.
        published_type: of the `answer` in messages, `unknown` aside.
        closing: the line that says what form the answer should take; none where it is empty.
    """

    name: ClassVar[str]
    published_type: ClassVar[type[str] | type[int]] = str
    closing: ClassVar[str] = ""

    def check(self, question: Question) -> None:
        """Refuse a question that cannot be put.

        Raises:
            InputError: `ask: ...` or `options: ...`, what was expected and what came.
        """
        check_letters("ask", question.text)
        if not question.text.strip():
            raise InputError(f"ask: expected words for a {self.name} question, got none")
        if question.options:
            raise InputError(
                f"options: expected none for a {self.name} question, got {len(question.options)}"
            )

    def wording(self, question: Question, forms: Forms) -> str:
        """Give the words put to the model: the question, and the form its answer should take."""
        asked = forms.openings.get(self.name, "") + question.text
        closing = forms.closings.get(self.name, self.closing)
        return f"{asked}\n{closing}" if closing else asked

    def taught(self, question: Question, answer: str, forms: Forms) -> str:  # noqa: ARG002
        """Give what a model that is asked in these forms is to learn to say for an answer."""
        return answer

    @abstractmethod
    def readers(self, vocabulary: Vocabulary, *, limits: Limits, forms: Forms) -> NewReader:
        """Look up the tokens that answers are read off, once; return what makes readers.

        Raises:
            CheckpointError: this vocabulary cannot tell the answers apart.
        """

    def published(self, answer: Answer, doubt: Doubt) -> Published:
        """Return the answer as messages give it: `unknown` where the model did not answer."""
        if answer.mass is not None and answer.mass < doubt.min_mass:
            return Published("unknown", None, "no_answer")
        return Published(answer.value, answer.p)

    def check_published(self, published: str | int) -> None:
        """Refuse what cannot stand in a message as an answer of this kind.

        Raises:
            InputError: another type, or a word that is no answer.
        """
        if published != "unknown" and type(published) is not self.published_type:
            raise InputError(
                f"answer: expected {self.published_type.__name__} for {self.name}, "
                f"got {published!r}"
            )

    def target(self, event_on: str, options: Sequence[str]) -> Target | None:  # noqa: ARG002
        """Return what an event is about, from its setting; None where it raises none.

        Raises:
            InputError: `event_on: ...`, no answer of this kind can be that.
        """
        if event_on:
            raise InputError(f"event_on: expected none for a {self.name} question")
        return None

    def event_p(self, answer: Answer, target: Target) -> float | None:  # noqa: ARG002
        """Return how probable it is that what the event is about holds."""
        return answer.p


def softmax(scores: Sequence[float]) -> list[float]:
    """Return probabilities in proportion to exp(score)."""
    weights = [math.exp(score - max(scores)) for score in scores]
    return [weight / sum(weights) for weight in weights]
