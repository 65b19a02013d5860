"""`when`: temporal grounding, from when to when something was so."""

import re
from dataclasses import replace
from datetime import datetime

from model.errors import InputError
from model.kinds.base import Doubt, Forms, Limits, NewReader, Published, Vocabulary
from model.kinds.text import Text, TextReader
from model.types import Answer

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
