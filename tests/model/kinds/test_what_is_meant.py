"""What a model with Qwen's vocabulary wants to say, in several languages, and what is read."""

import pytest

from model.engine.answers import Respondent
from model.kinds.base import Reason
from model.types import Question
from model.videollama3.prompt import VIDEOLLAMA3
from tests.model.kinds.saying import Wishes, answer_of, family_without_weights, published
from tests.model.qwen import NUM_RANKS, VOCAB_SIZE, qwen_tokenizer

FIRE = Question("yes_no", "Is there fire or smoke?")
GATE = Question("choice", "Is the gate open?", ("open", "half open", "closed"))
PEOPLE = Question("count", "How many people are there?")
NO_ANSWER = ("unknown", "no_answer")


@pytest.fixture(scope="module")
def respondent() -> Respondent:
    family = family_without_weights(qwen_tokenizer(), VIDEOLLAMA3)
    return Respondent(family, max_caption_tokens=8, max_answer_tokens=8)


YES_NO = [
    ("Yes", 0.9, "yes"),
    ("yes", 0.5, "yes"),
    ("YES", 0.2, "yes"),
    (" Yes.", 0.9, "yes"),
    ("Yes, there is smoke.", 0.7, "yes"),
    ("No", 0.9, "no"),
    (" no", 0.9, "no"),
    ("No, there is no fire in the video.", 0.8, "no"),
    ("NO", 0.11, "no"),
    ("是", 0.9, "yes"),
    ("是的,有烟。", 0.9, "yes"),
    ("有", 0.6, "yes"),
    ("对", 0.6, "yes"),
    ("有的", 0.6, "yes"),
    ("否", 0.9, "no"),
    ("没有", 0.9, "no"),
    ("没有。", 0.3, "no"),
    ("没有人", 0.9, "no"),
    ("有一个人", 0.9, "yes"),
    ("不是", 0.8, "no"),
    ("不", 0.8, "no"),
    ("無", 0.8, "no"),
    ("네", 0.9, "yes"),
    ("예, 연기가 있습니다.", 0.9, "yes"),
    ("아니요", 0.9, "no"),
    ("아니오", 0.9, "no"),
    ("아니, 없습니다.", 0.9, "no"),
    ("없습니다", 0.9, "no"),
    ("はい", 0.9, "yes"),
    ("はい、煙が見えます。", 0.9, "yes"),
    ("あります", 0.9, "yes"),
    ("いいえ", 0.9, "no"),
    ("いいえ、ありません。", 0.9, "no"),
    ("ありません", 0.9, "no"),
    ("Ja", 0.9, "yes"),
    ("Nein", 0.9, "no"),
]
COUNTS = [
    ("2", 0.9, 2),
    ("2 people", 0.9, 2),
    ("2.", 0.4, 2),
    ("0", 0.9, 0),
    ("0 people", 0.9, 0),
    ("10", 0.9, 10),
    ("12", 0.9, 12),
    ("12 people are in the yard", 0.9, 12),
    ("99", 0.9, 99),
    ("120", 0.9, 120),
    ("205 people", 0.9, 205),
    ("1000", 0.9, 1000),
    ("two", 0.9, 2),
    ("Two people", 0.9, 2),
    ("None", 0.9, 0),
    ("none", 0.9, 0),
    ("No people are visible", 0.9, 0),
    ("zero", 0.9, 0),
    ("Six", 0.9, 6),
    ("ten", 0.9, 10),
    ("两", 0.9, 2),
    ("两个人", 0.9, 2),
    ("三人", 0.9, 3),
    ("三", 0.9, 3),
    ("没有人", 0.9, 0),
    ("零", 0.9, 0),
    ("2人", 0.9, 2),
    ("둘", 0.9, 2),
    ("두 명", 0.9, 2),
    ("하나", 0.9, 1),
    ("세 명입니다", 0.9, 3),
    ("없습니다", 0.9, 0),
    ("3명", 0.9, 3),
    ("二人", 0.9, 2),
    ("三つ", 0.9, 3),
    ("いません", 0.9, 0),
]
CHOICES = [
    ("A", 0.9, "open"),
    ("B", 0.9, "half open"),
    ("(B)", 0.9, "half open"),
    ("(B) half open", 0.9, "half open"),
    (" C", 0.9, "closed"),
    ("C.", 0.2, "closed"),
    ("C) closed", 0.9, "closed"),
    ("b", 0.9, "half open"),
    ("(c)", 0.9, "closed"),
]


