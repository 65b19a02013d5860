"""Drawings of a report as SVG: probabilities over time above the truth, and reliability."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from worker.evaluation.labelled.judging import Judged, Moment, Placed
from worker.evaluation.labelled.playing import Told
from worker.evaluation.labelled.scores import Bin

ROW_S = 1800.0  # a longer clip is drawn in several rows
WIDTH, LEFT, RIGHT = 1060.0, 74.0, 14.0
TOP, CURVE, LANE, GAP, FOOT = 10.0, 150.0, 12.0, 6.0, 22.0
SIDE = 220.0
_STEPS_S = (5, 10, 30, 60, 120, 300, 600)
_MAX_TICKS = 13
_MAX_GAP = 3.5  # answers so many periods apart are not joined by a line


@dataclass(frozen=True, slots=True)
class Row:
    """Part of a clip in one row: where a second lies.

    Attributes:
        start_s: its left edge.
        end_s: its right edge.
    """

    start_s: float
    end_s: float

    def x(self, t_s: float) -> float:
        """Return where a second lies; what is outside lies on the edge."""
        share = (t_s - self.start_s) / (self.end_s - self.start_s)
        return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, share))

    def shows(self, start_s: float, end_s: float) -> bool:
        """Say whether some of a stretch is in it."""
        return start_s < self.end_s and end_s > self.start_s


def timeline(judged: Judged, place: Placed, events: Sequence[Told]) -> str:
    """Draw a clip: p with its thresholds, and beneath it what is true and what was announced."""
    num_rows = max(1, round(place.until_s / ROW_S))
    length_s = place.until_s / num_rows
    rows = [Row(number * length_s, (number + 1) * length_s) for number in range(num_rows)]
    return "".join(_timeline_row(judged, place, events, row) for row in rows)


def _timeline_row(judged: Judged, place: Placed, events: Sequence[Told], row: Row) -> str:
    height = TOP + CURVE + 2 * (GAP + LANE) + FOOT
    label = f"{place.clip}, {clock(row.start_s)} to {clock(row.end_s)}"
    parts = [
        f'<svg class="line" viewBox="0 0 {WIDTH:g} {height:g}" role="img" '
        f'aria-label="{escape(label)}">',
        *_axes(row),
        *_truth_behind(place, row),
        *_thresholds(judged, row),
        *_curve(judged, place, row),
        *_lanes(place, events, row),
        "</svg>",
    ]
    return "".join(parts)


def _y(p: float) -> float:
    return TOP + CURVE * (1.0 - p)


def _axes(row: Row) -> Iterator[str]:
    right, bottom = WIDTH - RIGHT, TOP + CURVE
    for p in (0.0, 0.5, 1.0):
        yield f'<line class="grid" x1="{LEFT:g}" x2="{right:g}" y1="{_y(p):g}" y2="{_y(p):g}"/>'
        yield _text(LEFT - 8, _y(p) + 4, f"{p:g}", anchor="end")
    span_s = row.end_s - row.start_s
    step_s = next((one for one in _STEPS_S if span_s / one <= _MAX_TICKS), _STEPS_S[-1])
    foot = bottom + 2 * (GAP + LANE)
    tick_s = -(-row.start_s // step_s) * step_s
    while tick_s <= row.end_s:
        x = row.x(tick_s)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP:g}" y2="{foot:g}"/>'
        yield _text(x, foot + 16, clock(tick_s), anchor="middle")
        tick_s += step_s


def _truth_behind(place: Placed, row: Row) -> Iterator[str]:
    for kind, spans in (("so", place.spans), ("open", place.open)):
        for start_s, end_s in spans:
            if row.shows(start_s, end_s):
                yield _bar(row, start_s, end_s, top=TOP, height=CURVE, kind=f"behind {kind}")


def _thresholds(judged: Judged, row: Row) -> Iterator[str]:
    asked = judged.asked
    if asked.kind == "yes_no":
        low, high = asked.doubt.band
        if asked.target == "no":
            low, high = 1 - high, 1 - low
        if high > low:
            yield (
                f'<rect class="doubt" x="{LEFT:g}" width="{WIDTH - LEFT - RIGHT:g}" '
                f'y="{_y(high):g}" height="{CURVE * (high - low):g}"/>'
            )
    for name, p in (("enter", asked.rule.enter), ("exit", asked.rule.exit)):
        yield (
            f'<line class="{name}" x1="{row.x(row.start_s):g}" x2="{WIDTH - RIGHT:g}" '
            f'y1="{_y(p):g}" y2="{_y(p):g}"/>'
        )
        yield _text(LEFT - 8, _y(p) + 4, f"{name} {p:g}", anchor="end", kind=name)


def _curve(judged: Judged, place: Placed, row: Row) -> Iterator[str]:
    mine = [
        one
        for one in judged.moments
        if one.clip == place.clip and row.start_s <= one.t_s <= row.end_s
    ]
    run: list[Moment] = []
    for one in mine:
        is_far = bool(run) and one.t_s - run[-1].t_s > _MAX_GAP * judged.asked.every_s
        if run and (one.p is None or is_far):
            yield _polyline(run, row)
            run = []
        if one.p is not None:
            run.append(one)
        else:
            yield f'<circle class="mute" cx="{row.x(one.t_s):.1f}" cy="{_y(0.5):g}" r="2"/>'
    if run:
        yield _polyline(run, row)
    for one in mine if len(mine) <= 400 else ():
        if one.p is not None:
            words = f"{clock(one.t_s)}  p {one.p:.2f}, said {one.said}; right: {one.value}"
            yield (
                f'<circle class="dot" cx="{row.x(one.t_s):.1f}" cy="{_y(one.p):.1f}" r="2.2">'
                f"<title>{escape(words)}</title></circle>"
            )


def _polyline(run: Sequence[Moment], row: Row) -> str:
    points = " ".join(f"{row.x(one.t_s):.1f},{_y(one.p or 0.0):.1f}" for one in run)
    return f'<polyline class="p" points="{points}"/>'


def _lanes(place: Placed, events: Sequence[Told], row: Row) -> Iterator[str]:
    truth_y, event_y = TOP + CURVE + GAP, TOP + CURVE + 2 * GAP + LANE
    yield _text(LEFT - 8, truth_y + 10, "labels", anchor="end")
    yield _text(LEFT - 8, event_y + 10, "events", anchor="end")
    missed = {one.at_s for one in place.found if one.what == "missed"}
    counted = missed | {one.at_s for one in place.found if one.what == "found"}
    false = {one.at_s for one in place.found if one.what == "false"}
    for start_s, end_s in place.open:
        if row.shows(start_s, end_s):
            yield _bar(row, start_s, end_s, top=truth_y, height=LANE, kind="open")
    for start_s, end_s in place.spans:
        if row.shows(start_s, end_s):
            begun_s = next(
                (x.start_s for x in place.due if x.start_s <= start_s < x.end_s), start_s
            )
            is_missed, counts = begun_s in missed, begun_s in counted
            words = f"labels: {clock(start_s)} to {clock(end_s)}" + (", missed" * is_missed)
            words += "" if counts else ", too short for an event"
            kind = "missed" if is_missed else "so" if counts else "so short"
            yield _bar(row, start_s, end_s, top=truth_y, height=LANE, kind=kind, words=words)
    for one in events:
        end_s = place.until_s if one.end_s is None else one.end_s
        if row.shows(one.start_s, end_s):
            is_false = one.start_s in false
            words = f"event: {clock(one.start_s)} to {clock(end_s)}, announced at "
            words += clock(one.announced_s) + (", false" * is_false)
            kind = "false" if is_false else "event"
            yield _bar(row, one.start_s, end_s, top=event_y, height=LANE, kind=kind, words=words)


def reliability(bins: Sequence[Bin]) -> str:
    """Draw how often it was so, by probability; on the diagonal p means what it says."""
    left, top = 44.0, 10.0
    inner = SIDE - left - 12
    side = top + inner + 36
    most = max((one.number for one in bins), default=1)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + inner * x, top + inner * (1 - y)

    (x0, y0), (x1, y1) = at(0, 0), at(1, 1)
    parts = [
        f'<svg class="square" viewBox="0 0 {SIDE:g} {side:g}" role="img" aria-label="reliability">',
        f'<rect class="frame" x="{x0:g}" y="{y1:g}" width="{inner:g}" height="{inner:g}"/>',
        f'<line class="ideal" x1="{x0:g}" y1="{y0:g}" x2="{x1:g}" y2="{y1:g}"/>',
    ]
    for value in (0.0, 0.5, 1.0):
        x, y = at(value, value)
        parts += [
            _text(x, y0 + 18, f"{value:g}", anchor="middle"),
            _text(x0 - 12, y + 4, f"{value:g}", anchor="end"),
        ]
    points = [at(one.mean_p, one.share_true) for one in bins]
    for one, (x, y) in zip(bins, points, strict=True):
        words = f"p about {one.mean_p:.2f}: so in {one.share_true:.0%} of {one.number} answers"
        radius = 2.5 + 6 * (one.number / most) ** 0.5
        parts.append(
            f'<circle class="bin" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">'
            f"<title>{escape(words)}</title></circle>"
        )
    words = "how often it is so, over p"
    parts.append(_text(left + inner / 2, side - 3, words, anchor="middle"))
    return "".join([*parts, "</svg>"])


def clock(t_s: float) -> str:
    """Write seconds of a clip as people read them."""
    minutes, seconds = divmod(t_s, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = (
        f"{seconds:04.1f}" if round(seconds % 1, 1) not in (0.0, 1.0) else f"{round(seconds):02d}"
    )
    return f"{hours}:{minutes:02d}:{text}" if hours else f"{minutes}:{text}"


def _bar(
    row: Row,
    start_s: float,
    end_s: float,
    *,
    top: float,
    height: float,
    kind: str,
    words: str = "",
) -> str:
    x, until = row.x(start_s), row.x(end_s)
    title = f"<title>{escape(words)}</title>" if words else ""
    return (
        f'<rect class="{kind}" x="{x:.1f}" width="{max(1.5, until - x):.1f}" y="{top:g}" '
        f'height="{height:g}">{title}</rect>'
    )


def _text(x: float, y: float, words: str, *, anchor: str, kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
