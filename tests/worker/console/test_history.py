"""The console's history: each message once, found again, and no more than may be kept."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.messages import Asked, Message
from pipeline.stored import Stored
from tests.worker.console.messages import GATE, T0, answer, caption, event, named, status
from worker.console.exports import events_csv, events_json, labels_csv
from worker.console.history import Cursor, Gap, History, Page
from worker.console.recall import Recall, Wanted
from worker.console.search import MARK, Query
from worker.console.told import Told, UnreadableError, read_message

NOW_MS = round(T0.timestamp() * 1000) + 3_600_000
DAY_MS = 86_400_000


def told(message: Message, seq: int = 1, *, now_ms: int = NOW_MS) -> Told:
    stored = Stored(row=1, origin="o", generation=1, seq=seq, message=message)
    raw = stored.envelope(prefix="vigil", worker_id="w", published_at=T0)
    return read_message(raw, kind=message.kind, camera_id=message.camera_id, now_ms=now_ms)


def page(*messages: Message, first_seq: int = 1, gap: Gap | None = None) -> Page:
    """A page of messages of one camera and kind."""
    read = [told(one, seq) for seq, one in enumerate(messages, start=first_seq)]
    cursor = Cursor(f"{read[-1].at_ms}-0", read[-1].seq)
    return Page((read[0].camera_id, read[0].kind), read, cursor, gap=gap)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "console.sqlite"


@pytest.fixture
def history(path: Path) -> Iterator[History]:
    with closing(History(path, keep_ms=30 * DAY_MS, max_bytes=1 << 30)) as history:
        yield history


@pytest.fixture
def recall(history: History, path: Path) -> Iterator[Recall]:  # noqa: ARG001 (it makes the file)
    with closing(Recall(path)) as recall:
        yield recall


def found(recall: Recall, text: str, **about: Any) -> list[str]:
    hits = recall.find(Query(text, **about))["hits"]
    return ["".join(c for c in one["said"] if c not in MARK) for one in hits]


def test_a_message_that_comes_twice_is_kept_once(history: History, recall: Recall) -> None:
    """Many of one millisecond too: a tick answers for all cameras at once."""
    asked = [Asked(f"q{n}", f"Question {n}?", "yes_no") for n in range(300)]
    pages = [page(answer("yes", asked=one, p=0.9)) for one in asked]
    history.take(pages)
    history.take(pages)
    assert recall.standing()["messages"] == 300


def test_how_far_it_was_read_is_written_with_what_was_read(history: History) -> None:
    history.take([page(caption("a"), caption("b", T0 + timedelta(seconds=1)))])
    assert history.cursors() == {("gate", "caption"): Cursor(f"{NOW_MS - 3_599_000}-0", 2)}
    nowhere: Any = None
    pages = [page(caption("c"), first_seq=3), Page(("gate", "caption"), [], nowhere)]
    with pytest.raises(AttributeError):
        history.take(pages)
    assert history.cursors()["gate", "caption"].seq == 2


@pytest.mark.parametrize(
    "wrong",
    [{"at_ms": 1 << 60}, {"said": "\ud800"}, {"p": "much"}, {"reason": object()}, {"kind": None}],
    ids=["too great", "half a character", "another type", "no value", "none"],
)
def test_what_cannot_be_kept_is_passed_over_whole_and_what_follows_is_kept(
    history: History, recall: Recall, wrong: dict[str, Any]
) -> None:
    said = ["no", "no", "yes"]
    read = [told(answer(one, T0 + timedelta(seconds=n), p=0.1)) for n, one in enumerate(said)]
    read[0] = replace(read[0], **wrong)
    history.take([Page(("gate", "answer"), read, Cursor("9-0", 3), {"broken": 1})])
    standing = recall.standing()
    assert (standing["messages"], standing["passed_over"]) == (2, {"broken": 2})
    assert found(recall, "gate") == ["yes", "no"]
    assert history.cursors()["gate", "answer"] == Cursor("9-0", 3)


def test_captions_answers_and_events_are_found_by_their_words(
    history: History, recall: Recall
) -> None:
    later = [T0 + timedelta(seconds=n) for n in range(5)]
    history.take(
        [
            page(caption("A person in white enters."), caption("A café is empty.", later[1])),
            page(answer("no", p=0.1), answer("yes", later[1], p=0.9)),
            page(event("start", later[2])),
        ]
    )
    assert found(recall, "persons entering") == ["A person in white enters."]
    assert found(recall, "cafe") == ["A café is empty."]
    assert found(recall, "gate yes") == ["yes", "yes"], "the event, then the answer"
    assert found(recall, "gate", camera_id="yard") == []
    assert found(recall, "pers") == ["A person in white enters."], "a word that is being typed"
    some = recall.find(Query("white elephant"))
    assert some["some"]
    assert len(some["hits"]) == 1


def test_an_answer_is_found_where_it_changed(history: History, recall: Recall) -> None:
    said = ["no", "no", "yes", "yes", "yes", "no"]
    history.take(
        [page(*(answer(one, T0 + timedelta(seconds=n)) for n, one in enumerate(said)))],
    )
    assert found(recall, "gate") == ["no", "yes", "no"]


def test_when_did_it_is_answered_by_stretches_of_time(history: History, recall: Recall) -> None:
    moments = [0, 20, 40, 900, 910]
    texts = [caption("The gate opens.", T0 + timedelta(seconds=n)) for n in moments]
    no = answer("no", T0 + timedelta(seconds=5))
    history.take([page(*texts), page(no)])
    answered = recall.find(Query("When did the gate open?"))
    assert answered["is_when"]
    begin = NOW_MS - 3_600_000
    assert [
        (one["kind"], one["at_ms"] - begin, one["end_ms"] - begin, one["count"])
        for one in answered["hits"]
    ] == [("caption", 900_000, 910_000, 2), ("caption", 0, 40_000, 3)]


def test_a_cameras_only_hit_is_found_behind_anothers_of_a_like_name(
    history: History, recall: Recall
) -> None:
    walks = [caption("A zebra.", T0 + timedelta(seconds=n), camera_id="gate-2") for n in range(150)]
    history.take([page(caption("A zebra walks.")), page(*walks)])
    assert found(recall, "zebra", camera_id="gate") == ["A zebra walks."]
    assert len(found(recall, "zebra", camera_id="gate-2")) == 100
    for nobodys in ('"', "gat", '" OR said : "zebra'):
        assert found(recall, "zebra", camera_id=nobodys) == []


@pytest.mark.parametrize(
    "text", ['"', "AND", "gate)", "said:x", "*", "-gate ^", "NEAR(a b)", "'", ""]
)
def test_nothing_that_is_typed_is_a_mistake(history: History, recall: Recall, text: str) -> None:
    history.take([page(caption("A person."))])
    recall.find(Query(text))


def test_an_event_is_one_from_its_start_to_its_end(history: History, recall: Recall) -> None:
    start = named(event("start"), [("at", "k:at"), ("latest", "k:1")])
    update = named(event("update"), [("latest", "k:2")])
    end = named(event("end"), [], clip="k:clip")
    history.take([page(start)])
    assert recall.num_new() == 1
    history.take([page(update, end, first_seq=2)])
    (one,) = recall.events(Wanted())
    assert {told["role"]: told["key"] for told in one["pictures"]} == {
        "at": "k:at",
        "latest": "k:2",
    }
    assert one["clip"]["key"] == "k:clip"
    assert one["ended_ms"] - one["started_ms"] == 30_000
    assert one["reason"] == "answer"
    assert recall.standing()["messages"] == 1


def test_marks_are_labels(history: History, recall: Recall) -> None:
    cars = Asked("cars", "How many cars?", "count")
    ids = ["right", "wrong", "count", "corrected", "open", "unmarked"]
    for n, event_id in enumerate(ids):
        at, asked = T0 + timedelta(minutes=n), cars if "co" in event_id else GATE
        said = 3 if asked is cars else "yes"
        history.take([page(event("start", at, event_id=event_id, asked=asked, said=said))])
        if event_id != "open":
            end = event("end", at, event_id=event_id, asked=asked, said=said)
            history.take([page(end, first_seq=2)])
    assert history.mark("right", "right")
    for event_id in ("wrong", "count", "open"):
        assert history.mark(event_id, "wrong")
    assert history.mark("corrected", "wrong", truth="2")
    assert not history.mark("nobody's", "right")
    assert recall.num_new() == 1
    events = recall.all_events(Wanted())
    assert labels_csv(events).splitlines() == [
        "camera,question,start,end,value",
        "gate,gate-open,2026-11-02T12:00:00.000Z,2026-11-02T12:00:30.000Z,yes",
        "gate,gate-open,2026-11-02T12:01:00.000Z,2026-11-02T12:01:30.000Z,no",
        "gate,cars,2026-11-02T12:03:00.000Z,2026-11-02T12:03:30.000Z,2",
        "gate,gate-open,,,unknown",
        "gate,cars,,,unknown",
    ]
    assert history.mark("right", None)
    assert "T12:00:00" not in labels_csv(recall.all_events(Wanted()))


def test_an_export_is_in_utc_and_no_spreadsheet_computes_it(
    history: History, recall: Recall
) -> None:
    asked = Asked("x", '=HYPERLINK("http://x")', "yes_no")
    history.take([page(event("start", asked=asked))])
    events = recall.all_events(Wanted())
    head, row = events_csv(events).splitlines()
    assert head.startswith("event_id,camera,question_id,question,")
    assert "\"'=HYPERLINK" in row
    assert "2026-11-02T12:00:00.000Z" in row
    (one,) = json.loads(events_json(events))
    assert one["started_at"] == "2026-11-02T12:00:00.000Z"
    assert one["ended_at"] is None


def test_what_is_old_goes_and_what_is_marked_with_it(history: History, recall: Recall) -> None:
    history.take([page(caption("old")), page(event("start"), event("end"))])
    history.take([page(caption("new", T0 + timedelta(hours=20)), first_seq=2)])
    assert history.sweep(NOW_MS + 30 * DAY_MS) == 2
    assert found(recall, "old") == []
    assert found(recall, "new") == ["new"]
    assert recall.events(Wanted()) == []


def test_an_event_that_goes_on_or_ended_lately_keeps_its_mark(
    history: History, recall: Recall
) -> None:
    for event_id in ("on", "late"):
        history.take([page(event("start", event_id=event_id), caption("old"))])
        history.mark(event_id, "right")
    end = event("end", event_id="late", lasts_s=31 * 86_400)
    long_after_ms = NOW_MS + 40 * DAY_MS
    read = [told(end, now_ms=long_after_ms)]
    history.take([Page(("gate", "event"), read, Cursor("2-0", 2))])
    history.sweep(long_after_ms)
    assert found(recall, "old") == []
    assert sorted(one["event_id"] for one in recall.events(Wanted())) == ["late", "on"]
    assert found(recall, "gate") == ["yes", "yes"]
    update = named(event("update", event_id="on"), [("latest", "k")])
    history.take([page(update, first_seq=2)])
    assert recall.num_new() == 0
    assert recall.event("on")["verdict"] == "right"  # type: ignore[index]  # it is there
    assert history.sweep(long_after_ms + 30 * DAY_MS) == 1
    assert [one["event_id"] for one in recall.events(Wanted())] == ["on"]


def test_events_that_never_end_are_bounded_by_size(path: Path) -> None:
    with closing(History(path, keep_ms=DAY_MS, max_bytes=1_200_000)) as history:
        one = told(event("start"))
        assert one.happening is not None
        read = [
            replace(one, happening=replace(one.happening, event_id=f"e-{n}", started_ms=1000 * n))
            for n in range(6000)
        ]
        history.take([Page(("gate", "event"), read, Cursor("1-0", 1))])
        history.sweep(NOW_MS)
        with closing(Recall(path)) as recall:
            assert recall.standing()["bytes"] <= 1_200_000
            assert recall.events(Wanted())[0]["event_id"] == "e-5999", "the oldest went"


def test_too_many_bytes_push_out_what_is_oldest(path: Path) -> None:
    with closing(History(path, keep_ms=30 * DAY_MS, max_bytes=1_200_000)) as history:
        one = told(caption("A"))
        read = [
            replace(one, at_ms=one.at_ms + 1000 * n, said=f"text {n} " * 20) for n in range(9000)
        ]
        history.take([Page(("gate", "caption"), read, Cursor("1-0", 1))])
        with closing(Recall(path)) as recall:
            assert recall.standing()["bytes"] > 1_200_000
            assert history.sweep(NOW_MS) > 0
            standing = recall.standing()
            assert standing["bytes"] <= 1_200_000
            assert standing["messages"] > 1500
            assert standing["last_ms"] == NOW_MS - 3_600_000 + 8_999_000


def test_a_course_has_its_lines_and_gaps(history: History, recall: Recall) -> None:
    answers = [answer("yes", T0 + timedelta(seconds=5 * n), p=n / 10) for n in range(10)]
    missing = Gap(NOW_MS - 9_000_000, NOW_MS - 3_600_000, 12)
    history.take([page(*answers, gap=missing), page(caption("hello")), page(event("start"))])
    course = recall.course("gate", start_ms=NOW_MS - 3_660_000, end_ms=NOW_MS - 3_540_000)
    (line,) = course["questions"]
    assert [round(point[1], 1) for point in line["points"]] == [n / 10 for n in range(10)]
    assert line["points"][3][5] == "yes"
    assert course["captions"][0][1] == "hello"
    assert course["gaps"] == [("gate", "answer", missing.start_ms, missing.end_ms, 12)]
    assert len(course["events"]) == 1
    assert course["tokens"][0][1:] == (108.0, 726.0)


def test_a_long_course_is_as_many_points_as_a_chart_is_wide(
    history: History, recall: Recall
) -> None:
    one = told(answer("yes", p=0.5))
    read = [replace(one, at_ms=one.at_ms + 1000 * n, p=float(n % 2)) for n in range(3000)]
    history.take([Page(("gate", "answer"), read, Cursor("1-0", 1))])
    begin = NOW_MS - 3_600_000
    (line,) = recall.course("gate", start_ms=begin, end_ms=begin + 3_000_000)["questions"]
    assert 700 <= len(line["points"]) <= 721
    _, p, least, greatest, *_ = line["points"][5]
    assert (least, greatest) == (0.0, 1.0)
    assert 0.4 <= p <= 0.6


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\xff\xfe", "broken"),
        (b"[]", "broken"),
        (b"{}", "broken"),
        (b"[" * 100_000, "broken"),
        (b'{"type": "vigil.caption.v2", "data": {}}', "broken"),
        (None, "broken"),
    ],
)
def test_what_is_no_message_is_told_from_one(raw: bytes | None, reason: str) -> None:
    with pytest.raises(UnreadableError) as told:
        read_message(raw, kind="caption", camera_id="gate", now_ms=NOW_MS)
    assert told.value.reason == reason


def test_a_message_from_before_or_far_ahead_is_none() -> None:
    stored = Stored(row=1, origin="o", generation=1, seq=1, message=caption("a"))
    raw = stored.envelope(prefix="vigil", worker_id="w", published_at=T0)
    for now_ms, oldest_ms, reason in (
        (NOW_MS, NOW_MS, "ancient"),
        (NOW_MS - 3 * DAY_MS, 0, "ahead"),
    ):
        with pytest.raises(UnreadableError) as told:
            read_message(raw, kind="caption", camera_id="gate", now_ms=now_ms, oldest_ms=oldest_ms)
        assert told.value.reason == reason


@pytest.mark.parametrize("name", ["started_at", "ended_at"])
@pytest.mark.parametrize(
    ("at", "reason"),
    [
        ("2999-01-01T00:00:00.000Z", "ahead"),
        ("9999-12-31T23:59:59.999Z", "ahead"),
        ("1600-01-01T00:00:00.000Z", "broken"),
        ("1969-12-31T23:59:59.999Z", "broken"),
    ],
)
def test_an_event_at_no_time_is_none(name: str, at: str, reason: str) -> None:
    body = event("end").body
    raw = json.dumps({**body, "data": {**body["data"], name: at}})
    with pytest.raises(UnreadableError) as told:
        read_message(raw, kind="event", camera_id="gate", now_ms=NOW_MS)
    assert told.value.reason == reason


@pytest.mark.parametrize("lag_ms", ["NaN", "-Infinity", "1e999", r'"\ud800"'])
def test_what_no_page_could_be_told_is_no_message(lag_ms: str) -> None:
    raw = json.dumps(status("online").body).replace('"lag_ms": null', f'"lag_ms": {lag_ms}')
    assert lag_ms in raw
    with pytest.raises(UnreadableError):
        read_message(raw, kind="status", camera_id="gate", now_ms=NOW_MS)


def test_a_message_of_a_version_before_is_read_as_far_as_it_goes() -> None:
    body = {
        "type": "vigil.answer.v1",
        "time": "2026-11-02T12:00:00Z",
        "data": {
            "camera_id": "gate",
            "question_id": "q",
            "question": "Q?",
            "kind": "yes_no",
            "answer": "yes",
            "p": 0.8,
            "later": {"more": 1},
        },
    }
    read = read_message(json.dumps(body), kind="answer", camera_id="gate", now_ms=NOW_MS)
    assert (read.said, read.p, read.mass, read.kept, read.seq) == ("yes", 0.8, None, None, 0)


def test_a_status_is_kept_too(history: History, recall: Recall) -> None:
    history.take([page(status("offline", reason="timeout"))])
    assert recall.standing()["messages"] == 1


def test_another_programs_file_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as db:
        db.execute("CREATE TABLE theirs (a)")
    (tmp_path / "text").write_text("no database at all " * 50)
    for path in (other, tmp_path / "text", tmp_path):
        with pytest.raises(ConfigError, match="expected a"):
            History(path, keep_ms=DAY_MS, max_bytes=1 << 20)