@pytest.mark.parametrize(
    ("question", "said", "share", "expected"),
    [
        *((FIRE, *one) for one in YES_NO),
        *((PEOPLE, *one) for one in COUNTS),
        *((GATE, *one) for one in CHOICES),
    ],
)
def test_what_is_meant_is_what_is_read(
    respondent: Respondent,
    monkeypatch: pytest.MonkeyPatch,
    question: Question,
    said: str,
    share: float,
    expected: str | int,
) -> None:
    answer = answer_of(
        monkeypatch, respondent, question, Wishes(qwen_tokenizer(), VOCAB_SIZE, {said: share})
    )
    read = published(answer)
    assert (read.answer, read.reason) == (expected, None)
    assert answer.mass == pytest.approx(share, rel=1e-3)
    p_of_it = 1.0 - (read.p or 0.0) if read.answer == "no" else read.p
    assert p_of_it == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("question", "wishes", "expected"),
    [
        # Something else altogether, with a little of an answer beside it.
        (FIRE, {"The video shows a yard.": 0.98, "Yes": 0.015, "No": 0.005}, NO_ANSWER),
        (FIRE, {"I cannot tell": 1.0}, NO_ANSWER),
        (FIRE, {"不确定": 1.0}, NO_ANSWER),
        (FIRE, {"Not sure": 0.95, "Yes": 0.05}, NO_ANSWER),
        (FIRE, {"Yes": 0.099}, NO_ANSWER),
        (FIRE, {"2": 0.9}, NO_ANSWER),
        # Several answers at once.
        (FIRE, {"Yes": 0.3, "No": 0.3}, ("unknown", "in_doubt")),
        (FIRE, {"否": 0.6, "Yes": 0.2}, ("no", None)),
        (FIRE, {"아니요": 0.6, "Yes": 0.2}, ("no", None)),
        (FIRE, {"いいえ": 0.2, "No": 0.2, "Yes": 0.1}, ("no", None)),
        # No number, or one that words to ten do not tell.
        (PEOPLE, {"There are several people": 1.0}, NO_ANSWER),
        (PEOPLE, {"Several": 1.0}, NO_ANSWER),
        (PEOPLE, {"A few": 1.0}, NO_ANSWER),
        (PEOPLE, {"一些": 1.0}, NO_ANSWER),
        (PEOPLE, {"twenty": 1.0}, NO_ANSWER),
        (PEOPLE, {"sixteen": 1.0}, NO_ANSWER),
        (PEOPLE, {"Sixty people": 1.0}, NO_ANSWER),
        (PEOPLE, {"二十三": 1.0}, NO_ANSWER),
        (PEOPLE, {"两百": 1.0}, NO_ANSWER),
        (PEOPLE, {"열두 명": 1.0}, NO_ANSWER),
        (PEOPLE, {"네, 두 명이 있습니다": 1.0}, NO_ANSWER),
        (PEOPLE, {"2": 0.05, "The yard": 0.95}, NO_ANSWER),
        # A longer number beside a shorter one.
        (PEOPLE, {"12": 0.5, "120": 0.3}, (12, None)),
        (PEOPLE, {"12": 0.3, "120": 0.5}, (120, None)),
        (PEOPLE, {"12": 0.3, "120": 0.25, "125": 0.25}, (120, None)),
        (PEOPLE, {"3": 0.4, "12": 0.3, "120": 0.2}, (3, None)),
        (PEOPLE, {"two": 0.3, "2": 0.3, "three": 0.4}, (2, None)),
        (PEOPLE, {"six": 0.4, "sixteen": 0.2, "5": 0.3}, (6, None)),
        # The option itself, or a letter that none has.
        (GATE, {"open": 1.0}, NO_ANSWER),
        (GATE, {"The gate is open": 1.0}, NO_ANSWER),
        (GATE, {"D": 1.0}, NO_ANSWER),
        (GATE, {"A": 0.04, "B": 0.04, "Sorry": 0.92}, NO_ANSWER),
        (GATE, {"A": 0.3, "(C)": 0.25, "C": 0.2}, ("closed", None)),
    ],
)
def test_what_is_no_answer_is_unknown_and_of_several_the_likeliest_is_read(
    respondent: Respondent,
    monkeypatch: pytest.MonkeyPatch,
    question: Question,
    wishes: dict[str, float],
    expected: tuple[str | int, Reason | None],
) -> None:
    answer = answer_of(
        monkeypatch, respondent, question, Wishes(qwen_tokenizer(), VOCAB_SIZE, wishes)
    )
    read = published(answer)
    assert (read.answer, read.reason) == expected
    assert (read.p is None) == (read.reason == "no_answer")


def test_the_vocabulary_is_qwens() -> None:
    tokenizer = qwen_tokenizer()
    assert tokenizer.encode("Hello world") == [9707, 1879]
    assert tokenizer.encode("<|endoftext|><|im_start|><|im_end|>") == [
        NUM_RANKS,
        NUM_RANKS + 1,
        NUM_RANKS + 2,
    ]
    assert tokenizer.visual_id == 151_656
    assert tokenizer.decode(tokenizer.encode("否 아니요 いいえ")) == "否 아니요 いいえ"
