"""Every true event one start and one end: what was announced, against what was true.

A question's time is cut where the truth turns. A piece is *plain* where the worker could look at it
for `CONFIRMED_MS` at a stretch: not dead, not held, the camera there. A plain event must be
announced, once; a plain pause must end the event before it. What is not plain may go unnoticed: an
event may be missed, and over a pause two events may be taken for one. Nothing else is excused, and
nothing may be announced that was not so, twice, or without an end.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from tests.chaos.reader import Entry, ms_of
from tests.chaos.record import Record, Verdict
from tests.chaos.truth import CAMERAS, QUESTIONS, Span, Watched, joined, without

CONFIRMED_MS = (
    2500  # two answers of three, half a second apart; 1.2 s, on a machine that is not busy
)
BACK_MS = 1500  # for a camera to be connected to again, and for its first picture
SLOW_MS = 1500  # between two answers that are due every 500 ms: the machine was busy with others
SLOWEST_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Announced:
    """An event as its messages tell it."""

    event_id: str
    span: Span


@dataclass(frozen=True, slots=True)
class Piece:
    """A time between two turns of the truth.

    Attributes:
        span: it.
        is_on: whether the event truly was.
        seen_ms: since when it could be seen for long enough; inf where it could not.
    """

    span: Span
    is_on: bool
    seen_ms: float

    @property
    def is_plain(self) -> bool:
        return self.seen_ms < inf


def judge_events(record: Record) -> Verdict:
    found = Verdict()
    announced = announced_in(record.of("event"), found)
    num_missed = num_merged = 0
    slow_ms = 0.0
    for watched, true in record.truth.spans.items():
        away = _away(record, watched)
        slow = _slow(record, watched, away=away)
        slow_ms += sum(one.length_ms for one in slow)
        pieces = pieces_of(true, unseen=joined([*away, *slow]))
        missed, merged = judge_one(watched, pieces, announced[watched], found)
        num_missed += missed
        num_merged += merged
    watched_ms = sum(
        true[-1].end_ms - true[0].begin_ms for true in record.truth.spans.values() if true
    )
    found.wants(slow_ms <= SLOWEST_SHARE * watched_ms, f"answers were late for {slow_ms} ms in all")
    found.figures |= {
        "true_events": record.truth.num_events,
        "announced": sum(len(mine) for mine in announced.values()),
        "missed_while_unseen": num_missed,
        "merged_while_unseen": num_merged,
        "slow_share": round(slow_ms / watched_ms, 4),
    }
    _judge_answers(record, found)
    return found


def pieces_of(true: Sequence[Span], *, unseen: Sequence[Span]) -> list[Piece]:
    """Cut a question's time where the truth turns."""
    turns = [-inf, *(at_ms for one in true for at_ms in (one.begin_ms, one.end_ms)), inf]
    pieces = []
    for place, (begin_ms, end_ms) in enumerate(pairwise(turns)):
        span = Span(begin_ms, end_ms)
        long = (one for one in without(span, unseen) if one.length_ms >= CONFIRMED_MS)
        seen_ms = next((one.begin_ms for one in long), inf)
        pieces.append(Piece(span, place % 2 == 1, seen_ms))
    return pieces


def judge_one(
    watched: Watched,
    pieces: Sequence[Piece],
    announced: Sequence[Announced],
    found: Verdict,
    *,
    latest_ms: float = CONFIRMED_MS,
) -> tuple[int, int]:
    """Judge one question of one camera; return how many events were missed, and how many merged."""
    times = [0] * len(pieces)
    for one in announced:
        said = f"{watched} {one.event_id}, {one.span}"
        first, last = _place(pieces, one.span.begin_ms), _place(pieces, one.span.end_ms)
        found.wants(pieces[first].is_on, f"{said}: began where nothing was")
        found.wants(not pieces[last].is_on, f"{said}: ended where it still was")
        for piece in pieces[first + 1 : last]:
            found.wants(piece.is_on or not piece.is_plain, f"{said}: went on over {piece}")
        for name, at_ms, piece in (
            ("start", one.span.begin_ms, pieces[first]),
            ("end", one.span.end_ms, pieces[last]),
        ):
            late_ms = at_ms - piece.seen_ms
            found.wants(late_ms <= latest_ms, f"{said}: {name} {late_ms} ms late")
        for place in range(first, last):
            times[place] += pieces[place].is_on
    for piece, number in zip(pieces, times, strict=True):
        is_right = number == 1 or (number == 0 and not piece.is_plain)
        found.wants(not piece.is_on or is_right, f"{watched}: {number} events for {piece}")
    num_noticed = sum(map(bool, times))
    return sum(one.is_on for one in pieces) - num_noticed, num_noticed - len(announced)


