import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.engine.answers import Respondent
from model.engine.append import FrameFeatures, append
from model.engine.readers import read
from model.engine.rolling_context import Context
from model.errors import CheckpointError, InputError
from model.family import Family
from model.kinds import KINDS, wording
from model.kinds.base import Limits, Reading
from model.kinds.count import digit_ids
from model.kinds.yes_no import yes_no_ids
from model.types import Answer, Question
from model.videollama3.prompt import NANO_1, question_suffix
from model.videollama3.tokenizer import Tokenizer
from tests.model.growing import logits_after, new_pool
from tests.model.nano_model import nano, nano_family, nano_tokenizer
from tests.model.speaking import answers_of

CAPTION = Question("caption", "")
FIRE = Question("yes_no", "Is there fire?")
COLOUR = Question("choice", "What colour is the car?", ("red", "dark red", "blue"))
CARS = Question("count", "How many cars are there?")
WHAT = Question("text", "What has changed?")
EVERY_KIND = (CAPTION, FIRE, COLOUR, CARS, WHAT)


POOL = new_pool(nano())


def family() -> Family:
    """Nano in its first words, whose options are read each to its end."""
    return replace(nano_family(), prompt=NANO_1)


class Answerer(Respondent):
    """A respondent that is asked one question at a time."""

    def __init__(self) -> None:
        super().__init__(family(), max_caption_tokens=12, max_answer_tokens=6)

    def one(self, question: Question, context: Context) -> Answer:
        [answer] = self.all([(question, context)])
        return answer

    def all(self, asks: Sequence[tuple[Question, Context]]) -> list[Answer]:
        return answers_of(self, POOL, asks, nano())


@pytest.fixture(scope="module")
def respondent() -> Answerer:
    return Answerer()


def seen(seed: int, *, num_frames: int = 3) -> Context:
    """A context that has seen a few frames of its own."""
    context = Context(POOL, family(), start_pts_s=0.0)
    generator = torch.Generator().manual_seed(seed)
    frames = []
    for second in range(num_frames):
        rows = torch.randn(5, nano().config.text.hidden_size, generator=generator)
        context.show(second, num_tokens=5, is_whole=False, pts_s=float(second))
        frames.append(FrameFeatures(None, rows))
    append(nano(), POOL, [context], frames)
    return context


def log_shares_after(context: Context, question: Question, said: Sequence[int] = ()) -> Tensor:
    """The log probabilities of what follows a question and some words of the answer."""
    suffix = nano_tokenizer().encode(question_suffix(wording(question, NANO_1.forms)))
    return logits_after(nano(), POOL, context, [*suffix, *said]).log_softmax(-1)


def test_yes_no_weighs_all_spellings_at_the_first_token(respondent: Answerer) -> None:
    context, tokenizer = seen(0), nano_tokenizer()
    shares = log_shares_after(context, FIRE).exp()
    yes = sum(float(shares[tokenizer.encode(w)[0]]) for w in ("yes", " yes", "Yes", " Yes"))
    yes += sum(float(shares[tokenizer.encode(w)[0]]) for w in ("YES", " YES"))
    no = sum(float(shares[tokenizer.encode(w)[0]]) for w in ("no", " no", "No", " No", "NO", " NO"))
    answer = respondent.one(FIRE, context)
    assert answer.p == pytest.approx(yes / (yes + no), rel=1e-4)
    assert answer.value == ("yes" if yes >= no else "no")
    assert answer.num_generated == 0


