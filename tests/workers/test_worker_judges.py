"""The judges of many workers find what they are there to find."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.messages import MessageKind
from tests.chaos.faults import Timeline
from tests.chaos.reader import Entry
from tests.chaos.record import Verdict
from tests.chaos.truth import Span, Truth
from tests.chaos.worker_process import Life
from tests.workers.judges import (
    judge_ages,
    judge_events,
    judge_fences,
    judge_messages,
    judge_owners,
    judge_records,
    judge_windows,
)
from tests.workers.record import Record, Sighting

TRUE = [Span(10_000, 25_000), Span(40_000, 60_000)]
FIRST_MS, HANDED_OVER_S = 1_000, 50


def time_of(at_ms: float) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def entry(kind: MessageKind, seq: int, *, at_ms: float, camera_id: str = "a", **said: Any) -> Entry:
    return Entry((camera_id, kind), at_ms, f"{camera_id} {kind} {seq}", seq, at_ms, said)


def answer(
    second: int, worker: str, *, term: int, reach_s: float = 40.0, camera_id: str = "a", **said: Any
) -> Entry:
    at_ms = 1000.0 * second
    about = {
        "worker_id": worker,
        "term": term,
        "captured_at": time_of(at_ms),
        "window": {"start": time_of(at_ms - 1000 * reach_s)},
        "frame_age_ms": 100,
    }
    return entry("answer", second, at_ms=at_ms, camera_id=camera_id, **{**about, **said})


def event(seq: int, phase: str, span: Span, *, name: str = "", **said: Any) -> Entry:
    about = {
        "question_id": "fire",
        "phase": phase,
        "event_id": name or f"event {span.begin_ms}",
        "started_at": time_of(span.begin_ms),
        "ended_at": time_of(span.end_ms) if phase == "end" else None,
        "reason": "answer" if phase == "end" else None,
    }
    return entry("event", seq, at_ms=1000.0 * seq, **{**about, **said})


def handed_over(
    *, reach_s: Sequence[float] = (), worker: str = "two", term: int = 2
) -> list[Entry]:
    """A hundred answers, the later half by another worker, whose windows grow from nothing."""
    later = range(HANDED_OVER_S, 100)
    reaches = {second: float(second - HANDED_OVER_S + 10) for second in later}
    reaches |= dict(zip(later, reach_s, strict=False))
    return [answer(second, "one", term=1) for second in range(1, HANDED_OVER_S)] + [
        answer(second, worker, term=term, reach_s=reaches[second]) for second in later
    ]


def record(*entries: Entry, **others: Any) -> Record:
    """A run in which all went well for one camera."""
    about: dict[str, Any] = {
        "truth": Truth({("a", "fire"): TRUE}),
        "timeline": Timeline(),
        "lives": {},
        "entries": entries,
        "heard": Counter(one.id for one in entries),
        "sightings": [],
        "fenced": {},
        "shown": {"a": "two"},
        "running": {"two"},
        "resumed": None,
        "first_ms": FIRST_MS,
    }
    return Record(**{**about, **others})


def said_by(judge: Any, judged: Record) -> str:
    found = Verdict()
    judge(judged, found)
    return "\n".join(found.broken)


FIRST, SECOND = Span(11_000, 26_500), Span(41_000, 61_500)
WELL = [event(1, "start", FIRST), event(2, "end", FIRST), event(3, "start", SECOND)]


@pytest.mark.parametrize(
    ("entries", "broken"),
    [
        ([*WELL, event(4, "end", SECOND)], ""),
        (WELL, "no start, updates and end of one event"),
        (WELL[:2], "0 events for"),
        ([*WELL, event(4, "start", SECOND, name="again"), event(5, "end", SECOND)], "no start"),
        (
            [
                *WELL,
                event(4, "end", SECOND),
                event(5, "start", SECOND, name="again"),
                event(6, "end", SECOND, name="again"),
            ],
            "2 events for",
        ),
        ([*WELL, event(4, "end", SECOND, reason="stale")], "ended by stale"),
        ([*WELL[:1], event(2, "end", Span(11_000, 61_500))], "went on over"),
    ],
    ids=["well", "no end", "missed", "started twice", "two ids", "stale", "over a pause"],
)
def test_every_true_event_has_one_start_and_one_end(entries: list[Entry], broken: str) -> None:
    told = said_by(judge_events, record(*entries))
    assert bool(told) == bool(broken), told
    assert broken in told


def test_ids_come_once_and_numbers_without_gaps() -> None:
    one, two, three = (answer(second, "one", term=1) for second in (1, 2, 3))
    assert said_by(judge_messages, record(one, two, three)) == ""
    assert "1 ids twice in the streams" in said_by(judge_messages, record(one, two, two))
    assert "numbers missing: [2]" in said_by(judge_messages, record(one, three))
    assert "out of order" in said_by(judge_messages, record(one, three, two))
    doubled = replace(two, id="another worker's")
    assert "of two messages: [2]" in said_by(judge_messages, record(one, two, doubled))
    heard = Counter({one.id: 2})
    assert "1 ids twice on the channels" in said_by(judge_messages, record(one, heard=heard))
    heard = Counter({"fenced": 1})
    assert "heard and in no stream" in said_by(judge_messages, record(one, heard=heard))


def seen(at_ms: float, worker: str, state: str = "online") -> Sighting:
    return Sighting(at_ms, worker, {"a": state})


@pytest.mark.parametrize(
    ("sightings", "disturbed", "broken"),
    [
        ([seen(1000, "one"), seen(1100, "two", "offline"), seen(1500, "one")], [], ""),
        ([seen(1000, "one"), seen(1100, "two")], [], "watched at ['one', 'two']"),
        ([seen(1000, "one"), seen(1100, "two", "degraded")], [], "watched at ['one', 'two']"),
        ([seen(1000, "one"), seen(1100, "one", "offline")], [], "watched at []"),
        ([seen(1000, "one"), seen(1100, "two")], [Span(1050, 3000)], ""),
        ([seen(1000, "one"), seen(9000, "two")], [], ""),
    ],
    ids=[
        "one",
        "two",
        "two, of which one is late",
        "none",
        "while it changes hands",
        "one that does not answer any more",
    ],
)
def test_a_camera_is_watched_by_exactly_one_worker(
    sightings: list[Sighting], disturbed: list[Span], broken: str
) -> None:
    judged = record(sightings=sightings, disturbed=disturbed)
    told = said_by(judge_owners, judged)
    assert bool(told) == bool(broken), told
    assert broken in told


def test_at_the_end_a_camera_is_that_of_a_worker_that_runs() -> None:
    told = said_by(judge_owners, record(shown={"a": "one"}))
    assert "its hash has one at the end, ['two'] ran" in told


def test_a_window_that_is_not_rebuilt_is_found() -> None:
    assert said_by(judge_windows, record(*handed_over())) == ""
    told = said_by(judge_windows, record(*handed_over(reach_s=[5.0] * 50)))
    assert "reaches back 5.0 s of 30.0" in told
    short = [second * 0.7 for second in range(50)]
    assert "of 30.0" in said_by(judge_windows, record(*handed_over(reach_s=short)))
    assert "no takeover" in said_by(judge_windows, record(*handed_over()[:40]))


def test_a_window_is_judged_up_to_the_next_takeover() -> None:
    """Whoever has a camera again after a while builds its window anew."""
    there = [one for one in handed_over(reach_s=[5.0] * 50) if one.seq < HANDED_OVER_S + 10]
    back = [answer(second, "one", term=3) for second in range(HANDED_OVER_S + 10, 75)]
    again = [answer(second, "two", term=4, reach_s=5.0) for second in range(75, 78)]
    judged = record(*there, *back, *again)
    assert [one.new for one in judged.takeovers] == ["two", "one", "two"]
    assert [len(one.answers) for one in judged.takeovers] == [10, 15, 3]
    assert said_by(judge_windows, judged) == ""


def test_a_window_reaches_back_no_further_than_there_are_pictures() -> None:
    began_late = record(*handed_over(reach_s=[10.0] * 50), first_ms=69_000)
    assert said_by(judge_windows, began_late) == ""


def others(age_ms: float) -> list[Entry]:
    """Answers about another camera, whose age around the takeover of the first is this."""
    around = range(HANDED_OVER_S - 5, HANDED_OVER_S + 10)
    return [
        answer(
            second,
            "three",
            term=1,
            camera_id=camera_id,
            frame_age_ms=age_ms if second in around else 100,
        )
        for second in range(1, 100)
        for camera_id in ("b", "c", "d")
    ]


def test_others_that_wait_for_a_takeover_are_found() -> None:
    assert said_by(judge_ages, record(*handed_over(), *others(140))) == ""
    told = said_by(judge_ages, record(*handed_over(), *others(160)))
    assert "p95 age of the others beside takeovers 160 ms, without 100 ms" in told
    assert "ages of 0 answers" in said_by(judge_ages, record(*handed_over()))
    assert said_by(judge_ages, record(*handed_over(), *others(900), is_long=False)) == ""
    late = said_by(judge_ages, record(*handed_over(), *others(1100), is_long=False))
    assert "takeovers 1100 ms" in late


def test_what_waited_of_the_camera_that_was_taken_over_is_nobody_elses() -> None:
    mine = [
        replace(one, said={**one.said, "frame_age_ms": 30_000})
        if HANDED_OVER_S <= one.seq < HANDED_OVER_S + 30
        else one
        for one in handed_over()
    ]
    assert said_by(judge_ages, record(*mine, *others(140))) == ""


def test_a_dead_letter_is_found() -> None:
    life = Life(0.0, log=[{"event": "record_dead_lettered", "partition": 3, "offset": 7}])
    told = said_by(judge_records, record(lives={"two": [life]}))
    assert "[(3, 7)]" in told
    assert said_by(judge_records, record(lives={"two": [Life(0.0)]})) == ""


def test_an_owner_that_goes_on_after_it_was_taken_over_is_found() -> None:
    assert said_by(judge_fences, record(*handed_over())) == ""
    assert "two has no newer term" in said_by(judge_fences, record(*handed_over(term=1)))
    late = [*handed_over(), answer(101, "one", term=1)]
    assert "an older term came after a newer one" in said_by(judge_fences, record(*late))


def test_a_resumed_owner_of_whose_messages_none_was_refused_is_found() -> None:
    judged = record(*handed_over(), resumed="one", fenced={"two": 1.0})
    assert "nothing of its was refused" in said_by(judge_fences, judged)
    assert said_by(judge_fences, replace(judged, fenced={"one": 2.0})) == ""
