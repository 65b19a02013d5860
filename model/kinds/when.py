"""`when`: temporal grounding, from when to when something was so."""

import re
from dataclasses import replace
from datetime import datetime

from model.errors import InputError
from model.kinds.base import Doubt, Forms, Limits, NewReader, Published, Vocabulary
from model.kinds.text import Text, TextReader
from model.types import Answer, Window

_SPAN = re.compile(r"(\d+\.?\d*|\d*\.\d+)\s*(?:-|to)\s*(\d+\.?\d*|\d*\.\d+)")


class When(Text):
    """Asks for a stretch of time, which is published in wall-clock time. It raises no event.

    The closing words, and what is taken for a stretch, are those of VideoLLaMA3's evaluation on
    Charades-STA. Source: evaluation/benchmarks/charades_sta.py of DAMO-NLP-SG/VideoLLaMA3.
    """

    name = "when"
    closing = "Please output the start and end timestamps in seconds."

    def readers(self, vocabulary: Vocabulary, *, limits: Limits, forms: Forms) -> NewReader:  # noqa: ARG002
        return lambda _question, suffix: _Reader(
            self.name,
            suffix,
            max_new_tokens=limits.max_answer_tokens,
            end_ids=limits.end_ids,
            vocabulary=vocabulary,
        )

    def published(self, answer: Answer, doubt: Doubt) -> Published:
        """Return the words; whoever publishes them knows the clock, and puts the interval there."""
        published = super().published(answer, doubt)
        if published.reason is None and answer.span_s is None:
            return Published("unknown", None, "no_answer")
        return published

    def check_published(self, published: str | int) -> None:
        start, _, end = str(published).partition("/")
        try:
            is_interval = datetime.fromisoformat(start) <= datetime.fromisoformat(end)
        except (ValueError, TypeError):  # no times; one with a zone and one without
            is_interval = False
        if published != "unknown" and not is_interval:
            raise InputError(f"answer: expected START/END in RFC 3339, got {published!r}")


class _Reader(TextReader):
    """Decodes words, and finds a stretch of seconds in them."""

    def answer(self) -> Answer:
        told = super().answer()
        found = _SPAN.search(str(told.value))
        return replace(told, span_s=(float(found[1]), float(found[2])) if found else None)


def placed(answer: Answer, window: Window, *, sample_period_s: float) -> Answer:
    """Give an answer's stretch in stream time; none where the window does not hold it.

    Args:
        answer: with its stretch in seconds since the window's first frame, or with none.
        window: what it was given about.
        sample_period_s: a frame stands for so long, and stamps may be rounded to it.
    """
    if answer.span_s is None:
        return answer
    start_s, end_s = (window.start_pts_s + at_s for at_s in answer.span_s)
    if not start_s <= end_s <= window.end_pts_s + sample_period_s:
        return replace(answer, span_s=None)
    last_s = window.end_pts_s
    return replace(answer, span_s=(min(start_s, last_s), min(end_s, last_s)))