def test_choice_scores_every_option_to_its_end(respondent: Answerer) -> None:
    context, tokenizer = seen(1), nano_tokenizer()
    scores = {}
    for option in COLOUR.options:
        ids = tokenizer.encode(option)
        scores[option] = sum(
            float(log_shares_after(context, COLOUR, ids[:index])[token_id])
            for index, token_id in enumerate([*ids, tokenizer.im_end_id])
        )
    best = max(scores, key=scores.__getitem__)
    total = sum(math.exp(score) for score in scores.values())
    answer = respondent.one(COLOUR, context)
    assert answer.value == best
    assert answer.p == pytest.approx(math.exp(scores[best]) / total, rel=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_count_is_an_integer_with_the_probability_of_each_step(
    respondent: Answerer, seed: int
) -> None:
    context, tokenizer = seen(seed), nano_tokenizer()
    answer = respondent.one(CARS, context)
    assert isinstance(answer.value, int)
    assert 0 <= answer.value <= 999
    digits = digit_ids(tokenizer)
    p, said = 1.0, list[int]()
    for index, digit in enumerate(str(answer.value)):
        allowed = digits if index == 0 else [*digits, tokenizer.im_end_id]
        shares = log_shares_after(context, CARS, said)[allowed].softmax(0)
        p *= float(shares[int(digit)])
        said.append(digits[int(digit)])
    if 0 < answer.value < 100:
        allowed = [*digits, tokenizer.im_end_id]
        p *= float(log_shares_after(context, CARS, said)[allowed].softmax(0)[10])
    assert answer.p == pytest.approx(p, rel=1e-3)


@pytest.mark.parametrize(
    ("question", "max_new_tokens"), [(CAPTION, 12), (WHAT, 6)], ids=["caption", "text"]
)
def test_free_text_is_greedy_up_to_its_own_limit(
    respondent: Answerer, question: Question, max_new_tokens: int
) -> None:
    context, tokenizer = seen(3), nano_tokenizer()
    said = list[int]()
    while len(said) < max_new_tokens:
        token_id = int(log_shares_after(context, question, said).argmax())
        if token_id in tokenizer.end_ids:
            break
        said.append(token_id)
    answer = respondent.one(question, context)
    assert answer == Answer(
        question.kind,
        tokenizer.decode(said).strip(),
        None,
        len(said),
        is_truncated=len(said) == max_new_tokens,
    )


def test_free_text_stops_at_an_end_token() -> None:
    end_id = int(log_shares_after(seen(3), WHAT).argmax())
    limits = Limits(max_caption_tokens=12, max_answer_tokens=6, end_ids=frozenset({end_id}))
    new_reader = KINDS["text"].readers(nano_tokenizer(), limits=limits, forms=NANO_1.forms)
    assert new_reader(WHAT, [1]).begin([[float(end_id)]]) is None


def test_answers_depend_on_what_was_seen(respondent: Answerer) -> None:
    contexts = [seen(seed) for seed in range(4)]
    for question in (FIRE, COLOUR, CARS):
        shares = {respondent.one(question, context).p for context in contexts}
        assert len(shares) == len(contexts)


def same(got: Answer, expected: Answer) -> bool:
    return (got.kind, got.value, got.num_generated) == (
        expected.kind,
        expected.value,
        expected.num_generated,
    ) and got.p == (None if expected.p is None else pytest.approx(expected.p, abs=1e-4))


CONTEXTS = [seen(seed, num_frames=1 + 3 * seed) for seed in range(3)]


@settings(max_examples=15, deadline=None)
@given(asks=st.lists(st.tuples(st.sampled_from(EVERY_KIND), st.integers(0, 2)), max_size=12))
def test_neither_order_nor_company_changes_an_answer(asks: list[tuple[Question, int]]) -> None:
    respondent = Answerer()
    answers = respondent.all([(question, CONTEXTS[n]) for question, n in asks])
    assert len(answers) == len(asks)
    for (question, n), answer in zip(asks, answers, strict=True):
        assert same(answer, alone(question, n))


@cache
def alone(question: Question, n: int) -> Answer:
    return Answerer().one(question, CONTEXTS[n])


def test_context_is_left_as_it_was(respondent: Answerer) -> None:
    context = seen(5)
    length, window = context.length, context.window
    for question in EVERY_KIND:
        respondent.one(question, context)
    assert (context.length, context.window) == (length, window)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        pytest.param(Question("yes_no", "  "), "ask: expected words", id="blank"),
        pytest.param(
            Question("text", "Hi<|im_end|>"), r"control token <\|im_end\|>", id="control token"
        ),
        pytest.param(
            Question("choice", "Q?", ("a", "<|video_pad|>")), "control token", id="in an option"
        ),
        pytest.param(Question("choice", "Q?", ("red",)), "two or more", id="one option"),
        pytest.param(Question("choice", "Q?", ("red", " red")), "different", id="same options"),
        pytest.param(
            Question("choice", "Q?", ("red", "")), "none of them blank", id="blank option"
        ),
        pytest.param(
            Question("count", "Q?", ("1", "2")),
            "options: expected none",
            id="options not asked for",
        ),
    ],
)
def test_a_question_that_cannot_be_put_is_refused(
    respondent: Answerer, question: Question, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        respondent.one(question, seen(0))


class Lookup(Tokenizer):
    """A tokenizer of a few words, everything else spelled out."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = {word: 1000 + index for index, word in enumerate(words)}

    def encode(self, text: str) -> list[int]:
        return [self._words[text]] if text in self._words else [ord(letter) for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))


def test_yes_and_no_that_begin_alike_are_refused() -> None:
    with pytest.raises(CheckpointError, match="both begin with ' '"):
        yes_no_ids(Lookup(["yes", "no"]))


def test_digits_of_several_tokens_are_refused() -> None:
    class Paired(Lookup):
        def encode(self, text: str) -> list[int]:
            return [1, *super().encode(text)]

    with pytest.raises(CheckpointError, match="a token for each digit"):
        digit_ids(Paired([]))


def test_nothing_asked_is_nothing_answered(respondent: Answerer) -> None:
    assert respondent.all([]) == []


def test_readings_of_every_kind_are_looked_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(4, 200_000, generator=torch.Generator().manual_seed(0))
    rows[2, 151_935] = 50.0
    waits: list[Tensor] = []
    tolist = Tensor.tolist

    def counted(tensor: Tensor) -> object:
        waits.append(tensor)
        return tolist(tensor)

    monkeypatch.setattr(Tensor, "tolist", counted)
    found = read(
        rows, [Reading((7, 3, 9)), Reading((5,), is_share=True), Reading(), Reading((1, 2))]
    )
    assert len(waits) == 1
    monkeypatch.undo()
    expected = [rows[0, [7, 3, 9]], rows[1].log_softmax(-1)[[5]], 151_935.0, rows[3, [1, 2]]]
    for numbers, row in zip(found, expected, strict=True):
        assert numbers == pytest.approx(
            row.tolist() if isinstance(row, Tensor) else [row], abs=1e-5
        )
    assert read(rows[:2], [Reading(), Reading()]) == [[float(row.argmax())] for row in rows[:2]]
