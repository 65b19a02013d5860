"""A model that was never trained has no answer, whatever its few favourites among the words."""

import pytest
import torch

from model.engine.answers import Respondent
from model.engine.append import FrameFeatures, append
from model.engine.rolling_context import Context
from model.types import Question
from model.videollama3.family import family_of
from tests.model.growing import new_pool
from tests.model.kinds.saying import published
from tests.model.qwen import qwen_tokenizer, random_network

NUM_QUESTIONS = 1000
BATCH = 50
OPTIONS = ("open", "half open", "closed", "missing", "hidden")
THINGS = ("fire", "a person", "a car", "smoke", "a dog", "a bag", "a ladder", "a bicycle")


def question(number: int) -> Question:
    thing, place = THINGS[number % len(THINGS)], f"at gate {number}"
    match number % 3:
        case 0:
            return Question("yes_no", f"Is there {thing} {place}?")
        case 1:
            return Question("choice", f"How is the door {place}?", OPTIONS[: 2 + number % 4])
        case _:
            return Question("count", f"How many of {thing} are {place}?")


@pytest.mark.parametrize("spread", [0.02, 0.5], ids=["as before training", "sure of itself"])
def test_random_weights_answer_nothing_in_a_thousand_questions(spread: float) -> None:
    network = random_network(spread=spread)
    family = family_of(network, qwen_tokenizer())
    pool = new_pool(network)
    respondent = Respondent(family, max_caption_tokens=8, max_answer_tokens=8)
    generator = torch.Generator().manual_seed(1)
    contexts = []
    for number in range(4):
        context = Context(pool, family, start_pts_s=0.0)
        for second in range(number + 1):
            context.show(second, num_tokens=5, is_whole=False, pts_s=float(second))
        rows = [torch.randn(5, 64, generator=generator) * spread for _ in range(number + 1)]
        append(network, pool, [context], [FrameFeatures(None, one) for one in rows])
        contexts.append(context)
    asks = [(question(n), contexts[n % len(contexts)]) for n in range(NUM_QUESTIONS)]
    answers = [
        reader.answer()
        for start in range(0, NUM_QUESTIONS, BATCH)
        for reader in respondent.begin(pool, asks[start : start + BATCH]).readers
    ]
    assert len({answer.p for answer in answers}) > NUM_QUESTIONS / 2  # they are sure, and differ
    for answer in answers:
        read = published(answer)
        assert (read.answer, read.p, read.reason) == ("unknown", None, "no_answer")
