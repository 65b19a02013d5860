"""One self-contained page: how right the model is, shown rather than told."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from model.training.labels import told
from pipeline.clock import SystemClock
from worker.benchmarks.report import commit, machine
from worker.evaluation.labelled.confidence import Figure
from worker.evaluation.labelled.drawing import clock, reliability, timeline
from worker.evaluation.labelled.judging import Judged
from worker.evaluation.labelled.pictures import At, Mistake, pictures, worst
from worker.evaluation.labelled.report import Report
from worker.evaluation.labelled.style import STYLE
from worker.evaluation.labelled.suggestions import Suggestion
from worker.evaluation.labelled.ways import Run, cost_rows
from worker.settings import Settings

_KEYS = {
    "p": "probability of the event",
    "so": "so by the labels",
    "missed": "missed",
    "open": "nobody can tell",
    "event": "event",
    "false": "false event",
    "doubt": "published as unknown",
}
_LEGEND = "".join(f'<span><i class="key {key}"></i>{words}</span> ' for key, words in _KEYS.items())


DOCTYPE = "<!doctype html>"


def page(report: Report, settings: Settings, *, command: str) -> str:
    """Write the page as HTML; it needs nothing beside it."""
    judged = report.run.judged
    mistakes = {key: worst(one) for key, one in judged.items()}
    at = [(one.moment.clip, one.moment.t_s) for mine in mistakes.values() for one in mine]
    clips = [one.clip for one in report.run.played]
    shown = pictures(settings, clips, at, clock=SystemClock())
    minutes = sum(one.until_s for one in report.run.played) / 60
    model = escape(settings.model.path)
    parts = [
        DOCTYPE,
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{model}: how right on these videos</title><style>{STYLE}</style></head><body>",
        "<header><h1>How right are the answers?</h1>",
        f"<p>{model} on {len(clips)} video(s), {minutes:.1f} minutes, as "
        f"<code>VIGIL_FIDELITY={settings.fidelity}</code> has it</p></header><main>",
        _summary(judged),
        _cost(report.run),
        *_said(report),
        *(_question(report, one, mistakes[key], shown) for key, one in judged.items()),
        *_wordings(report),
        *_ways(report.compared),
        f"<footer><code>{escape(command)}</code><br>commit {escape(commit())}, "
        f"{escape(machine())}. In brackets: where the true figure lies in 95 of 100 cases, by "
        "blocks of time; a figure without them has too little behind it.</footer>",
        "</main></body></html>",
    ]
    return "\n".join(parts)


def _summary(judged: Mapping[str, Judged]) -> str:
    rows = []
    for key, one in judged.items():
        answers, found = one.answers, one.events
        right = answers["accuracy"] if "accuracy" in answers else answers["f1"]
        what = "accuracy" if "accuracy" in answers else "F1"
        num_false = found.num_starts - found.num_found
        delay = "-" if found.median_delay_s is None else f"{found.median_delay_s:g} s"
        unknown = "-" if one.unknown_share is None else f"{one.unknown_share:.0%}"
        has_events = one.asked.target is not None and one.asked.has_events
        rows.append(
            f'<tr><th><a href="#{escape(key)}">{escape(one.asked.words)}</a></th>'
            f"<td>{_figure(one.average_precision)}</td><td>{what} {_figure(right)}</td>"
            + (
                f"<td>{found.num_found} of {found.num_spans}</td><td>{num_false}</td>"
                f"<td>{delay}</td>"
                if has_events
                else "<td>-</td><td>-</td><td>-</td>"
            )
            + f"<td>{unknown}</td></tr>"
        )
    head = "<tr><th>question</th><th>separates (average precision)</th><th>answers</th>"
    head += "<th>events found</th><th>false</th><th>median delay</th><th>unknown</th></tr>"
    return f'<div class="wide"><table>{head}{"".join(rows)}</table></div>'


def _cost(run: Run) -> str:
    kept, seconds = cost_rows(run.played)
    if kept.value is None or seconds.value is None:
        return ""
    return (
        f"<p>The model was given {kept.value:.0%} of the tokens and took {seconds.value:.1f} s for "
        "a minute of video.</p>"
    )


def _said(report: Report) -> Iterator[str]:
    groups = (
        ("Labels", told(report.problems), "warn"),
        ("To know", [*report.doubts, *report.notes], ""),
    )
    for title, lines, kind in groups:
        if lines:
            items = "".join(f"<li>{escape(line)}</li>" for line in lines)
            yield f'<section class="said {kind}"><h2>{title}</h2><ul>{items}</ul></section>'


def _question(
    report: Report, judged: Judged, mistakes: Sequence[Mistake], shown: Mapping[At, str]
) -> str:
    asked = judged.asked
    parts = [
        f'<section id="{escape(asked.question_id)}"><h2>{escape(asked.words)} '
        f"<small>{escape(asked.question_id)}</small></h2>",
        f"<p>{escape(_sentence(judged))}</p>",
    ]
    if asked.target is not None:
        parts.append(f'<p class="legend">{_LEGEND}</p>')
        for place, played in zip(judged.places, judged.played, strict=True):
            events = [one for one in played.events if one.question_id == asked.question_id]
            parts.append(f"<h3>{escape(played.clip.path.name)}</h3>")
            parts.append(f'<div class="wide">{timeline(judged, place, events)}</div>')
    aside = []
    if judged.bins:
        words = "Brier score" + (f" {judged.brier:.3f}" if judged.brier is not None else "")
        aside.append(
            f"<figure>{reliability(judged.bins)}<figcaption>Does p mean what it says? On the "
            f"dashed line it does. {words}, off by {judged.calibration_error or 0:.2f} in the "
            "mean.</figcaption></figure>"
        )
    if suggestion := report.suggestions.get(asked.question_id):
        aside.append(_suggestion(suggestion))
    parts += [f'<div class="aside">{"".join(aside)}</div>', _worst(mistakes, shown), "</section>"]
    return "".join(parts)


def _sentence(judged: Judged) -> str:
    found, minutes = judged.events, judged.total_s / 60
    words = f"{len(judged.moments)} answers in {minutes:.1f} minutes, {len(judged.known)} of them "
    words += "where the labels say what is right."
    if judged.asked.target is None:
        return words + " No event: EVENT_ON names no answer."
    if not judged.asked.has_events:
        return words + " No event: EVENTS is false."
    num_false = found.num_starts - found.num_found
    words += f" {found.num_found} of {found.num_spans} true events found, {num_false} false"
    if found.median_delay_s is not None:
        words += f", {found.median_delay_s:g} s after they began in the median"
    return words + "."


def _suggestion(suggestion: Suggestion) -> str:
    why = suggestion.why[:1].upper() + suggestion.why[1:]
    lines = "\n".join(suggestion.lines)
    block = f"<pre>{escape(lines)}</pre>" if lines else ""
    title = "Suggested settings" if lines else "Settings"
    return f'<div class="suggestion"><h3>{title}</h3>{block}<p>{escape(why)}.</p></div>'


def _worst(mistakes: Sequence[Mistake], shown: Mapping[At, str]) -> str:
    cards = []
    for one in mistakes:
        moment = one.moment
        source = shown.get((moment.clip, moment.t_s))
        image = f'<img src="{source}" alt="">' if source else ""
        p = "" if moment.p is None else f"p {moment.p:.2f}, "
        cards.append(
            f"<figure>{image}<figcaption><b>{escape(moment.clip)} {clock(moment.t_s)}</b> "
            f"{p}said {escape(moment.said)}; right: {escape(moment.value)}</figcaption></figure>"
        )
    if not cards:
        return "<p>No answer was wrong by more than a half.</p>"
    return f'<h3>The worst moments</h3><div class="cards">{"".join(cards)}</div>'


def _wordings(report: Report) -> Iterator[str]:
    for question_id, wordings in report.wordings.items():
        rows = "".join(
            f"<tr><th>{escape(one.judged.asked.words)}{' (present)' * one.is_present}</th>"
            f"<td>{_figure(one.judged.average_precision)}</td>"
            f"<td>{_f1((one.suggestion.suggested or one.judged.events).f1)}</td></tr>"
            for one in wordings
        )
        lines = "\n".join(wordings[0].lines)
        block = f"<pre>{escape(lines)}</pre>" if lines else ""
        yield (
            f"<section><h2>Wordings of {escape(question_id)}</h2>"
            '<div class="wide"><table><tr><th>asked</th><th>separates</th>'
            f"<th>events F1, its thresholds</th></tr>{rows}</table></div>{block}"
            f"<p>{escape(wordings[0].verdict)}.</p></section>"
        )


def _ways(compared: Sequence[Run]) -> Iterator[str]:
    if not compared:
        return
    rows = []
    for run in compared:
        kept, seconds = cost_rows(run.played)
        cells = "".join(
            f"<td>{_figure(one.average_precision)}</td><td>{_f1(one.events.f1)}</td>"
            for one in run.judged.values()
        )
        rows.append(
            f"<tr><th>{escape(run.way)}</th><td>{kept.value or 0:.0%}</td>"
            f"<td>{seconds.value or 0:.1f} s</td>{cells}</tr>"
        )
    head = "<tr><th>way</th><th>tokens</th><th>model, for a minute</th>" + "".join(
        f"<th>{escape(key)}: separates</th><th>events F1</th>" for key in compared[0].judged
    )
    yield (
        "<section><h2>What cheaper ways cost</h2>"
        f'<div class="wide"><table>{head}</tr>{"".join(rows)}</table></div></section>'
    )


def _figure(figure: Figure) -> str:
    if figure.value is None:
        return f'<abbr title="{escape(figure.why_none)}">-</abbr>'
    between = ""
    if figure.low is not None and figure.high is not None:
        between = f" <small>({figure.low:.2f} to {figure.high:.2f})</small>"
    return f"{figure.value:.2f}{between}"


def _f1(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
