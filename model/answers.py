"""Answers read off a context: weighed, scored or decoded, never searched for in free text."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from model.context import Context, Fork
from model.errors import CheckpointError, InputError
from model.network import VideoLlama3
from model.prompt import question_suffix, wording
from model.tokenizer import Tokenizer
from model.types import Answer, Question

YES_SPELLINGS = ("yes", "Yes", "YES", " yes", " Yes", " YES")
NO_SPELLINGS = ("no", "No", "NO", " no", " No", " NO")
MAX_COUNT_DIGITS = 3
MAX_LOOP_PERIOD = 16
MIN_LOOP_TURNS = 3
MIN_LOOP_TOKENS = 8


class Respondent:
    """Answers every kind of question about a context, and leaves the context as it was."""

    def __init__(
        self,
        model: VideoLlama3,
        tokenizer: Tokenizer,
        *,
        max_caption_tokens: int,
        max_answer_tokens: int,
    ) -> None:
        """Look up the tokens that answers are read off.

        Raises:
            CheckpointError: yes and no, or the ten digits, do not begin with tokens of their own.
        """
        self._tokenizer = tokenizer
        self._max_caption_tokens = max_caption_tokens
        self._max_answer_tokens = max_answer_tokens
        self._end_ids = frozenset({*tokenizer.end_ids, *model.config.eos_token_ids})
        yes, no = yes_no_ids(tokenizer)
        digits = digit_ids(tokenizer)
        self._yes_ids = torch.tensor(yes, device=model.device)
        self._no_ids = torch.tensor(no, device=model.device)
        # The end comes last, so that an index below ten is the digit itself.
        self._count_ids = torch.tensor([*digits, tokenizer.im_end_id], device=model.device)

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
    def answer(self, question: Question, context: Context) -> Answer:
        """Put a question after the context's last frame and read the answer.

        Raises:
            InputError: the question cannot be put to the model, or no position is left for it.
        """
        self.check(question)
        suffix = self._tokenizer.encode(question_suffix(wording(question)))
        with context.fork() as fork:
            logits = fork.extend(suffix)
            match question.kind:
                case "yes_no":
                    return self._yes_no(logits)
                case "choice":
                    return self._choice(question.options, fork, logits)
                case "count":
                    return self._count(fork, logits)
                case "caption" | "text":
                    return self._free(question, fork, logits)

    def _yes_no(self, logits: Tensor) -> Answer:
        """Weigh every spelling of yes against every spelling of no; no other word counts."""
        odds = logits[self._yes_ids].logsumexp(0) - logits[self._no_ids].logsumexp(0)
        p = float(odds.sigmoid())
        return Answer("yes_no", "yes" if p >= 0.5 else "no", p, num_generated=0)

    def _choice(self, options: Sequence[str], fork: Fork, logits: Tensor) -> Answer:
        """Score each option to its end, so that none wins by being another's beginning."""
        scores = []
        for option in options:
            ids = self._tokenizer.encode(option)
            with fork.branch():
                rows = torch.cat([logits[None], fork.score(ids)]).log_softmax(-1)  # (L + 1, V)
            targets = torch.tensor([*ids, self._tokenizer.im_end_id], device=rows.device)
            scores.append(rows.gather(1, targets[:, None]).sum())
        shares = torch.stack(scores).softmax(0)
        best = int(shares.argmax())
        return Answer("choice", options[best], float(shares[best]), num_generated=0)

    def _count(self, fork: Fork, logits: Tensor) -> Answer:
        """Decode a number; p is its digits' and its end's, each among what might stand there.

        A digit comes first, then digits or the end. A leading zero and a third digit are the end.
        """
        text, p, num_allowed = "", 1.0, 10
        while True:
            shares = logits[self._count_ids[:num_allowed]].softmax(0)
            best = int(shares.argmax())
            p *= float(shares[best])
            if best == 10:
                break
            text += str(best)
            if text == "0" or len(text) == MAX_COUNT_DIGITS:
                break
            num_allowed = 11
            logits = fork.extend([int(self._count_ids[best])])
        return Answer("count", text, p, num_generated=len(text))

    def _free(self, question: Question, fork: Fork, logits: Tensor) -> Answer:
        """Decode greedily up to the end, the limit or a loop."""
        is_caption = question.kind == "caption"
        max_new_tokens = self._max_caption_tokens if is_caption else self._max_answer_tokens
        ids: list[int] = []
        num_repeated = 0
        while len(ids) < max_new_tokens and not num_repeated:
            if ids:
                logits = fork.extend(ids[-1:])
            token_id = int(logits.argmax())  # waits for the device, once a token
            if token_id in self._end_ids:
                break
            ids.append(token_id)
            num_repeated = looped_tail(ids)
        text = self._tokenizer.decode(ids[: len(ids) - num_repeated]).strip()
        return Answer(question.kind, text, None, num_generated=len(ids))


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


def yes_no_ids(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Give the tokens that an answer of yes, and one of no, can begin with.

    Raises:
        CheckpointError: a token begins both.
    """
    yes = {tokenizer.encode(spelling)[0] for spelling in YES_SPELLINGS}
    no = {tokenizer.encode(spelling)[0] for spelling in NO_SPELLINGS}
    if shared := yes & no:
        raise CheckpointError(
            "tokenizer: expected yes and no to begin with different tokens; "
            f"both begin with {tokenizer.decode(sorted(shared))!r}"
        )
    return sorted(yes), sorted(no)


def digit_ids(tokenizer: Tokenizer) -> list[int]:
    """Give the ten digits' tokens in order.

    Raises:
        CheckpointError: a digit is not a token of its own.
    """
    encoded = [tokenizer.encode(str(digit)) for digit in range(10)]
    if any(len(ids) != 1 for ids in encoded):
        raise CheckpointError(f"tokenizer: expected a token for each digit, got {encoded}")
    return [ids[0] for ids in encoded]
