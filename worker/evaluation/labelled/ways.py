"""The same clips in cheaper and dearer ways: what each costs, and what it gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from pipeline.errors import ConfigError
from worker.benchmarks.report import Row
from worker.evaluation.labelled.confidence import Figure, terms_of
from worker.evaluation.labelled.judging import Judged
from worker.evaluation.labelled.playing import Played, WayName
from worker.evaluation.self_check.operating_point import at_point
from worker.fidelity import Fidelity
from worker.settings import Settings

WAYS: tuple[WayName, ...] = (*get_args(Fidelity), "last4")


@dataclass(frozen=True, slots=True)
class Run:
    """All clips in one way.

    Attributes:
        way: its name; empty for the settings as they are.
        played: what came of each clip.
        judged: by question, of those that have labels.
    """

    way: str
    played: Sequence[Played]
    judged: Mapping[str, Judged]


def read_ways(text: str) -> list[WayName]:
    """Read `reference,fast,last4`.

    Raises:
        ConfigError: a way that there is none of.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    ways = [way for name in names for way in WAYS if way == name]
    if len(ways) != len(names):
        known = ", ".join(WAYS)
        raise ConfigError(f"eval: --compare: expected some of {known}, got {text!r}")
    return list(dict.fromkeys(ways))


def settings_of(settings: Settings, way: WayName) -> Settings:
    """Return the settings at a way; the last four frames are taken at the present ones."""
    return settings if way == "last4" else at_point(settings, way)


def compared_rows(runs: Sequence[Run]) -> list[Row]:
    """Give for each way what it costs and gives; answers are compared with the first way's."""
    rows: list[Row] = []
    for run in runs:
        rows += cost_rows(run.played, prefix=f"{run.way}_")
        for question_id, judged in run.judged.items():
            name = f"{run.way}_{question_id}"
            rows += [
                figure_row(f"{name}_average_precision", judged.average_precision),
                *(
                    figure_row(f"{name}_answers_{what}", figure)
                    for what, figure in judged.answers.items()
                    if what in ("f1", "accuracy")
                ),
                _event_f1(f"{name}_events_f1", judged),
            ]
            if run is not runs[0]:
                first = runs[0].judged[question_id]
                rows.append(_agreement(f"{name}_agreement_with_{runs[0].way}", judged, first))
    return rows


def cost_rows(played: Sequence[Played], *, prefix: str = "") -> list[Row]:
    """Give what share of the tokens the model was given, and what it took."""
    kept, total = (sum(getattr(one, name) for one in played) for name in ("num_kept", "num_tokens"))
    stream_s = sum(one.until_s for one in played)
    engine_s = sum(one.engine_s for one in played)
    return [
        Row(
            f"{prefix}tokens_kept",
            kept / total if total else None,
            "ratio",
            terms={"kept": kept, "in_whole_frames": total},
        ),
        Row(
            f"{prefix}model_seconds_per_stream_minute",
            60 * engine_s / stream_s if stream_s else None,
            "s",
            terms={"model_s": engine_s, "stream_s": stream_s},
        ),
    ]


def figure_row(name: str, figure: Figure, terms: Mapping[str, float] | None = None) -> Row:
    """Write a figure as a row, its interval among the terms."""
    unit = f"ratio: {figure.why_none}" if figure.value is None else "ratio"
    return Row(name, figure.value, unit, terms={**terms_of(figure), **(terms or {})})


def _event_f1(name: str, judged: Judged) -> Row:
    found = judged.events
    if judged.asked.target is None or not judged.asked.has_events or found.f1 is None:
        return Row(name, None, "ratio: there were no events and none due")
    terms = {"found": found.num_found, "starts": found.num_starts, "spans": found.num_spans}
    return Row(name, found.f1, "ratio", terms=terms)


def _agreement(name: str, judged: Judged, first: Judged) -> Row:
    """Compare what was published at the same moments, labelled or not."""
    theirs = {(one.clip, round(one.t_s, 1)): one.said for one in first.moments}
    both = [
        theirs[key] == one.said
        for one in judged.moments
        if (key := (one.clip, round(one.t_s, 1))) in theirs
    ]
    if not both:
        return Row(name, None, "ratio: no moment was asked about in both")
    return Row(name, sum(both) / len(both), "ratio", terms={"agree": sum(both), "of": len(both)})
