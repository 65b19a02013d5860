"""Answers about contexts: all questions of all cameras in one pass, and decoding side by side."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from model.engine.forks import Forks
from model.engine.kv_cache import PagePool
from model.engine.readers import Choice, Count, FreeText, Reader, YesNo, digit_ids, read, yes_no_ids
from model.engine.rolling_context import Context
from model.errors import InputError
from model.family import Network, Tokenizer
from model.types import Answer, Question
from model.videollama3.prompt import question_suffix, wording


class Respondent:
    """Answers questions of every kind about contexts, and leaves the contexts as they were."""

    def __init__(
        self,
        model: Network,
        tokenizer: Tokenizer,
        *,
        max_caption_tokens: int,
        max_answer_tokens: int,
    ) -> None:
        """Look up the tokens that answers are read off.

        Raises:
            CheckpointError: yes and no, or the ten digits, do not begin with tokens of their own.
        """
        self._model = model
        self._tokenizer = tokenizer
        self._max_caption_tokens = max_caption_tokens
        self._max_answer_tokens = max_answer_tokens
        self._end_ids = frozenset({*tokenizer.end_ids, *model.config.eos_token_ids})
        self._yes_ids, self._no_ids = yes_no_ids(tokenizer)
        digits = digit_ids(tokenizer)
        # The end comes last, so that an index below ten is the digit itself.
        self._count_ids = [*digits, tokenizer.im_end_id]

    def check(self, question: Question) -> None:
        """Refuse a question that cannot be put to the model.

        Raises:
            InputError: it has no words, holds a control token, or its options are no choice.
        """
        texts = (question.text, *question.options)
        for word in self._tokenizer.control_words:
            if any(word in text for text in texts):
                raise InputError(f"question: expected plain text, got the control token {word}")
        if question.kind != "caption" and not question.text.strip():
            raise InputError(f"{question.kind} question: expected a text, got none")
        if question.kind == "choice":
            distinct = {option.strip() for option in question.options}
            if len(distinct) < max(2, len(question.options)) or "" in distinct:
                raise InputError(
                    f"options: expected two or more, distinct and not blank; got {question.options}"
                )
        elif question.options:
            raise InputError(
                f"{question.kind} question: expected no options, got {question.options}"
            )

    @torch.inference_mode()
    def answer(self, pool: PagePool, asks: Sequence[tuple[Question, Context]]) -> list[Answer]:
        """Put questions after their contexts' last frames and read the answers.

        Neither the order of the questions nor their company changes an answer.

        Args:
            pool: where the contexts lie.
            asks: each question with the context it is about; a context may have several.

        Returns:
            One answer for each, in order.

        Raises:
            InputError: a question cannot be put, or no position is left for it; none is answered.
        """
        for question, _ in asks:
            self.check(question)
        readers = [self._reader(question) for question, _ in asks]
        if not readers:
            return []
        branches = [
            (context.sequence, branch)
            for reader, (_, context) in zip(readers, asks, strict=True)
            for branch in reader.branches
        ]
        forks = Forks(self._model, pool, branches)
        logits = forks.prefill()
        found = iter(
            read(torch.cat(logits), [one for reader in readers for one in reader.readings])
        )
        going: dict[int, tuple[Reader, int]] = {}  # by branch: its reader and its next token
        start = 0
        for reader in readers:
            token = reader.begin([next(found) for _ in reader.readings])
            if token is not None:
                going[start] = (reader, token)
            start += len(reader.branches)
        while going:
            follows = forks.step({branch: token for branch, (_, token) in going.items()})
            found_of = _read_on({branch: reader for branch, (reader, _) in going.items()}, follows)
            told = {
                branch: (reader, reader.go_on(found_of[branch]))
                for branch, (reader, _) in going.items()
            }
            going = {
                branch: (reader, token)
                for branch, (reader, token) in told.items()
                if token is not None
            }
        return [reader.answer() for reader in readers]

    def _reader(self, question: Question) -> Reader:
        suffix = self._tokenizer.encode(question_suffix(wording(question)))
        match question.kind:
            case "yes_no":
                return YesNo(suffix, yes_ids=self._yes_ids, no_ids=self._no_ids)
            case "choice":
                return Choice(
                    suffix,
                    question.options,
                    ids=[self._tokenizer.encode(option) for option in question.options],
                    end_id=self._tokenizer.im_end_id,
                )
            case "count":
                return Count(suffix, count_ids=self._count_ids)
            case "caption" | "text":
                is_caption = question.kind == "caption"
                return FreeText(
                    question.kind,
                    suffix,
                    max_new_tokens=(
                        self._max_caption_tokens if is_caption else self._max_answer_tokens
                    ),
                    end_ids=self._end_ids,
                    tokenizer=self._tokenizer,
                )


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
