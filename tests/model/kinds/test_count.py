import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import CheckpointError, InputError
from model.kinds import kind_of
from model.kinds.base import Doubt, Forms, Limits, Reader, Scored
from model.kinds.count import Count, digit_ids
from model.kinds.number_words import number_words
from model.types import Answer, Question
from tests.model.nano_model import nano_tokenizer
from tests.model.qwen import qwen_tokenizer

LIMITS = Limits(max_caption_tokens=8, max_answer_tokens=8, end_ids=frozenset())
QUESTION = Question("count", "How many?")
NEW_READER = Count().readers(nano_tokenizer(), limits=LIMITS, forms=Forms())
NUM_READ = len(NEW_READER(QUESTION, [1]).readings[0].ids)

log_shares = st.floats(-30.0, 0.0)


def rows(width: int) -> st.SearchStrategy[list[float]]:
    """Log-probabilities of a few tokens, together one at most."""
    return st.lists(log_shares, min_size=width, max_size=width).map(
        lambda row: [one - math.log(max(1.0, sum(map(math.exp, row)))) for one in row]
    )


def answer_of(first: list[float], after: list[list[float]], behind: list[float]) -> Answer:
    """Read numbers off probabilities; `behind` is what follows the likeliest two digits."""
    reader: Reader = NEW_READER(QUESTION, [1])
    told = reader.begin([first, *after])
    if isinstance(told, int) or told is None:
        return reader.answer()
    if len(told.readings[0].ids) != 10:  # behind a word: what makes it larger
        told.begin([behind[:1] * len(told.readings[0].ids)])
        return told.answer()
    token = told.begin([behind])
    while isinstance(token, int):
        token = told.go_on(behind)
    return told.answer()


answers = st.builds(answer_of, rows(NUM_READ), st.lists(rows(10), min_size=9, max_size=9), rows(10))


@given(answers)
def test_the_probability_of_at_least_so_many_falls_with_their_number(answer: Answer) -> None:
    at_least = [Count().event_p(answer, number) for number in range(1200)]
    assert at_least[0] == 1.0
    assert all(p is not None and 0.0 <= p <= 1.0 for p in at_least)
    assert all(one >= other for one, other in pairwise(p or 0.0 for p in at_least))


@given(answers)
def test_shares_are_of_one_whole_and_the_likeliest_is_the_answer(answer: Answer) -> None:
    assert len(answer.shares) == 100
    assert sum(answer.shares) <= 1.0 + 1e-9
    assert answer.mass is not None
    assert 0.0 <= answer.mass <= 1.0
    value = int(answer.value)
    if value < 100:
        assert answer.p == answer.shares[value] == max(answer.shares)
    else:
        assert 1.0 - sum(answer.shares) > max(answer.shares)


def test_an_uncertain_large_count_ends_no_event_at_one() -> None:
    shares = [0.02, 0.0, 0.325, 0.355, 0.3]
    answer = Answer("count", 3, 0.355, 0, 0.9, (*shares, *[0.0] * 95))
    assert Count().event_p(answer, 1) == pytest.approx(0.98)
    assert Count().event_p(answer, 4) == pytest.approx(0.3)
    assert Count().event_p(Answer("count", 3, 0.355, 0), 1) == pytest.approx(0.645)


def test_above_99_an_answer_without_company_counts_for_all_that_it_might_be() -> None:
    answer = Answer("count", 150, 0.6, 2, 0.9, (0.1, *[0.0] * 99))
    assert [Count().event_p(answer, n) for n in (1, 100, 150)] == [pytest.approx(0.9)] * 3
    assert Count().event_p(answer, 151) == pytest.approx(0.3)


def test_numbers_of_no_probability_are_no_answer() -> None:
    nothing = [-2000.0] * 10
    answer = answer_of([-2000.0] * NUM_READ, [nothing] * 9, nothing)
    assert answer.mass == 0.0
    assert kind_of("count").published(answer, Doubt()).reason == "no_answer"


def test_a_word_that_always_goes_on_is_no_answer() -> None:
    reader = Count().readers(qwen_tokenizer(), limits=LIMITS, forms=Forms())(QUESTION, [1])
    first = [-2000.0] * len(reader.readings[0].ids)
    first[reader.readings[0].ids.index(qwen_tokenizer().encode("six")[0])] = 0.0
    behind = reader.begin([first, *[[-2000.0] * 10] * 9])
    assert isinstance(behind, Scored)
    assert behind.branches[0].ids == (1, qwen_tokenizer().encode("six")[0])
    behind.begin([[0.0, *[-2000.0] * (len(behind.readings[0].ids) - 1)]])
    answer = behind.answer()
    assert (answer.p, answer.mass) == (0.0, 0.0)


def test_number_words_do_not_begin_larger_numbers_unseen() -> None:
    tokenizer = qwen_tokenizer()
    words = number_words(tokenizer)

    def told(word: str) -> int | None:
        return words.numbers.get(tokenizer.encode(word)[0])

    assert [told(w) for w in ("two", "Two", " two", "None", "两", "둘", "三つ")] == [
        *(2, 2, 2, 0, 2, 2, 3)
    ]
    assert [told(w) for w in ("twelve", "twenty", "several", "여섯", "네 명", "十二")] == [None] * 6
    assert tokenizer.encode("sixteen")[1] in words.larger[tokenizer.encode("six")[0]]
    assert tokenizer.encode("二十三")[1] in words.larger[tokenizer.encode("二")[0]]


def test_digits_of_several_tokens_are_refused() -> None:
    class Paired:
        im_end_id = 0

        def encode(self, text: str) -> list[int]:
            return [1, *map(ord, text)]

        def decode(self, ids: object) -> str:  # noqa: ARG002, what a vocabulary has
            return ""

    with pytest.raises(CheckpointError, match="a token for each digit"):
        digit_ids(Paired())


@pytest.mark.parametrize("event_on", ["many", "0", "00", "-1", "9" * 5000])
def test_an_event_is_about_a_number_that_may_be_reached_or_not(event_on: str) -> None:
    kind = kind_of("count")
    assert kind.target("3", ()) == 3
    with pytest.raises(InputError, match="event_on: expected a number from 1"):
        kind.target(event_on, ())
