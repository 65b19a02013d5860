"""The judges of the chaos test find what they are there to find."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.messages import MessageKind
from tests.chaos.faults import Fault, Timeline
from tests.chaos.judge_events import Announced, judge_events, judge_one, pieces_of
from tests.chaos.judge_messages import judge_messages
from tests.chaos.judge_metrics import judge_metrics
from tests.chaos.monitor import Sample, series_of
from tests.chaos.reader import Entry
from tests.chaos.record import Record, Verdict
from tests.chaos.storm import SetAside
from tests.chaos.truth import Span, Truth
from tests.chaos.worker_process import Life

WATCHED = ("gate", "fire")
TRUE = [Span(10_000, 20_000), Span(25_000, 30_000)]
OVER_PAUSE, OVER_FIRST = Span(19_500, 26_000), Span(9_000, 19_000)


@pytest.mark.parametrize(
    ("told", "unseen", "broken", "excused"),
    [
        ([(10_400, 20_300), (25_100, 30_200)], [], "", (0, 0)),
        ([(10_400, 20_300)], [], "0 events", (1, 0)),
        ([(25_100, 30_200)], [OVER_FIRST], "", (1, 0)),
        ([(10_400, 20_300), (25_100, 30_200)], [OVER_FIRST], "", (0, 0)),
        ([(10_400, 30_200)], [], "went on over", (0, 1)),
        ([(10_400, 30_200)], [OVER_PAUSE], "", (0, 1)),
        ([(10_400, 20_300), (25_100, 30_200), (28_000, 30_200)], [], "2 events", (0, -1)),
        ([(9_000, 20_300), (25_100, 30_200)], [], "began where nothing was", (0, 0)),
        ([(10_400, 19_000), (25_100, 30_200)], [], "ended where it still was", (1, -1)),
        ([(13_000, 20_300), (25_100, 30_200)], [], "start 3000 ms late", (0, 0)),
        ([(10_400, 24_000), (25_100, 30_200)], [], "end 4000 ms late", (0, 0)),
    ],
)
def test_what_is_announced_is_held_against_what_was_true(
    told: Sequence[tuple[int, int]],
    unseen: Sequence[Span],
    broken: str,
    excused: tuple[int, int],
) -> None:
    found = Verdict()
    announced = [Announced(str(number), Span(*span)) for number, span in enumerate(told)]
    assert judge_one(WATCHED, pieces_of(TRUE, unseen=unseen), announced, found) == excused
    assert bool(found.broken) == bool(broken), found.broken
    assert broken in "".join(found.broken)


def time_of(at_ms: float) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def entry(seq: int, kind: MessageKind = "event", *, at_ms: float = 0, **said: Any) -> Entry:
    at_ms = at_ms or 1000 * seq
    return Entry(
        ("gate", kind), at_ms, f"{kind} {seq}", seq, at_ms, {"question_id": "fire", **said}
    )


def event(seq: int, phase: str, span: Span, **said: Any) -> Entry:
    about = {
        "question_id": "fire",
        "phase": phase,
        "event_id": "e",
        "started_at": time_of(span.begin_ms),
        "ended_at": time_of(span.end_ms) if phase == "end" else None,
        "reason": "answer" if phase == "end" else None,
    }
    return entry(seq, **(about | said))


def sample(at_ms: float, reason: str = "", failures: Mapping[str, float] = {}) -> Sample:
    series = {("vigil_publish_failures_total", why): number for why, number in failures.items()}
    return Sample(
        at_ms,
        at_ms,
        0,
        {
            "publishing": {
                "state": "failing" if reason else "ok",
                "reason": reason,
                "set_aside": 0,
            },
            "outbox_depth": 0,
            "outbox": "ok",
            "cameras": {},
        },
        series | {("vigil_publishing_up",): float(not reason)},
    )


def record(*entries: Entry, samples: Sequence[Sample] = (), faults: Sequence[Fault] = ()) -> Record:
    """A run in which one worker lived from the beginning to the end, and one event was true."""
    return Record(
        truth=Truth({WATCHED: [Span(10_000, 20_000)]}),
        timeline=Timeline(list(faults)),
        lives=[Life(0, started_ms=1, ended_ms=100_000, was_told_to_stop=True, status=0)],
        paused=[],
        entries=entries,
        heard=Counter(one.id for one in entries),
        listened=[Span(0, 100_000)],
        samples=samples or [sample(90_000)],
        set_aside=[],
        shown={("gate", "event:fire"): entries[-1].id} if entries else {},
    )


SEEN = Span(10_400, 20_300)


@pytest.mark.parametrize(
    ("entries", "broken"),
    [
        ([event(1, "start", SEEN), event(2, "update", SEEN), event(3, "end", SEEN)], ""),
        ([event(1, "start", SEEN)], "no start, updates and end of one event"),
        ([event(1, "end", SEEN)], "no start, updates and end of one event"),
        ([event(1, "start", SEEN)] * 2 + [event(2, "start", SEEN)], "no start, updates and end"),
        ([event(1, "start", SEEN), event(2, "end", SEEN, reason="stale")], "ended by stale"),
        (
            [event(1, "start", SEEN), event(2, "end", SEEN, question_id="helmet")],
            "no start, updates and end of one event",
        ),
        ([], "0 events"),
    ],
)
def test_every_event_has_one_start_and_one_end(entries: Sequence[Entry], broken: str) -> None:
    found = judge_events(record(*entries)).broken
    assert bool(found) == bool(broken), found
    assert broken in "".join(found)


def test_an_answer_that_was_not_true_is_found() -> None:
    told = {"question_id": "fire", "reason": None, "captured_at": time_of(15_000)}
    assert "yes was true" in said_of({"answer": "no", **told})
    assert "yes was true" not in said_of({"answer": "yes", **told})
    assert "the camera was there" in said_of({"answer": "unknown", **told, "reason": "stalled"})


def said_of(answer: Mapping[str, Any]) -> str:
    return "\n".join(judge_events(record(entry(1, "answer", **answer))).broken)


def test_numbers_ids_and_channels_are_held_against_each_other() -> None:
    one, two, three = entry(1), entry(2), entry(3)

    def found(*entries: Entry, **others: Any) -> str:
        return "\n".join(judge_messages(replace(record(*entries), **others)).broken)

    assert found(one, two, three) == ""
    assert "numbers missing: [2]" in found(one, three)
    assert "out of order" in found(one, three, two)
    assert "of two messages: [2]" in found(one, two, replace(three, seq=2))
    assert "twice, id event 2" in found(one, two, replace(two, written_ms=2500), three)
    wiped = Timeline(wiped_ms=[2200])
    again = (one, two, replace(two, written_ms=2500), three)
    assert found(*again, timeline=wiped) == ""
    assert "heard and in no stream" in found(one, heard=Counter([one.id, "another"]))
    assert "heard more often" in found(one, heard=Counter([one.id] * 2))
    assert "not on the channel" in found(one, two, heard=Counter([one.id]))
    assert found(one, two, heard=Counter([one.id]), listened=[Span(0, 3000)]) == "", "as it was cut"
    gone = Fault("restarted", two.written_ms + 100, 9000, frozenset({"unreachable"}))
    went = Timeline(faults=[gone])
    assert found(one, two, heard=Counter([one.id]), timeline=went) == "", (
        "before it was on the wire"
    )
    assert "the newest is" in found(one, two, shown={("gate", "event:fire"): one.id})
    assert "the newest is" in found(one, two, shown={})
    assert found(one, two, shown={}, timeline=Timeline(wiped_ms=[2200])) == ""


@pytest.mark.parametrize(
    ("written_ms", "number", "is_right"),
    [((31_000, 31_001), 2, True), ((31_000, 12_500), 2, False), ((31_000, 31_001), 1, False)],
    ids=["all come at the next start", "one was never set aside", "one more comes"],
)
def test_what_was_set_aside_is_counted_to_the_message(
    written_ms: tuple[float, float], number: int, *, is_right: bool
) -> None:
    one, two, waited = entry(1, at_ms=12_000), entry(2, at_ms=12_500), entry(3, at_ms=15_500)
    entries = [
        replace(one, written_ms=written_ms[0]),
        replace(two, written_ms=written_ms[1]),
        replace(waited, written_ms=31_002),  # made when the key was free again; nobody took it
    ]
    run = record(*entries)
    line = {"event": "replies_set_aside", "camera_id": "gate", "kind": "event", "count": number}
    run.lives = [
        Life(0, log=[{**line, "timestamp": time_of(13_000)}], started_ms=1, ended_ms=30_000),
        Life(30_500, started_ms=31_000, ended_ms=100_000),
    ]
    run.set_aside = [SetAside(("gate", "event"), Span(11_000, 15_000), 0, number, number)]
    found = [line for line in judge_messages(run).broken if "set aside" in line]
    assert bool(found) != is_right, found


def test_what_an_operator_sees_is_held_against_what_was_done() -> None:
    fault = Fault("out_of_memory", 10_000, 20_000, frozenset({"out_of_memory"}), is_sure=True)
    line = {
        "event": "publishing_failed",
        "reason": "out_of_memory",
        "before": None,
        "timestamp": time_of(10_300),
    }
    over = {**line, "event": "publishing_restored"}

    def found(*samples: Sample, log: Sequence[Mapping[str, Any]], faults: Sequence[Fault]) -> str:
        judged = record(samples=samples, faults=faults)
        judged.lives[0].log.extend(dict(one) for one in log)
        return "\n".join(judge_metrics(judged).broken)

    counted = {"out_of_memory": 3.0}
    right = (sample(9000), sample(15_000, "out_of_memory", counted), sample(90_000, "", counted))
    assert found(*right, log=[line, over], faults=[fault]) == ""
    assert "has no end in the log" in found(*right, log=[line], faults=[fault])
    assert "not in the log" in found(*right, log=[], faults=[fault])
    assert "what was done: set()" in found(*right, log=[line, over], faults=[])
    slow = replace(sample(19_000, "", counted), until_ms=20_500)  # its pages are of two moments
    assert found(*right[:2], slow, right[2], log=[line, over], faults=[fault]) == ""
    silent = (sample(9000), sample(15_000), sample(90_000))
    assert "0 failures counted" in found(*silent, log=[line, over], faults=[fault])
    changed = ({**counted, "timeout": 1.0}, Fault("paused", 15_000, 18_000, frozenset({"timeout"})))
    untold = [sample(at_ms, "out_of_memory", changed[0]) for at_ms in (16_000, 17_000)]
    told = found(*right[:2], *untold, *right[2:], log=[line, over], faults=[fault, changed[1]])
    assert "failing for out_of_memory, counted {'timeout'}" in told
    strange = {"event": "thread_failed"}
    assert "thread_failed" in found(*right, log=[line, over, strange], faults=[fault])


def test_events_of_all_questions_of_a_camera_are_counted() -> None:
    page = "".join(
        f'vigil_events_total{{camera="gate",phase="end",question="{one}",reason="answer"}} 1.0\n'
        for one in ("fire", "helmet")
    )
    assert series_of(page) == {("vigil_events_total", "gate", "answer"): 2.0}
