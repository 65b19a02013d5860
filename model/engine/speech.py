"""What is being said: answers that need more than their prefill come later than the others.

All of them are decoded side by side, while contexts grow and retire: what one goes on from is held
until it is whole. Where there is no room for that, it gives way.
"""

from collections.abc import Mapping, Sequence
from itertools import count

import torch

from model.engine.answers import Respondent
from model.engine.kv_cache import KVSequence, PagePool
from model.engine.now import Now
from model.engine.rolling_context import Context
from model.engine.sentences import Sentence, Sentences
from model.engine.shortage import Shortage
from model.errors import DeviceMemoryError
from model.kinds.when import placed
from model.types import Answer, Question, Window


class Speech:
    """All sentences, of any number of asks, by the tickets that were given for them."""

    def __init__(
        self,
        respondent: Respondent,
        pool: PagePool,
        *,
        sentences: Sentences,
        shortage: Shortage,
        sample_period_s: float,
    ) -> None:
        """Begin with none.

        Args:
            respondent: begins asks.
            pool: where contexts lie.
            sentences: where they are said.
            shortage: makes room when memory runs out; what is being said gives way to it.
            sample_period_s: between two frames, for answers that tell of a stretch.
        """
        self._respondent = respondent
        self._pool = pool
        self._sentences = sentences
        self._shortage = shortage
        self._sample_period_s = sample_period_s
        self._tickets = count()
        self._open: dict[Sentence, tuple[int, Context, Window]] = {}
        self._told: list[tuple[int, Answer | None]] = []
        shortage.hush = self.give_way

    @property
    def is_going(self) -> bool:
        """Whether anything is left to be told."""
        return bool(self._open or self._told)

    def ask(
        self, asks: Sequence[tuple[Question, Context]], nows: Mapping[KVSequence, Now]
    ) -> list[Answer]:
        """Give all answers, to the last word; as `begin`.

        Raises:
            DeviceMemoryError: there was no room for one of them.
        """
        begun = self.begin(asks, nows)
        others, self._told = self._told, []
        awaited = {one for one in begun if isinstance(one, int)}
        later: dict[int, Answer | None] = {}
        while awaited - later.keys():
            later.update(self.step())
        self._told = [*others, *(one for one in later.items() if one[0] not in awaited)]
        answers = [later[one] if isinstance(one, int) else one for one in begun]
        given = [one for one in answers if one is not None]
        if len(given) < len(answers):
            raise DeviceMemoryError("ask: expected room to say an answer, got none")
        return given

    def begin(
        self, asks: Sequence[tuple[Question, Context]], nows: Mapping[KVSequence, Now]
    ) -> list[Answer | int]:
        """Give the answers that need no more than a pass, and tickets for those that come later.

        Args:
            asks: each question with the context it is about, as it is now.
            nows: by context, what its questions begin with, where that is anything.

        Raises:
            InputError: a question cannot be put; none is.
            DeviceMemoryError: the device has no room for the pass.
        """
        begun = self._shortage.spare(lambda: self._respondent.begin(self._pool, asks, nows=nows))
        told: list[Answer | int] = []
        for place, (reader, (_, context)) in enumerate(zip(begun.readers, asks, strict=True)):
            if (sentence := begun.sentences.get(place)) is None:
                told.append(self._placed(reader.answer(), context.window))
                continue
            ticket = next(self._tickets)
            self._open[sentence] = ticket, context, context.window
            told.append(ticket)
        self._sentences.add(begun.sentences.values())
        return told

    @torch.inference_mode()
    def step(self) -> list[tuple[int, Answer | None]]:
        """Say a little more of each sentence.

        Returns:
            By ticket the answers that are whole; None where memory ran out, and nothing comes.
        """
        try:
            whole = self._sentences.step()
        except (RuntimeError, MemoryError) as exc:
            self._shortage.note(exc)  # of which all sentences come to nothing
            whole = []
        for sentence in whole:
            ticket, _, window = self._open.pop(sentence)
            self._told.append((ticket, self._placed(sentence.reader.answer(), window)))
        told, self._told = self._told, []
        return told

    def give_way(self, *, is_all: bool = False) -> bool:
        """Let sentences come to nothing to free the pages of a context that is over, the last one.

        Args:
            is_all: let all of them, whatever they hold.

        Returns:
            Whether there were any.
        """
        over = [one for one, (_, context, _) in self._open.items() if _is_over(one, context)]
        last = self._open[over[-1]][1] if over else None
        lost = [one for one, (_, context, _) in self._open.items() if is_all or context is last]
        for sentence in lost:
            ticket, _, _ = self._open.pop(sentence)
            self._sentences.drop(sentence)
            self._told.append((ticket, None))
        self._shortage.num_unsaid += len(lost)
        return bool(lost)

    def _placed(self, answer: Answer, window: Window) -> Answer:
        return placed(answer, window, sample_period_s=self._sample_period_s)


def _is_over(sentence: Sentence, context: Context) -> bool:
    """Say whether pages stay for a sentence alone."""
    return sentence.begun.context.length > context.sequence.length
