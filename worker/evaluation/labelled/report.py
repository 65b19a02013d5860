"""What was found, as rows, as words for people, and as one JSON document."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from model.training.labels import Problem, told
from worker.benchmarks.report import Row, as_document, as_table
from worker.evaluation.labelled.judging import Judged
from worker.evaluation.labelled.suggestions import Suggestion
from worker.evaluation.labelled.ways import Run, compared_rows, cost_rows, figure_row
from worker.evaluation.labelled.wordings import Wording

IN_TIME_S = 1.0  # what proactive benchmarks allow
NO_AUC = "ratio: it is never so, or always, or there is no probability"
NO_CALIBRATION = "probability: there is none to judge"


@dataclass(frozen=True, slots=True)
class Report:
    """How right a model is on somebody's own clips.

    Attributes:
        run: the clips by the settings in effect.
        compared: the same in other ways.
        wordings: by question, its wordings, the best first.
        suggestions: by question.
        problems: what is wrong with labels and clips.
        notes: what else is to be known, a line each.
    """

    run: Run
    compared: Sequence[Run] = ()
    wordings: Mapping[str, Sequence[Wording]] = field(default_factory=dict)
    suggestions: Mapping[str, Suggestion] = field(default_factory=dict)
    problems: Sequence[Problem] = ()
    notes: Sequence[str] = ()

    @property
    def rows(self) -> list[Row]:
        """Every figure."""
        rows = [row for judged in self.run.judged.values() for row in rows_of(judged)]
        rows += cost_rows(self.run.played)
        for wordings in self.wordings.values():
            rows += [row for one in wordings for row in one.rows()]
        return rows + (compared_rows(self.compared) if self.compared else [])

    @property
    def lines(self) -> list[str]:
        """What to put into the settings file, each question's reason above it."""
        lines: list[str] = []
        for question_id, one in self.suggestions.items():
            lines += [f"# {question_id}: {one.why}", *one.lines]
        for question_id, wordings in self.wordings.items():
            lines += [f"# {question_id}: {wordings[0].verdict}", *wordings[0].lines]
        return lines

    @property
    def doubts(self) -> list[str]:
        """What there is too little of, question by question."""
        return [
            f"{question_id}: {words}"
            for question_id, judged in self.run.judged.items()
            for words in judged.doubts
        ]

    def text(self, *, command: str, as_json: bool) -> str:
        """Write it as a table for people with words beneath it, or as one JSON document."""
        if as_json:
            said = {
                "notes": [*self.notes, *self.doubts],
                "problems": [asdict(one) for one in self.problems],
                "suggestions": {
                    key: {
                        "lines": list(one.lines),
                        "why": one.why,
                        "present_f1": one.present.f1,
                        "suggested_f1": one.suggested.f1 if one.suggested else None,
                    }
                    for key, one in self.suggestions.items()
                },
                "settings": self.lines,
            }
            return as_document(self.rows, what="eval", command=command, said=said)
        words = [as_table(self.rows), ""]
        words += [f"labels: {one}" for one in told(self.problems)]
        words += [f"note: {one}" for one in [*self.notes, *self.doubts]]
        return "\n".join([*words, "", *self.lines])


def rows_of(judged: Judged) -> list[Row]:
    """Give a question's figures."""
    name, known = judged.asked.question_id, len(judged.known)
    found, events = judged.events, judged.asked.target is not None
    terms = {"answers": len(judged.moments), "judged": known}
    rows = [
        figure_row(f"{name}_average_precision", judged.average_precision, terms)
        if events
        else Row(f"{name}_average_precision", None, "ratio: EVENT_ON names no answer"),
        *(figure_row(f"{name}_answers_{what}", one) for what, one in judged.answers.items()),
        Row(f"{name}_unknown", judged.unknown_share, "ratio", terms={"answers": terms["answers"]}),
    ]
    if not events:
        return rows
    counts = {"found": found.num_found, "starts": found.num_starts, "spans": found.num_spans}
    delay_s = found.median_delay_s
    none = "none was found" if found.num_spans else "there was nothing to find"
    error, auc = judged.calibration_error, judged.frame_auc
    rows += [
        Row(f"{name}_brier", judged.brier, NO_CALIBRATION if judged.brier is None else "ratio"),
        Row(f"{name}_calibration_error", error, NO_CALIBRATION if error is None else "ratio"),
        Row(f"{name}_frame_auc", auc, "ratio" if auc is not None else NO_AUC),
    ]
    if not judged.asked.has_events:
        return rows
    in_time = sum(0.0 <= one <= IN_TIME_S for one in found.delays_s)
    hours = judged.total_s / 3600
    return [
        *rows,
        figure_row(f"{name}_events_precision", judged.event_precision, counts),
        figure_row(f"{name}_events_recall", judged.event_recall, counts),
        Row(f"{name}_events_f1", found.f1, "ratio" if found.f1 is not None else f"ratio: {none}"),
        Row(
            f"{name}_events_false_per_hour",
            (found.num_starts - found.num_found) / hours if hours else None,
            "1/h",
            terms={"false": found.num_starts - found.num_found, "hours": hours},
        ),
        Row(
            f"{name}_events_median_delay",
            delay_s,
            "s" if delay_s is not None else f"s: {none}",
            terms={"slowest_s": max(found.delays_s)} if found.delays_s else {},
        ),
        Row(
            f"{name}_events_within_{IN_TIME_S:g}s",
            in_time / found.num_spans if found.num_spans else None,
            "ratio" if found.num_spans else f"ratio: {none}",
            terms={"in_time": in_time, "spans": found.num_spans},
        ),
    ]