def _place(pieces: Sequence[Piece], at_ms: float) -> int:
    return next(n for n, one in enumerate(pieces) if one.span.begin_ms <= at_ms < one.span.end_ms)


def announced_in(events: Iterable[Entry], found: Verdict) -> dict[Watched, list[Announced]]:
    """Put the messages of each event together, which come by their numbers."""
    by_id: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in events:
        by_id[entry.said["event_id"]].append(entry)
    announced: defaultdict[Watched, list[Announced]] = defaultdict(list)
    for event_id, told in by_id.items():
        phases = [one.said["phase"] for one in told]
        about = {(one.lane[0], one.said["question_id"]) for one in told}
        starts = {one.said["started_at"] for one in told}
        said = f"{about} {event_id}: {phases}"
        is_whole = (
            phases[0] == "start"
            and phases[-1] == "end"
            and set(phases[1:-1]) <= {"update"}
            and len(about) == len(starts) == 1
        )
        found.wants(is_whole, f"{said}: no start, updates and end of one event")
        if not is_whole:
            continue
        last = told[-1].said
        begin_ms, end_ms = ms_of(last["started_at"]), ms_of(last["ended_at"])
        found.wants(begin_ms <= end_ms, f"{said}: ended before it started")
        found.wants(last["reason"] == "answer", f"{said}: ended by {last['reason']}")
        announced[about.pop()].append(Announced(event_id, Span(begin_ms, end_ms)))
    return announced


def _away(record: Record, watched: Watched) -> list[Span]:
    """When nobody could look, by what was done."""
    return joined([*record.dead, *_gone(record, watched[0])])


def _gone(record: Record, camera_id: str) -> list[Span]:
    """When the worker could not have its camera; one that is held does not connect again."""
    gone = [
        one.span.wider(after_ms=BACK_MS)
        for one in record.timeline.of("camera")
        if one.about == camera_id
    ]
    held = [
        dead.wider(after_ms=BACK_MS)
        for dead in record.dead
        if any(one.begin_ms <= dead.begin_ms <= one.end_ms for one in gone)
    ]
    return [*gone, *held]


def _slow(record: Record, watched: Watched, *, away: Sequence[Span]) -> list[Span]:
    """When answers did not come as often as they should, though they could have."""
    sound = sorted(
        ms_of(one.said["captured_at"])
        for one in record.of("answer")
        if (one.lane[0], one.said["question_id"]) == watched and one.said["reason"] is None
    )
    gaps = (Span(*pair) for pair in pairwise(sound))
    return [
        left
        for gap in gaps
        if gap.length_ms > SLOW_MS
        for left in without(gap, away)
        if left.length_ms > SLOW_MS
    ]


def _judge_answers(record: Record, found: Verdict) -> None:
    """Every sound answer is true of its picture; the others say that the camera is away."""
    gone = {camera_id: _gone(record, camera_id) for camera_id in CAMERAS}
    unknown: defaultdict[str, list[float]] = defaultdict(list)
    for entry in record.of("answer"):
        camera_id, said = entry.lane[0], entry.said
        if said["reason"] is None:
            at_ms = ms_of(said["captured_at"])
            wanted = record.truth.answer((camera_id, said["question_id"]), at_ms)
            found.wants(said["answer"] == wanted, f"{entry}: {wanted} was true")
            continue
        unknown[camera_id].append(entry.made_ms)
        is_away = any(one.begin_ms <= entry.made_ms <= one.end_ms for one in gone[camera_id])
        found.wants(said["reason"] == "stalled" and is_away, f"{entry}: the camera was there")
    for fault in record.timeline.of("camera"):
        if any(without_worker(record, fault.span.wider(before_ms=5000))):
            continue
        told = [at for at in unknown[fault.about] if fault.begin_ms <= at <= fault.end_ms + BACK_MS]
        wanted_number = len(QUESTIONS) * (fault.span.length_ms // 1000 - 1)
        found.wants(
            len(told) >= wanted_number, f"{fault}: {len(told)} unknown answers, {wanted_number} due"
        )


def without_worker(record: Record, span: Span) -> list[Span]:
    """When in a span no worker ran."""
    return [one for one in record.dead if one.begin_ms < span.end_ms and span.begin_ms < one.end_ms]
