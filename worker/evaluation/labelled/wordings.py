"""One question in several wordings: which of them tells best when it is so."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import ConfigError
from worker.benchmarks.report import Row
from worker.evaluation.labelled.judging import Judged
from worker.evaluation.labelled.suggestions import Suggestion
from worker.evaluation.labelled.ways import figure_row
from worker.settings import PREFIX
from worker.site_settings import QuestionSettings


@dataclass(frozen=True, slots=True)
class Wording:
    """A wording and what it gives.

    Attributes:
        name: in rows.
        judged: its figures.
        suggestion: thresholds for it.
        is_present: it is the one in the settings.
        verdict: which wording is best, and whether that can be said.
        lines: for the settings file, where it is the best one.
    """

    name: str
    judged: Judged
    suggestion: Suggestion
    is_present: bool
    verdict: str = ""
    lines: tuple[str, ...] = ()

    @property
    def separation(self) -> float:
        """What wordings are ordered by; -1 where nothing can be told."""
        value = self.judged.average_precision.value
        return -1.0 if value is None else value

    def rows(self) -> list[Row]:
        """Give its figures."""
        events = self.suggestion.suggested or self.judged.events
        none = "ratio: there were none"
        return [
            figure_row(f"{self.name}_wording_average_precision", self.judged.average_precision),
            Row(
                f"{self.name}_wording_events_f1",
                events.f1,
                none if events.f1 is None else "ratio",
            ),
        ]


def variants(
    questions: Mapping[str, QuestionSettings], asks: Sequence[str], *, labelled: Sequence[str]
) -> dict[str, tuple[str, QuestionSettings]]:
    """Make questions of wordings: `WORDS`, or `QUESTION=WORDS` where several have labels.

    Returns:
        By the id that each is asked under: the question whose labels it is judged by, and itself.

    Raises:
        ConfigError: it is not clear which question a wording is of.
    """
    made: dict[str, tuple[str, QuestionSettings]] = {}
    for number, text in enumerate(asks, start=1):
        named, found, words = text.partition("=")
        question_id = named.strip().lower()
        if not found or question_id not in questions:
            question_id, words = labelled[0] if len(labelled) == 1 else "", text
        if question_id not in questions or not words.strip():
            known = ", ".join(labelled) or "none"
            raise ConfigError(
                "eval: --ask: expected QUESTION=WORDS with a question that has labels "
                f"({known}), got {text[:60]!r}"
            )
        ask = words.strip()
        asked = questions[question_id].model_copy(update={"ask": ask})
        if ask != questions[question_id].ask:
            made[f"{question_id[:50]}-ask-{number}"] = (question_id, asked)
    return made


def ranked(wordings: Sequence[Wording], question_id: str) -> list[Wording]:
    """Order wordings, the best first, and say what follows."""
    order = sorted(wordings, key=lambda one: (one.separation, one.is_present), reverse=True)
    best, rest = order[0], order[1:]
    figure = best.judged.average_precision
    words = f'"{best.judged.asked.words}" separates best, average precision {figure}'
    for other in rest:
        theirs = other.judged.average_precision
        words += f'; "{other.judged.asked.words}" {theirs}'
    second = rest[0].judged.average_precision if rest else figure
    is_sure = None not in (figure.low, second.high) and (figure.low or 0) > (second.high or 0)
    if rest and not is_sure:
        words += "; the intervals overlap: more labels would be needed to be sure"
    lines: tuple[str, ...] = ()
    if not best.is_present and best.separation >= 0:
        ask = best.judged.asked.words.replace('"', "'")
        lines = (f'{PREFIX}QUESTIONS__{question_id.upper()}__ASK="{ask}"',)
        lines += best.suggestion.lines
    return [
        Wording(best.name, best.judged, best.suggestion, best.is_present, words, lines),
        *rest,
    ]
