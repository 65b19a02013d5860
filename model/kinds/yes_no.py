"""`yes_no`: the probability of yes, over the spellings of yes and no at the first token."""

import logging
import math
from collections.abc import Mapping, Sequence

from model.errors import CheckpointError, InputError
from model.kinds.base import (
    Branch,
    Doubt,
    Forms,
    Kind,
    Limits,
    NewReader,
    Published,
    Reading,
    Scored,
    Target,
    Vocabulary,
    softmax,
)
from model.kinds.spellings import beginning, written
from model.types import Answer

ENGLISH = "English"

# A model may answer in the language of the question, and with the verb of the question: "Is there
# a car?" with "there is". Longer words stand beside their beginnings where Qwen's vocabulary has
# them as one token.
SPELLINGS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    ENGLISH: (("yes", "YES"), ("no", "NO")),
    "Chinese": (
        (
            *("是", "是的", "对", "对的", "對", "会", "會", "能", "存在", "正确"),
            *("有", "有的", "有人", "有一", "有一个", "有一位", "有一些"),
        ),
        (
            *("否", "不", "不是", "不对", "不對", "不会", "不會", "不能", "不存在"),
            *("没", "没有", "没有任何", "没有人", "没人", "沒", "沒有", "无", "无人", "無", "未"),
        ),
    ),
    "Korean": (
        ("네", "예", "응", "맞아요", "있어요", "있음"),
        ("아니요", "아니오", "아니", "아뇨", "없습니다", "없어요", "없음"),
    ),
    "Japanese": (
        ("はい", "います", "いる", "あります", "ある"),
        ("いいえ", "いません", "いない", "ありません", "ない"),
    ),
    "German": (("ja",), ("nein",)),
}
"""By language, the spellings of yes and of no.

French and Spanish are missing: in Qwen's vocabulary `Oui` and `Sí` begin with a single letter.
"""

log = logging.getLogger(__name__)


class YesNo(Kind):
    """Asks whether something is so. Its event is about yes, or about no."""

    name = "yes_no"
    closing = "Answer yes or no."

    def readers(self, vocabulary: Vocabulary, *, limits: Limits, forms: Forms) -> NewReader:  # noqa: ARG002
        yes_ids, no_ids = yes_no_ids(vocabulary)
        return lambda _question, suffix: _Reader(suffix, yes_ids=yes_ids, no_ids=no_ids)

    def published(self, answer: Answer, doubt: Doubt) -> Published:
        published = super().published(answer, doubt)
        if published.p is not None and doubt.band[0] <= published.p < doubt.band[1]:
            return Published("unknown", published.p, "in_doubt")
        return published

    def check_published(self, published: str | int) -> None:
        if published not in ("yes", "no", "unknown"):
            raise InputError(f"answer: expected yes, no or unknown, got {published!r}")

    def target(self, event_on: str, options: Sequence[str]) -> Target | None:  # noqa: ARG002
        target = event_on.lower() or "yes"
        if target not in ("yes", "no"):
            raise InputError("event_on: expected yes or no for a yes_no question")
        return target

    def event_p(self, answer: Answer, target: Target) -> float | None:
        """Return P(yes) or P(no): of what answers at all they are the whole."""
        if answer.p is None:
            return None
        return answer.p if target == "yes" else 1.0 - answer.p


class _Reader(Scored):
    """Weighs every spelling of yes against every spelling of no.

    What all of them hold in the whole vocabulary is the answer's mass.
    """

    def __init__(
        self, suffix: Sequence[int], *, yes_ids: Sequence[int], no_ids: Sequence[int]
    ) -> None:
        self.branches = (Branch(tuple(suffix)),)
        self.readings = (Reading((*yes_ids, *no_ids), is_share=True),)
        self._num_yes = len(yes_ids)

    def begin(self, found: Sequence[Sequence[float]]) -> int | None:
        [log_shares] = found
        p = sum(softmax(log_shares)[: self._num_yes])
        mass = sum(math.exp(one) for one in log_shares)
        value = "yes" if p >= 0.5 else "no"
        self._answer = Answer(YesNo.name, value, p, num_generated=0, mass=mass)
        return None


def yes_no_ids(vocabulary: Vocabulary) -> tuple[list[int], list[int]]:
    """Give the tokens that an answer of yes, and one of no, can begin with.

    A spelling whose first token begins one of the other side too is left out, and so is its
    counterpart; a language of which one side has nothing left is left out whole. The log has a
    line about it.

    Raises:
        CheckpointError: a token begins both in English.
    """
    yes, no = (
        {vocabulary.encode(way)[0] for word in side for way in written(word)}
        for side in SPELLINGS[ENGLISH]
    )
    if shared := yes & no:
        raise CheckpointError(
            "tokenizer: expected yes and no to begin with different tokens; "
            f"both begin with {vocabulary.decode(sorted(shared))!r}"
        )
    others = {
        language: tuple(_ids(vocabulary, side) for side in sides)
        for language, sides in SPELLINGS.items()
        if language != ENGLISH
    }
    all_yes = yes.union(*(sides[0] for sides in others.values()))
    all_no = no.union(*(sides[1] for sides in others.values()))
    both = all_yes & all_no
    left_out = []
    for language, (its_yes, its_no) in others.items():
        if its_yes <= both or its_no <= both:
            left_out.append(language)
            continue
        yes |= its_yes - both
        no |= its_no - both
    if both or left_out:
        log.info(
            "yes and no: %d first tokens begin both and are left out; languages left out: %s",
            len(both),
            ", ".join(left_out) or "none",
        )
    return sorted(yes), sorted(no)


def _ids(vocabulary: Vocabulary, words: Sequence[str]) -> set[int]:
    """Give the first tokens of all ways to write some words."""
    encoded = (beginning(vocabulary, way) for word in words for way in written(word))
    return {ids[0] for ids in encoded if ids}
