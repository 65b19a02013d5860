from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.kinds.loops import LONG_PERIOD, Loop, looped_tail
from model.kinds.text import TextReader
from model.types import Answer
from model.videollama3.family import family_of
from model.videollama3.network import VideoLlama3
from tests.model.nano_model import nano, nano_tokenizer

SENTENCE = list(range(300, 319))  # of 19 tokens
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def told(
    ids: Sequence[int], *, limit: int = 10_000, end_ids: frozenset[int] = frozenset()
) -> Answer:
    """Answer with these tokens, one after the other, until the reader wants no more."""
    reader = TextReader(
        "text", [1], max_new_tokens=limit, end_ids=end_ids, vocabulary=nano_tokenizer()
    )
    token = reader.begin([[float(ids[0])]])
    for following in ids[1:]:
        if token is None:
            break
        token = reader.go_on([float(following)])
    return reader.answer()


def encoded(text: str) -> list[int]:
    return nano_tokenizer().encode(text)


@pytest.mark.parametrize(
    ("ids", "num_repeated"),
    [
        pytest.param([], 0, id="nothing said"),
        pytest.param([5, 1, 0, 0, 0], 0, id="a number's zeros are no loop"),
        pytest.param([1, 2, 3, 1, 2, 3], 0, id="twice is no loop"),
        pytest.param([9, 1, 2, 3, 1, 2, 3, 1, 2, 3], 6, id="three turns of three"),
        pytest.param([9, *[7] * 8], 7, id="eight times one token"),
        pytest.param([*[4, 5] * 4], 6, id="four turns of two"),
        pytest.param([1, 2, 3, 1, 2, 3, 1, 2, 3, 4], 0, id="moved on"),
        pytest.param([9, *SENTENCE, *SENTENCE], 19, id="a sentence said twice"),
        pytest.param([*SENTENCE[:15] * 2], 0, id="half a sentence said twice"),
        pytest.param([*SENTENCE, 8, *SENTENCE], 0, id="a sentence that came before"),
        pytest.param([*SENTENCE, *SENTENCE[:-1], 8], 0, id="a sentence that ends otherwise"),
    ],
)
def test_loops_are_told_from_what_only_sounds_alike(ids: list[int], num_repeated: int) -> None:
    assert looped_tail(ids) == num_repeated


@given(
    head=st.lists(st.integers(100, 200), max_size=10, unique=True),  # no loop by itself
    turn=st.lists(st.integers(0, 99), min_size=3, max_size=60, unique=True),
)
def test_a_loop_is_cut_to_one_turn_as_soon_as_it_is_one(head: list[int], turn: list[int]) -> None:
    turns = 2 if len(turn) >= LONG_PERIOD else 3
    loop = Loop()
    for num_said, token in enumerate([*head, *turn * 20], start=1):
        loop.add(token)
        if loop.num_repeated:
            assert num_said == len(head) + turns * len(turn)
            assert num_said - loop.num_repeated == len(head) + len(turn)
            return
    pytest.fail("the loop was not noticed")


@given(ids=st.lists(st.integers(0, 3), max_size=60))
def test_what_is_cut_was_said_just_before(ids: list[int]) -> None:
    num_repeated = looped_tail(ids)
    told, cut = ids[: len(ids) - num_repeated], ids[len(ids) - num_repeated :]
    going_on = [(told[-period:] * len(ids))[:num_repeated] for period in range(1, len(told) + 1)]
    assert not cut or cut in going_on


def test_a_long_sentence_said_over_and_over_is_told_once() -> None:
    head, turn = "ok:", " a man with a red bag walks to the door, and two dogs wait there."
    ids = encoded(turn)
    assert len(ids) > LONG_PERIOD
    num_needed = len(encoded(head)) + 2 * len(ids)
    assert told([*encoded(head), *ids * 20]) == Answer("text", head + turn, None, num_needed)


def test_a_looping_answer_is_cut_short() -> None:
    assert told(encoded(" car") * 12) == Answer("text", "car", None, 8)


def test_text_cut_at_its_limit_says_so() -> None:
    ids = encoded("a car and a dog")
    assert told(ids, limit=len(ids) - 1) == Answer(
        "text", nano_tokenizer().decode(ids[:-1]).strip(), None, len(ids) - 1, is_truncated=True
    )
    assert told([*ids, *ids], limit=len(ids)).is_truncated


@pytest.mark.parametrize("end_id", [7, 1016])
def test_text_that_comes_to_its_end_is_whole(end_id: int) -> None:
    ids = encoded("a car")
    answer = told([*ids, end_id, *ids], limit=len(ids) + 1, end_ids=frozenset({7, 1016}))
    assert answer == Answer("text", "a car", None, len(ids))


def test_a_loop_noticed_at_the_limit_is_a_loop() -> None:
    answer = told([*encoded(" car") * 8], limit=8)
    assert (answer.value, answer.is_truncated) == ("car", False)


def test_the_ends_of_the_tokenizer_and_of_the_checkpoint_both_end_a_text() -> None:
    with torch.device("meta"):
        network = VideoLlama3(replace(nano().config, eos_token_ids=(5,)))
    ends = family_of(network, nano_tokenizer()).end_ids
    ids = encoded("a car")
    assert ends == {5, *encoded("<|im_end|><|endoftext|>")}
    assert {told([*ids, end, 65], end_ids=ends).value for end in ends} == {"a car"}


@given(
    text=st.text(
        st.sampled_from("a 走é€😀👩‍👩‍👧中文" + REPLACEMENT), min_size=1, max_size=12
    ).filter(lambda text: text.strip() == text)
)
def test_text_cut_at_any_token_is_whole_characters(text: str) -> None:
    ids = encoded(text)
    for limit in range(1, len(ids)):
        cut = nano_tokenizer().decode(ids[:limit])
        assert text.startswith(cut)
        assert len(ids[:limit]) - len(encoded(cut)) < 4  # only the bytes of one are left out
    assert nano_tokenizer().decode(ids) == text


def test_an_answer_cut_within_a_character_drops_it() -> None:
    ids = encoded("走😀b")
    values = [told(ids, limit=limit).value for limit in range(1, len(ids) + 1)]
    assert values == ["", "", "走", "走", "走", "走", "走😀", "走😀b"]


def test_a_replacement_character_that_was_said_stays() -> None:
    text = f"a{REPLACEMENT}b{REPLACEMENT}"
    assert nano_tokenizer().decode(encoded(text)) == text
    broken = [*encoded("a"), encoded("😀")[1], *encoded("b"), encoded("😀")[0]]
    assert nano_tokenizer().decode(broken) == f"a{REPLACEMENT}b"
