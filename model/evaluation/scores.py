"""What answers are worth: accuracy with both answers weighing the same, facts told, times met."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from model.errors import InputError
from model.scenes.wording import Stated, stated_facts

_SPAN = re.compile(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?) s")


@dataclass(frozen=True, slots=True)
class Judged:
    """A question that was put to a model: what should have been said, and what was.

    Attributes:
        task: one of `quiz.TASKS`.
        topic: what it is about: `person in view`.
        expected: the right answer; of a caption, one of many.
        said: the model's.
        facts: of a caption, what it should state.
    """

    task: str
    topic: str
    expected: str
    said: str
    facts: frozenset[Stated] = frozenset()

    @property
    def is_right(self) -> bool:
        """Whether it was said to the letter, spaces around it aside."""
        return self.said.strip() == self.expected


@dataclass(frozen=True, slots=True)
class FactScore:
    """What captions state against the timeline, over all of them (micro).

    Attributes:
        num_true: facts there were to state.
        num_told: facts stated.
        num_right: facts stated that are true.
    """

    num_true: int
    num_told: int
    num_right: int

    @property
    def precision(self) -> float:
        """The share of what is stated that is true; 1 where nothing is stated."""
        return self.num_right / self.num_told if self.num_told else 1.0

    @property
    def recall(self) -> float:
        """The share of what is true that is stated; 1 where there is nothing to state."""
        return self.num_right / self.num_true if self.num_true else 1.0

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        total = self.num_true + self.num_told
        return 2 * self.num_right / total if total else 1.0


def accuracy(judged: Sequence[Judged]) -> float:
    """Give the share of right answers.

    Raises:
        InputError: there are none.
    """
    _refuse_none(judged)
    return sum(one.is_right for one in judged) / len(judged)


def by_topic(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    """Sort answers by what they are about, topics in alphabetical order."""
    topics: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        topics[one.topic].append(one)
    return dict(sorted(topics.items()))


def balanced_accuracy(judged: Sequence[Judged]) -> float:
    """Give the accuracy with every answer of a topic weighing the same.

    A topic's accuracy is the mean over its answers (yes, no) of the share that was right where
    that answer was due: always saying the likelier one gains nothing. Topics count by how often
    they were asked.

    Raises:
        InputError: there are none.
    """
    _refuse_none(judged)
    total = 0.0
    for members in by_topic(judged).values():
        due = {one.expected for one in members}
        shares = [accuracy([one for one in members if one.expected == each]) for each in due]
        total += len(members) * sum(shares) / len(shares)
    return total / len(judged)


def share_of(answer: str, judged: Sequence[Judged]) -> float:
    """Give the share of questions whose right answer is this one.

    Raises:
        InputError: there are none.
    """
    _refuse_none(judged)
    return sum(one.expected == answer for one in judged) / len(judged)


def fact_score(judged: Sequence[Judged]) -> FactScore:
    """Compare what captions state with what they should: (kind, colour, action), all exact."""
    told = [stated_facts(one.said) for one in judged]
    return FactScore(
        num_true=sum(len(one.facts) for one in judged),
        num_told=sum(len(facts) for facts in told),
        num_right=sum(len(one.facts & facts) for one, facts in zip(judged, told, strict=True)),
    )


def span_of(text: str) -> tuple[float, float] | None:
    """Read `1.0-4.0 s`; None where the text is something else or ends before it begins."""
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        return None
    start_s, end_s = float(match[1]), float(match[2])
    return (start_s, end_s) if start_s <= end_s else None


def span_iou(expected: str, said: str, *, frame_s: float = 0.0) -> float:
    """Give the overlap of two stretches of time over what they cover together, 0 to 1.

    Args:
        expected: the true one; a quiz's spans two frames at the least.
        said: the model's; what cannot be read is worth 0.
        frame_s: what the last frame's moment stands for. 0 compares the stretches as they are
            written; a frame's period compares the frames that lie in them.

    Raises:
        InputError: the true one cannot be read, or lasts no time.
    """
    truth, told = span_of(expected), span_of(said)
    if truth is None or truth[1] + frame_s <= truth[0]:
        raise InputError(f"span: expected `a-b s` with b after a, got {expected!r}")
    if told is None:
        return 0.0
    common = min(truth[1], told[1]) - max(truth[0], told[0]) + frame_s
    either = (truth[1] - truth[0]) + (told[1] - told[0]) + 2 * frame_s
    common = max(0.0, common)
    return common / (either - common)


def mean_iou(judged: Sequence[Judged], *, frame_s: float = 0.0) -> float:
    """Give the mean of `span_iou`.

    Raises:
        InputError: there are none, or a true answer is no span.
    """
    _refuse_none(judged)
    return sum(span_iou(one.expected, one.said, frame_s=frame_s) for one in judged) / len(judged)


def _refuse_none(judged: Sequence[Judged]) -> None:
    if not judged:
        raise InputError("score: expected answers to judge, got none")
