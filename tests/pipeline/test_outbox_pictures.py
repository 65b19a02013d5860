"""Pictures in the outbox: safe with their message, and the first to give way."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pipeline.metrics import EVIDENCE_LOST, OUTBOX_DROPPED
from pipeline.outbox import Outbox
from tests.fakes import Recorder
from tests.pipeline.publishers.lane import message
from tests.pipeline.publishers.test_redis_evidence import pictured

BOUND_BYTES = 64 << 10


@contextmanager
def opened(path: Path | None, observer: Recorder | None = None) -> Iterator[Outbox]:
    box = Outbox(path, max_bytes=BOUND_BYTES, observer=observer or Recorder())
    with closing(box):
        yield box


def num_pictures(outbox: Outbox) -> list[int]:
    return [len(one.message.pictures) for one in outbox.pending(1000)]


def test_pictures_outlive_the_process_with_their_message(tmp_path: Path) -> None:
    path, put = tmp_path / "outbox.db", pictured(num=4)
    with opened(path) as outbox:
        outbox.put([message("answer"), put])
        size_bytes = outbox.size_bytes
    with opened(path) as outbox:
        assert outbox.size_bytes == size_bytes > 4000
        found = outbox.pending(10)
        assert [one.message.pictures for one in found] == [(), put.pictures]
        outbox.delivered([one.row for one in found])
        assert outbox.size_bytes == 0
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT COUNT(*) FROM pictures").fetchone() == (0,)


def test_in_a_full_outbox_the_oldest_pictures_give_way_before_any_message(tmp_path: Path) -> None:
    observer = Recorder()
    for path in (tmp_path / "outbox.db", None):
        with opened(path, observer) as outbox:
            outbox.put([pictured("e1", size_bytes=8000), message("caption")])
            outbox.put([pictured("e2", num=4, size_bytes=8000), message("answer")])
            assert outbox.size_bytes <= BOUND_BYTES
            assert num_pictures(outbox) == [2, 0, 4, 0]
            outbox.put([pictured("e3", num=3, size_bytes=8000)])
            assert num_pictures(outbox) == [0, 0, 3, 0, 3]
            assert outbox.size_bytes <= BOUND_BYTES
            assert not outbox.is_nearly_full()  # so that for pictures no source is held back
            latest = outbox.pending(10)[2].message
            assert [one.role for one in latest.pictures] == ["at", "latest", "strip"]
    assert observer.total(EVIDENCE_LOST, reason="outbox") == 2 * 3
    assert not any(observer.numbers(OUTBOX_DROPPED))


def test_events_stay_when_all_pictures_had_to_go(tmp_path: Path) -> None:
    observer = Recorder()
    with opened(tmp_path / "outbox.db", observer) as outbox:
        for begin in range(0, 80, 10):
            events = [pictured(f"e{number}") for number in range(begin, begin + 10)]
            outbox.put([*events, message("answer")])
        waiting = outbox.pending(1000)
        assert outbox.size_bytes <= BOUND_BYTES
    assert not any(one.message.pictures for one in waiting)
    kept = [one.message.kind for one in waiting]
    assert kept.count("event") > 30
    assert kept.count("answer") == 0
    assert observer.total(EVIDENCE_LOST, reason="outbox") == 2 * 80


def test_pictures_go_with_their_messages_into_memory_and_back(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with opened(path) as outbox:
        outbox.put([pictured("e1")])
        outbox.leave_file(sqlite3.OperationalError("disk I/O error"))
        assert outbox.trouble
        outbox.put([pictured("e2", num=3)])
        assert num_pictures(outbox) == [2, 3]
        size_bytes = outbox.size_bytes
    with opened(path) as outbox:  # closing it has written all into the file
        assert num_pictures(outbox) == [2, 3]
        assert outbox.size_bytes == size_bytes


def test_a_file_of_the_version_before_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with opened(path) as outbox:
        outbox.put([message("answer")])
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE pictures")
        db.execute("PRAGMA user_version = 1")
    with opened(path) as outbox:
        outbox.put([pictured()])
        assert num_pictures(outbox) == [0, 2]
