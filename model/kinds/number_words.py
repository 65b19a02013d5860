"""Numbers in words: which first tokens tell a number, and what after them would tell a larger one.

`two`, `none`, 两 and 둘 are read; words above ten are not, so that they are no answer rather than
a wrong one.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from model.kinds.base import Vocabulary
from model.kinds.spellings import beginning, has_capitals, written

_CHINESE_DIGITS = "一二三四五六七八九"
_TWO_OF = ("两", "兩")  # 二 counts, 两 tells how many
_MEASURES = ("", "个人", *"个個人名位辆輛只隻台条條件つ")
"""Chinese and Japanese words between a number and what is counted: some are one token with it."""

_ENGLISH = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_NONE = (
    *("none", "no", "nobody", "nothing", "零"),
    *("没有", "没", "沒有", "沒", "无", "無", "没有人", "没有任何", "没人", "无人"),
    *("없습니다", "없음", "없어요", "아무도", "아무것도"),
    *("いません", "ありません", "なし", "ゼロ"),
)
_KOREAN = (
    (),
    ("하나", "한"),
    ("둘", "두"),
    ("셋", "세"),
    ("넷", "네"),
    *((word,) for word in ("다섯", "여섯", "일곱", "여덟", "아홉", "열")),
)
_JAPANESE = ((), ("ひとつ", "ひとり"), ("ふたつ", "ふたり"))

_ENGLISH_TEENS = [
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_ENGLISH_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_UNCOUNTED = (
    *("네,", "네.", "일", "다수", "여러", "아마"),
    *("一些", "一群", "几", "多", "many", "several", "some", "few"),
)
"""Yes, perhaps, and words for many: they begin with tokens that a number might begin with."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NumberWords:
    """First tokens that tell a number.

    Attributes:
        numbers: by token.
        larger: by token, those that would make a larger number of it as the next one: `teen` after
            `six`, 十三 after 二.
    """

    numbers: Mapping[int, int]
    larger: Mapping[int, tuple[int, ...]]


def number_words(vocabulary: Vocabulary) -> NumberWords:
    """Look up the number words of this vocabulary.

    A token that begins words for two numbers is left out, and so is one that begins a word for no
    number to ten. The log has a line about it.
    """
    told: dict[int, set[int]] = defaultdict(set)
    for number, word in _words():
        for way in written(word):
            ids = beginning(vocabulary, way)
            # A piece of a word in letters begins other words; the language of a syllable is known.
            if len(ids) == 1 or (ids and not has_capitals(word)):
                told[ids[0]].add(number)
    longer = [
        ids for word in _larger() for way in written(word) if (ids := beginning(vocabulary, way))
    ]
    uncounted = {ids[0] for word in _UNCOUNTED if (ids := beginning(vocabulary, word))}
    uncounted |= {ids[0] for ids in longer if len(ids) == 1}
    numbers = {
        token: next(iter(those))
        for token, those in told.items()
        if len(those) == 1 and token not in uncounted
    }
    larger: dict[int, set[int]] = defaultdict(set)
    for first, *rest in longer:
        if first in numbers:
            larger[first].add(rest[0])
    if len(numbers) < len(told):
        log.info(
            "number words: %d of %d first tokens begin several words and are left out",
            len(told) - len(numbers),
            len(told),
        )
    return NumberWords(numbers, {token: tuple(sorted(ids)) for token, ids in larger.items()})


def _words() -> Iterator[tuple[int, str]]:
    """Yield every number to ten in words."""
    yield from ((0, word) for word in _NONE)
    yield from enumerate(_ENGLISH)
    for by_number in (_KOREAN, _JAPANESE):
        for number, words in enumerate(by_number):
            yield from ((number, word) for word in words)
    chinese = [*enumerate(f"{_CHINESE_DIGITS}十", start=1), *((2, digit) for digit in _TWO_OF)]
    for (number, digit), measure in product(chinese, _MEASURES):
        yield number, f"{digit}{measure}"


def _larger() -> Iterator[str]:
    """Yield words for numbers above ten."""
    yield from _ENGLISH_TEENS
    yield from _ENGLISH_TENS
    yield from (f"{ten}-{unit}" for ten, unit in product(_ENGLISH_TENS, _ENGLISH[1:10]))
    for unit, much in product(_ENGLISH[1:10], ("hundred", "thousand", "dozen")):
        yield f"{unit} {much}"
    yield from (f"十{unit}" for unit in _CHINESE_DIGITS)
    for ten, unit in product(_CHINESE_DIGITS, ("", *_CHINESE_DIGITS)):
        yield f"{ten}十{unit}"
    yield from (f"{digit}{much}" for digit in ("一", "二", "三", *_TWO_OF) for much in "百千")
    yield from (f"열{unit}" for units in _KOREAN[1:10] for unit in units)
