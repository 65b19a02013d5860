import logging
from collections.abc import Sequence

import pytest

from model.errors import CheckpointError, InputError
from model.kinds.yes_no import YesNo, yes_no_ids
from model.types import Answer
from tests.model.nano_model import nano_tokenizer
from tests.model.qwen import qwen_tokenizer


class Words:
    """A vocabulary of some words with their tokens; a letter is its own code."""

    im_end_id = 0

    def __init__(self, words: dict[str, int]) -> None:
        self._words = words

    def encode(self, text: str) -> list[int]:
        return [self._words[text]] if text in self._words else [ord(letter) for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        named = {token: word for word, token in self._words.items()}
        return "".join(named.get(token) or chr(token) for token in ids)


ENGLISH = {
    way: 100_000 + number
    for number, way in enumerate(
        way for word in ("yes", "Yes", "YES", "no", "No", "NO") for way in (word, f" {word}")
    )
}


def test_every_language_is_read_in_qwens_vocabulary() -> None:
    tokenizer = qwen_tokenizer()
    yes, no = ({tokenizer.decode([token]) for token in side} for side in yes_no_ids(tokenizer))
    assert {"Yes", " yes", "是", "有", "네", "예", "は", "Ja"} <= yes
    assert {"No", " no", "否", "没有", "不是", "아", "いい", "Ne"} <= no
    assert not yes & no


def test_a_vocabulary_of_bytes_is_read_in_english_alone(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = nano_tokenizer()
    with caplog.at_level(logging.INFO):
        yes, no = yes_no_ids(tokenizer)
    assert {tokenizer.decode([token]).strip().lower() for token in yes} == {"yes"}
    assert {tokenizer.decode([token]).strip().lower() for token in no} == {"no"}
    assert "Chinese, Korean, Japanese, German" in caplog.text


def test_what_begins_a_yes_and_a_no_is_left_out_on_both_sides(
    caplog: pytest.LogCaptureFixture,
) -> None:
    vocabulary = Words(ENGLISH | {"是": 200_000, "否": 200_000})
    with caplog.at_level(logging.INFO):
        yes, no = yes_no_ids(vocabulary)
    assert 200_000 not in {*yes, *no}
    assert ord("有") in yes
    assert ord("没") in no
    # あ begins both in Japanese, い as well.
    assert not {ord("あ"), ord("い")} & {*yes, *no}
    assert "first tokens begin both and are left out" in caplog.text


def test_a_language_without_a_no_has_no_yes_either() -> None:
    both = dict.fromkeys(("いいえ", "いません", "いない", "ありません", "ない", "はい"), 300000)
    yes, _ = yes_no_ids(Words(ENGLISH | both))
    assert ord("あ") not in yes


def test_yes_and_no_that_begin_alike_are_refused() -> None:
    with pytest.raises(CheckpointError, match="both begin with ' '"):
        yes_no_ids(Words({"yes": 1, "no": 2}))


@pytest.mark.parametrize(
    ("event_on", "target", "p"), [("", "yes", 0.2), ("yes", "yes", 0.2), ("NO", "no", 0.8)]
)
def test_an_event_is_about_yes_or_about_no(event_on: str, target: str, p: float) -> None:
    assert YesNo().target(event_on, ()) == target
    assert YesNo().event_p(Answer("yes_no", "no", 0.2, 0), target) == pytest.approx(p)
    assert YesNo().event_p(Answer("yes_no", "no", None, 0), target) is None


def test_an_event_is_about_nothing_else() -> None:
    with pytest.raises(InputError, match="event_on: expected yes or no"):
        YesNo().target("perhaps", ())
