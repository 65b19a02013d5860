"""Answers about contexts: all questions of all cameras in one pass, and decoding side by side."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from model.engine.forks import Forks
from model.engine.kv_cache import KVSequence, PagePool
from model.engine.now import Now
from model.engine.readers import read
from model.engine.rolling_context import Context
from model.errors import InputError
from model.family import Family
from model.kinds import KINDS, kind_of, wording
from model.kinds.base import Branch, Limits, Reader
from model.types import Answer, Question


class Respondent:
    """Answers questions of every kind about contexts, and leaves the contexts as they were."""

    def __init__(self, family: Family, *, max_caption_tokens: int, max_answer_tokens: int) -> None:
        """Look up the tokens that answers are read off.

        Raises:
            CheckpointError: a kind's answers do not begin with tokens of their own.
        """
        self._family = family
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

    @torch.inference_mode()
    def answer(
        self,
        pool: PagePool,
        asks: Sequence[tuple[Question, Context]],
        *,
        nows: Mapping[KVSequence, Now] | None = None,
    ) -> list[Answer]:
        """Put questions after their contexts' last frames and read the answers.

        Neither the order of the questions nor their company changes an answer.

        Args:
            pool: where the contexts lie.
            asks: each question with the context it is about; a context may have several.
            nows: by context, what its questions begin with, where that is anything.

        Returns:
            One answer for each, in order.

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
    ) -> list[Answer]:
        """Let readers find their answers, in one pass; those that ask for another have one more."""
        if not put:
            return []
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
        going: dict[int, tuple[Reader, int]] = {}  # by branch: its reader and its next token
        in_place: dict[int, Reader] = {}  # by the reader's number: who answers for it
        start = 0
        for number, reader in enumerate(readers):
            told = reader.begin([next(found) for _ in reader.readings])
            if isinstance(told, int):
                going[start] = (reader, told)
            elif told is not None:
                in_place[number] = told
            start += len(reader.branches)
        _decode(forks, going)
        more = [(reader, put[number][1]) for number, reader in in_place.items()]
        again = self._read(pool, more, nows=nows)
        answered = dict(zip(in_place, again, strict=True))
        return [
            answered[number] if number in answered else reader.answer()
            for number, reader in enumerate(readers)
        ]

    def _reader(self, question: Question, now: Now | None) -> Reader:
        return self._new_reader[question.kind](question, self._put_ids(question, now))

    def _put_ids(self, question: Question, now: Now | None) -> tuple[int, ...]:
        """Give the ids of what is put after the context."""
        words = wording(question, self._family.prompt.forms)
        suffix = self._family.tokenizer.encode(self._family.prompt.question_suffix(words))
        return (*(now.ids if now else ()), *suffix)


def _decode(forks: Forks, going: dict[int, tuple[Reader, int]]) -> None:
    """Decode side by side, each branch as far as its reader goes on."""
    while going:
        follows = forks.step({branch: token for branch, (_, token) in going.items()})
        found_of = _read_on({branch: reader for branch, (reader, _) in going.items()}, follows)
        told = {
            branch: (reader, reader.go_on(found_of[branch]))
            for branch, (reader, _) in going.items()
        }
        going = {
            branch: (reader, token) for branch, (reader, token) in told.items() if token is not None
        }


def _read_on(
    readers: Mapping[int, Reader], follows: Mapping[int, tuple[int, Tensor]]
) -> dict[int, list[float]]:
    """Give each branch's reader what it goes on by, with one wait at most.

    Args:
        readers: by branch.
        follows: by branch the likeliest token and the (V,) logits of what follows.
    """
    found = {branch: [float(follows[branch][0])] for branch in readers}
    readings = {
        branch: reader.next_reading for branch, reader in readers.items() if reader.next_reading
    }
    if readings:
        rows = torch.stack([follows[branch][1] for branch in readings])
        found.update(zip(readings, read(rows, list(readings.values())), strict=True))
    return found
