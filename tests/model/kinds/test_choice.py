from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import CheckpointError, InputError
from model.kinds import kind_of, wording
from model.kinds.base import Limits
from model.kinds.choice import LETTERS, Choice, Option, letter_ids
from model.types import Answer, Question
from model.videollama3.prompt import NANO_1, VIDEOLLAMA3
from tests.model.nano_model import nano_tokenizer
from tests.model.qwen import qwen_tokenizer

LIMITS = Limits(max_caption_tokens=8, max_answer_tokens=8, end_ids=frozenset())
WORDS = tuple(f"option {letter}" for letter in LETTERS)
NEW_READER = Choice().readers(qwen_tokenizer(), limits=LIMITS, forms=VIDEOLLAMA3.forms)


def answer_of(options: Sequence[str], log_shares: Sequence[float]) -> Answer:
    """Read an answer off the log-probabilities of the letters' spellings, letter after letter."""
    reader = NEW_READER(Question("choice", "Which?", tuple(options)), [1])
    assert len(reader.readings[0].ids) == len(log_shares)
    assert reader.begin([log_shares]) is None
    return reader.answer()


def test_options_are_lettered_as_in_the_authors_evaluation() -> None:
    gate = Question("choice", "How is the gate?", ("open", "half open", "closed"))
    assert wording(gate, VIDEOLLAMA3.forms) == (
        "Question: How is the gate?\nOptions:\n(A) open\n(B) half open\n(C) closed\n"
        "Answer with the option's letter from the given choices directly and only give the best "
        "option."
    )
    assert wording(gate, NANO_1.forms) == (
        "How is the gate?\nOptions:\nopen\nhalf open\nclosed\nAnswer with one of the options."
    )


def test_every_spelling_of_a_letter_is_one_token_of_qwens() -> None:
    tokenizer = qwen_tokenizer()
    spelled = [[tokenizer.decode([token]) for token in own] for own in letter_ids(tokenizer)]
    assert spelled[1] == ["B", " B", "(B", "b", "(b"]
    assert len(spelled) == 26
    assert len({token for own in letter_ids(tokenizer) for token in own}) == 26 * 5


@given(st.integers(2, 26))
def test_no_option_is_preferred_where_nothing_is_known(num_options: int) -> None:
    answer = answer_of(WORDS[:num_options], [-12.0] * 5 * num_options)
    assert answer.shares == pytest.approx([1 / num_options] * num_options)


@given(
    st.permutations(range(5)),
    st.lists(st.floats(-20.0, -2.0), min_size=25, max_size=25),
)
def test_letters_permuted_with_their_options_permute_the_shares(
    order: list[int], log_shares: list[float]
) -> None:
    options = WORDS[:5]
    by_option = [log_shares[5 * n : 5 * n + 5] for n in range(5)]
    answer = answer_of(options, log_shares)
    permuted = answer_of([options[n] for n in order], [one for n in order for one in by_option[n]])
    assert permuted.shares == pytest.approx([answer.shares[n] for n in order])
    assert permuted.mass == pytest.approx(answer.mass)
    best = max(answer.shares)
    if sum(share > best - 1e-9 for share in answer.shares) == 1:
        assert permuted.value == answer.value


def test_the_event_has_the_share_of_its_option() -> None:
    options = ("open", "half open", "closed")
    answer = Answer("choice", "open", 0.5, 0, 0.9, (0.5, 0.3, 0.2))
    target = Choice().target("closed", options)
    assert isinstance(target, Option)
    assert (target, target.place) == ("closed", 2)
    assert Choice().event_p(answer, target) == 0.2
    assert Choice().event_p(Answer("choice", "open", 0.9, 0), target) == pytest.approx(0.1)
    assert Choice().target("", options) is None
    with pytest.raises(InputError, match="one of the options"):
        Choice().target("ajar", options)


def test_more_options_than_letters_are_refused() -> None:
    kind_of("choice").check(Question("choice", "Which?", WORDS))
    with pytest.raises(InputError, match=r"options: expected at most 26 .* got 27"):
        kind_of("choice").check(Question("choice", "Which?", (*WORDS, "one more")))


def test_a_letter_is_taught_where_letters_are_asked_for() -> None:
    gate = Question("choice", "How is the gate?", ("open", "closed"))
    assert Choice().taught(gate, "closed", VIDEOLLAMA3.forms) == "B"
    assert Choice().taught(gate, "closed", NANO_1.forms) == "closed"


def test_spellings_that_are_no_tokens_of_their_own_are_left_out() -> None:
    tokenizer = nano_tokenizer()
    spelled = [[tokenizer.decode([token]) for token in own] for own in letter_ids(tokenizer)]
    assert all(own[0] == letter for own, letter in zip(spelled, LETTERS, strict=True))

    class Spelled:
        im_end_id = 0

        def encode(self, text: str) -> list[int]:
            return [1, *map(ord, text)]

        def decode(self, ids: object) -> str:  # noqa: ARG002, what a vocabulary has
            return ""

    with pytest.raises(CheckpointError, match="a token for each letter"):
        letter_ids(Spelled())
