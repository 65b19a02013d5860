"""Answers about contexts: all questions of all cameras in one pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.engine.forks import Forks
from model.engine.kv_cache import KVSequence, PagePool
from model.engine.now import Now
from model.engine.readers import read
from model.engine.rolling_context import Context
from model.engine.sentences import Sentence
from model.errors import InputError
from model.family import Family
from model.kinds import KINDS, kind_of, wording
from model.kinds.base import Branch, Limits, Reader
from model.types import Question


@dataclass(frozen=True, slots=True)
class Begun:
    """An ask of which all that needs no more than a pass is known.

    Attributes:
        readers: for each question who answers it.
        sentences: by the question's place, what is still to be said for it.
    """

    readers: Sequence[Reader]
    sentences: Mapping[int, Sentence]


class Respondent:
    """Answers questions of every kind about contexts, and leaves the contexts as they were."""

    def __init__(self, family: Family, *, max_caption_tokens: int, max_answer_tokens: int) -> None:
        """Look up the tokens that answers are read off.

        Raises:
            CheckpointError: a kind's answers do not begin with tokens of their own.
        """
        self._family = family
        self._longest = max(max_caption_tokens, max_answer_tokens)
        limits = Limits(
            max_caption_tokens=max_caption_tokens,
            max_answer_tokens=max_answer_tokens,
            end_ids=family.end_ids,
        )
        self._new_reader = {
            name: kind.readers(family.tokenizer, limits=limits, forms=family.prompt.forms)
            for name, kind in KINDS.items()
        }

    def check(self, question: Question) -> None:
        """Refuse a question that cannot be put to the model.

        Raises:
            InputError: its kind is none, it has no words, holds a control token, or its options
                do not fit its kind.
        """
        texts = (question.text, *question.options)
        for word in self._family.tokenizer.control_words:
            if any(word in text for text in texts):
                raise InputError(f"question: expected plain text, got the control token {word}")
        kind_of(question.kind).check(question)

    def check_length(self, question: Question, *, num_before: int, window_s: float) -> None:
        """Refuse a question that has no room, with its answer, after so many tokens.

        Args:
            question: it.
            num_before: tokens of a full context.
            window_s: the latest that *now* may be, where the question begins with it.

        Raises:
            InputError: it would pass the model's positions.
        """
        num_tokens, prompt = len(self._put_ids(question, None)), self._family.prompt
        if prompt.shows_now:
            stamp = prompt.frame_stamp(window_s, is_first=False)
            num_tokens += len(self._family.tokenizer.encode(stamp)) + 1
        max_positions = self._family.network.config.text.max_positions
        if num_before + num_tokens + self._longest > max_positions:
            raise InputError(
                f"question: expected room for its {num_tokens} tokens after a full context within "
                f"the model's {max_positions} positions"
            )

    @torch.inference_mode()
    def begin(
        self,
        pool: PagePool,
        asks: Sequence[tuple[Question, Context]],
        *,
        nows: Mapping[KVSequence, Now] | None = None,
    ) -> Begun:
        """Put questions after their contexts' last frames, and read what one pass tells.

        Neither the order of the questions nor their company changes an answer.

        Args:
            pool: where the contexts lie.
            asks: each question with the context it is about; a context may have several.
            nows: by context, what its questions begin with, where that is anything.

        Raises:
            InputError: a question cannot be put, or no position is left for it; none is answered.
        """
        for question, _ in asks:
            self.check(question)
        nows = nows or {}
        put = [
            (self._reader(question, nows.get(context.sequence)), context)
            for question, context in asks
        ]
        return self._read(pool, put, nows=nows)

    @torch.inference_mode()
    def first_logits(
        self,
        pool: PagePool,
        question: Question,
        context: Context,
        *,
        nows: Mapping[KVSequence, Now],
    ) -> Tensor:
        """Give the logits (V,) float32 of what follows a question; no penalty is on them.

        Raises:
            InputError: it cannot be put, or no position is left for it.
        """
        self.check(question)
        branch = Branch(self._put_ids(question, nows.get(context.sequence)))
        forks = Forks(self._family.network, pool, [(context.sequence, branch)], nows=nows)
        [logits] = forks.prefill()
        return logits[-1]

    def _read(
        self,
        pool: PagePool,
        put: Sequence[tuple[Reader, Context]],
        *,
        nows: Mapping[KVSequence, Now],
    ) -> Begun:
        """Let readers look at one pass; those that ask for another have one more."""
        if not put:
            return Begun([], {})
        readers = [reader for reader, _ in put]
        branches = [(context, branch) for reader, context in put for branch in reader.branches]
        forks = Forks(
            self._family.network,
            pool,
            [(context.sequence, branch) for context, branch in branches],
            nows=nows,
            held=[context.held_ids for context, _ in branches],
        )
        logits = forks.prefill()
        found = iter(
            read(torch.cat(logits), [one for reader in readers for one in reader.readings])
        )
        going: dict[int, tuple[int, int]] = {}  # by the reader's number: its branch and next token
        in_place: dict[int, Reader] = {}  # by the reader's number: who answers for it
        start = 0
        for number, reader in enumerate(readers):
            told = reader.begin([next(found) for _ in reader.readings])
            if isinstance(told, int):
                going[number] = (start, told)
            elif told is not None:
                in_place[number] = told
            start += len(reader.branches)
        again = self._read(
            pool, [(reader, put[number][1]) for number, reader in in_place.items()], nows=nows
        )
        final = dict(enumerate(readers)) | dict(zip(in_place, again.readers, strict=True))
        sentences = {
            number: Sentence(readers[number], forks.beginning(branch), token)
            for number, (branch, token) in going.items()
        }
        numbers = list(in_place)
        sentences |= {numbers[number]: one for number, one in again.sentences.items()}
        return Begun(list(final.values()), sentences)

    def _reader(self, question: Question, now: Now | None) -> Reader:
        return self._new_reader[question.kind](question, self._put_ids(question, now))

    def _put_ids(self, question: Question, now: Now | None) -> tuple[int, ...]:
        """Give the ids of what is put after the context."""
        words = wording(question, self._family.prompt.forms)
        suffix = self._family.tokenizer.encode(self._family.prompt.question_suffix(words))
        return (*(now.ids if now else ()), *suffix)
