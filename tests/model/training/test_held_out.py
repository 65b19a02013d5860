import pytest
import torch

from model.training.held_out import measured
from model.training.loss import answer_rows, loss_of
from model.training.packing import pack
from model.training.sample import Exchange, Sample
from tests.model.training.clips import clip, network, tokenizer


def asked(*turns: tuple[tuple[str, str], ...]) -> Sample:
    return Sample("video", clip(2), tuple(Exchange(2, each) for each in turns))


def test_answers_are_counted_one_by_one_over_all_batches() -> None:
    """Nano says yes or no to what it is asked, so of a yes and a no just one is right."""
    question = "Is a person in view?\nAnswer yes or no."
    both = asked(((question, "yes"),), ((question, "no"),))
    twice = asked(((question, "yes"), (question, "yes")))
    model = network()
    batches = [pack([one], tokenizer(), max_tokens=4096) for one in (both, twice)]
    alone = measured(model, batches[:1])
    assert alone["right"] == 0.5
    together = measured(model, batches)
    assert together["right"] in (0.25, 0.5, 0.75)  # of four answers
    with torch.no_grad():
        expected = float(loss_of(model, *answer_rows(model, batches[0])))
    assert alone["loss"] == pytest.approx(expected, rel=1e-4)
