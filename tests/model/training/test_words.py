from pathlib import Path

import numpy as np
import pytest
import torch

from model.errors import InputError
from model.training.memo import ClipMemo
from model.training.pretrain import UNSURE, Namer
from model.training.rendered import Rendered
from model.training.words import WORDS, Speaker, true_words
from tests.model.training.clips import small, tokenizer
from worker.commands.train import prune


@pytest.fixture
def rendered(tmp_path: Path) -> Rendered:
    return Rendered(mix={"video": 1.0}, seed=0, prune=prune, memo=ClipMemo(tmp_path), num_scenes=2)


def test_the_words_are_those_of_the_labels(rendered: Rendered) -> None:
    labels = rendered.labelled(0).labels
    truth, weight = true_words(labels)
    assert truth.shape == weight.shape == (len(labels["kind"]), len(WORDS))
    opened, closed = WORDS.index("open"), WORDS.index("closed")
    sure = labels["gate"] != UNSURE
    assert np.array_equal(truth[sure, opened] + truth[sure, closed], np.ones(int(sure.sum())))
    assert not weight[~sure, opened].any()
    person = WORDS.index("person")
    assert np.array_equal(truth[:, person] > 0, labels["kind"] == 1)


def test_a_few_steps_bring_tokens_closer_to_their_words(rendered: Rendered) -> None:
    speaker = Speaker(small(), tokenizer())
    clips = [rendered.labelled(index) for index in range(2)]
    optimizer = torch.optim.AdamW(speaker.parameters(), lr=2e-3)
    losses = []
    for _ in range(6):
        loss = speaker.loss(clips)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


def test_a_few_steps_teach_an_encoder_to_name(rendered: Rendered) -> None:
    namer = Namer(small())
    clips = [rendered.labelled(index) for index in range(2)]
    optimizer = torch.optim.AdamW(namer.parameters(), lr=2e-3)
    first = float(namer.loss(clips).detach())
    for _ in range(5):
        optimizer.zero_grad()
        torch.autograd.backward(namer.loss(clips))
        optimizer.step()
    assert float(namer.loss(clips).detach()) < 0.9 * first


def test_a_vocabulary_without_the_words_is_refused() -> None:
    class Letters:
        def encode(self, text: str) -> list[int]:
            return [ord(letter) for letter in text]

    with pytest.raises(InputError, match="expected 'person' as one token, got 7"):
        Speaker(small(), Letters())  # type: ignore[arg-type]
