"""A model that wants to say certain texts, and a respondent that reads its answer."""

from collections.abc import Mapping, Sequence
from typing import cast

import pytest
import torch
from torch import Tensor

import model.engine.answers
from model.engine.answers import Respondent
from model.engine.kv_cache import PagePool
from model.engine.readers import read
from model.engine.rolling_context import Context
from model.engine.sentences import Sentence
from model.family import Family, Prompt
from model.kinds import kind_of
from model.kinds.base import Branch, Doubt, Published, Reading
from model.types import Answer, Question
from model.videollama3.family import family_of
from model.videollama3.network import VideoLlama3
from model.videollama3.tokenizer import Tokenizer

FAINT = 1e-12
"""What all tokens hold together that nobody wants to say."""


class Wishes:
    """What a model would say, and how probably; the rest of the probability is no word's."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, texts: Mapping[str, float]) -> None:
        self.vocab_size = vocab_size
        self._wishes = [(tokenizer.encode(f"{t}<|im_end|>"), p) for t, p in texts.items()]
        self._else = tokenizer.encode("<|endoftext|>")[0]

    def logits_after(self, said: Sequence[int]) -> Tensor:
        """(V,) of what follows what was said, what was not wished for being as good as ruled out"""
        shares = torch.full((self.vocab_size,), FAINT / self.vocab_size)
        if said:
            begun = [(ids, p) for ids, p in self._wishes if ids[: len(said)] == list(said)]
            total = sum(p for _, p in begun)
        else:
            begun, total = self._wishes, 1.0
        for ids, p in begun:
            if len(ids) > len(said):
                shares[ids[len(said)]] += p / total
        shares[self._else] += max(0.0, 1.0 - float(shares.sum()))
        return shares.log() + 3.0  # logits are shares up to a constant


class _Branches:
    """In place of `Forks`: what a model with wishes says after each branch."""

    def __init__(self, wishes: Wishes, branches: Sequence[Branch], *, num_asked: int) -> None:
        self._wishes = wishes
        self._branches = branches
        self._said = [list(branch.ids[num_asked:]) for branch in branches]
        self._num_asked = num_asked

    def prefill(self) -> list[Tensor]:
        found = []
        for branch, said in zip(self._branches, self._said, strict=True):
            cut = range(len(branch.ids) - branch.num_scored + 1, len(branch.ids) + 1)
            rows = [branch.ids[self._num_asked : end] for end in cut]
            rows += [(*said, child) for child in branch.children]
            found.append(torch.stack([self._wishes.logits_after(row) for row in rows]))
        return found

    def beginning(self, n: int) -> list[int]:
        return self._said[n]


def family_without_weights(tokenizer: Tokenizer, prompt: Prompt) -> Family:
    """A family of which a respondent needs the words alone."""

    class Config:
        eos_token_ids = (tokenizer.im_end_id,)

    class Network:
        config = Config()

    return family_of(cast("VideoLlama3", Network()), tokenizer, prompt=prompt)


def answer_of(
    monkeypatch: pytest.MonkeyPatch, respondent: Respondent, question: Question, wishes: Wishes
) -> Answer:
    """What the respondent makes of a model with wishes."""
    family = respondent._family
    words = kind_of(question.kind).wording(question, family.prompt.forms)
    num_asked = len(family.tokenizer.encode(family.prompt.question_suffix(words)))

    def forks(
        _network: object, _pool: object, branches: Sequence[tuple[object, Branch]], **_: object
    ) -> object:
        return _Branches(wishes, [branch for _, branch in branches], num_asked=num_asked)

    class Shown:
        sequence = None
        held_ids = ()

    with monkeypatch.context() as patch:
        patch.setattr(model.engine.answers, "Forks", forks)
        begun = respondent.begin(cast("PagePool", None), [(question, cast("Context", Shown()))])
    for sentence in begun.sentences.values():
        say_to_the_end(sentence, wishes)
    return begun.readers[0].answer()


def say_to_the_end(sentence: Sentence, wishes: Wishes) -> None:
    said = cast("list[int]", sentence.begun)
    token: int | None = sentence.token
    while token is not None:
        said.append(token)
        reading = sentence.reader.next_reading or Reading()
        [found] = read(wishes.logits_after(said)[None], [reading])
        token = sentence.reader.go_on(found)


def published(answer: Answer) -> Published:
    return kind_of(answer.kind).published(answer, Doubt())
