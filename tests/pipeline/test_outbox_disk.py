"""The outbox while its disk is full, nearly full, read-only or failing."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir
from textwrap import dedent

import pytest
from hypothesis import settings
from hypothesis.stateful import rule

from pipeline import outbox as under_test
from pipeline import outbox_file
from pipeline.messages import MessageKind
from pipeline.metrics import OUTBOX_DEGRADED, OUTBOX_FAILURES
from pipeline.outbox import Outbox
from pipeline.outbox_trouble import LOOK_EVERY_S
from tests.fakes import FakeClock, Recorder
from tests.pipeline.test_outbox import AnyHistory, as_killed, dropped, ids, message, numbered

ROOM = 64 << 20


@pytest.fixture
def outbox(tmp_path: Path, observer: Recorder, clock: FakeClock) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "outbox.db", max_bytes=ROOM, observer=observer, clock=clock)
    yield box
    box.close()


def fill_disk(outbox: Outbox) -> None:
    """Let the file grow no further, as on a full disk: SQLite's own bound gives the same error."""
    (pages,) = outbox._db.execute("PRAGMA page_count").fetchone()
    outbox._db.execute(f"PRAGMA max_page_count = {pages}")


def empty_disk(outbox: Outbox) -> None:
    file = outbox._file or outbox._db
    file.execute("PRAGMA max_page_count = 1000000")


def test_a_full_disk_loses_nothing_and_the_file_is_taken_up_again_in_order(
    outbox: Outbox, observer: Recorder, clock: FakeClock, tmp_path: Path
) -> None:
    """jellyfin#10187, frigate#2006: the outbox's disk full, Redis well. It was exit 1."""
    outbox.put([message("event", "a")], states={"gate/fire": "on"})
    fill_disk(outbox)
    outbox.put([message("event", "b", size=50_000)], states={"gate/fire": "off"})
    assert outbox.trouble.startswith("messages are kept in memory")
    assert "full" in outbox.trouble
    assert observer.numbers(OUTBOX_DEGRADED)[-1] == 1
    assert observer.totals(OUTBOX_FAILURES, by="reason") == {"full": 1}
    assert numbered(outbox) == [("a", 1), ("b", 2)]
    outbox.delivered([outbox.pending(1)[0].row])
    outbox.put([message("event", "c")])
    assert outbox.load_states() == {"gate/fire": "off"}

    clock.seconds += LOOK_EVERY_S
    outbox.put([message("event", "d", size=50_000)])
    assert outbox.trouble, "the disk is still full"
    empty_disk(outbox)
    clock.seconds += LOOK_EVERY_S
    assert outbox.wait(0.0)
    assert outbox.trouble == ""
    assert observer.numbers(OUTBOX_DEGRADED)[-1] == 0
    assert numbered(outbox) == [("b", 2), ("c", 3), ("d", 4)]
    after = Outbox(as_killed(tmp_path / "outbox.db", tmp_path / "killed"), max_bytes=ROOM)
    assert numbered(after) == [("b", 2), ("c", 3), ("d", 4)]
    assert after.load_states() == {"gate/fire": "off"}
    assert after.origin == outbox.origin
    after.close()


def test_a_batch_read_from_the_file_may_be_settled_in_memory(outbox: Outbox) -> None:
    outbox.put([message(name=name) for name in "abc"])
    batch = outbox.pending(2)
    fill_disk(outbox)
    outbox.put([message(name="d", size=50_000)])
    outbox.delivered([one.row for one in batch])
    assert ids(outbox.pending(10)) == ["c", "d"]
    assert outbox.num_waiting == 2


def test_what_is_set_aside_or_forgotten_in_memory_is_so_in_the_file_again(
    outbox: Outbox, clock: FakeClock, tmp_path: Path
) -> None:
    outbox.put([message("event", "a")], states={"gate/fire": "on", "gate/cars": "on"})
    fill_disk(outbox)
    outbox.put([message("event", "b", size=50_000)], states={"gate/fire": None})
    outbox.set_aside([outbox.pending(1)[0].row])
    empty_disk(outbox)
    clock.seconds += LOOK_EVERY_S
    outbox.put([message("event", "c")])
    assert outbox.trouble == ""
    assert (ids(outbox.pending(10)), outbox.num_set_aside) == (["b", "c"], 1)
    after = Outbox(as_killed(tmp_path / "outbox.db", tmp_path / "killed"), max_bytes=ROOM)
    assert ids(after.pending(10)) == ["b", "c", "a"]
    assert after.load_states() == {"gate/cars": "on"}
    after.close()


def test_memory_is_bounded_and_sheds_by_worth(tmp_path: Path, observer: Recorder) -> None:
    outbox = Outbox(tmp_path / "outbox.db", max_bytes=30_000, observer=observer)
    kinds: tuple[MessageKind, ...] = ("event", "answer", "status", "caption")
    outbox.put([message(kind, kind, size=2000) for kind in kinds])
    fill_disk(outbox)
    for i in range(20):
        outbox.put([message("event", f"late-{i}", size=2000)])
        outbox.put([message("caption", f"small-{i}", size=10)])
    assert "memory" in outbox.trouble
    assert outbox.size_bytes <= 30_000
    assert [dropped(observer, kind) for kind in ("answer", "status")] == [1, 1]
    kept = [one.message for one in outbox.pending(100)]
    assert {one.kind for one in kept} == {"event", "caption"}  # a small one fits beside the events
    assert [one.id for one in kept if one.kind == "event"][-1] == "late-19"
    outbox.close()


def test_what_is_in_memory_at_the_end_is_written_if_the_disk_is_well_by_then(
    outbox: Outbox, tmp_path: Path
) -> None:
    fill_disk(outbox)
    outbox.put([message("event", "a", size=50_000)], states={"gate/fire": "on"})
    empty_disk(outbox)
    outbox.close()
    again = Outbox(tmp_path / "outbox.db", max_bytes=ROOM)
    assert numbered(again) == [("a", 1)]
    assert again.load_states() == {"gate/fire": "on"}
    again.close()


def test_a_disk_that_cannot_be_read_any_more_gives_its_messages_later_under_new_numbers(
    outbox: Outbox, clock: FakeClock, tmp_path: Path, observer: Recorder
) -> None:
    """The device fails under the file: reads and writes are I/O errors until it is back."""
    outbox.put([message("event", "a"), message("event", "b")], states={"gate/fire": "on"})
    real = outbox._db
    outbox._db = _Failing()  # type: ignore[assignment]  # the driver, at a device that is gone
    outbox.put([message("event", "c")])
    assert observer.totals(OUTBOX_FAILURES, by="reason") == {"io_error": 1}
    assert numbered(outbox) == [("c", 3)]
    assert outbox.load_states() == {"gate/fire": "on"}
    outbox.delivered([one.row for one in outbox.pending(1)])
    real.close()
    clock.seconds += LOOK_EVERY_S  # the failing connection is given up
    outbox.put([message("event", "d")])
    clock.seconds += LOOK_EVERY_S
    outbox.put([message("event", "e")])
    assert outbox.trouble == ""
    assert numbered(outbox) == [("d", 4), ("a", 5), ("b", 6), ("e", 7)]
    after = Outbox(as_killed(tmp_path / "outbox.db", tmp_path / "killed"), max_bytes=ROOM)
    assert numbered(after) == [("d", 4), ("a", 5), ("b", 6), ("e", 7)]
    assert after.load_states() == {"gate/fire": "on"}
    after.close()


class _Failing:
    """A connection to a file whose device is gone."""

    in_transaction = False

    def execute(self, *_: object) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        raise error

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def rollback(self) -> None: ...

    def close(self) -> None: ...


def test_a_file_that_is_corrupted_under_the_worker_is_moved_aside_and_begun_anew(
    outbox: Outbox, clock: FakeClock, tmp_path: Path
) -> None:
    outbox.put([message("event", f"{i}", size=3000) for i in range(30)], states={"gate/fire": "on"})
    outbox._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = tmp_path / "outbox.db"
    with path.open("r+b") as file:
        file.write(b"\xa5" * path.stat().st_size)
    outbox._db.execute("PRAGMA shrink_memory")
    outbox._db.execute("PRAGMA cache_size = 1")
    for i in range(3):
        outbox.put([message("event", f"late-{i}", size=3000)])
        outbox.pending(100)
        clock.seconds += LOOK_EVERY_S
    outbox.put([message("event", "last")])
    assert outbox.trouble == ""
    assert outbox.moved_aside is not None
    assert ids(outbox.pending(100))[-4:] == ["late-0", "late-1", "late-2", "last"]
    assert outbox.pending(100)[-1].seq == 34
    assert outbox.load_states() == {"gate/fire": "on"}
    after = Outbox(as_killed(path, tmp_path / "killed"), max_bytes=ROOM)
    assert (after.origin, after.load_states()) == (outbox.origin, {"gate/fire": "on"})
    after.close()


def test_on_a_disk_smaller_than_the_bound_captions_give_way_to_events(
    outbox: Outbox, observer: Recorder, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """jellyfin#10187: 321 messages went in, then the same ones stayed, and events were refused."""
    free = [3 << 20]  # what the disk has, reserve included

    def has_room(_folder: Path, num_bytes: int) -> bool:
        return outbox.size_bytes + num_bytes <= free[0]

    monkeypatch.setattr(under_test, "has_room", has_room)
    for i in range(4000):
        outbox.put([message("caption", f"caption-{i}", size=1000)])
        outbox.put([message("event", f"event-{i}")] if i % 10 == 0 else [])
    assert "nearly full" in outbox.trouble
    assert observer.numbers(OUTBOX_DEGRADED)[-1] == 1
    assert observer.totals(OUTBOX_FAILURES, by="reason") == {"full": 1}
    assert outbox.size_bytes <= free[0]
    assert dropped(observer, "caption") > 1000
    kept = ids(outbox.pending(10_000))
    assert [one for one in kept if "event" in one] == [f"event-{i}" for i in range(0, 4000, 10)]
    assert kept[-1] == "caption-3999", "the newest captions stay"
    free[0] = ROOM
    clock.seconds += LOOK_EVERY_S
    outbox.put([message("caption", "more", size=1000)])
    assert outbox.trouble == ""
    before = dropped(observer, "caption")
    outbox.put([message("caption", f"yet-{i}", size=1000) for i in range(100)])
    assert dropped(observer, "caption") == before


def test_a_small_disk_is_well_again_once_redis_has_taken_what_was_on_it(
    outbox: Outbox, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "has_room", lambda *_: False)
    outbox.put([message(name=f"{i}", size=1000) for i in range(500)])
    assert "nearly full" in outbox.trouble
    outbox.delivered([one.row for one in outbox.pending(1000)])
    clock.seconds += LOOK_EVERY_S
    outbox.wait(0.0)
    assert outbox.trouble == ""


def test_a_limit_on_the_size_of_files_loses_no_event(tmp_path: Path) -> None:
    """In a process of its own; a quota gives the same error, which SQLite takes for a bad disk."""
    program = """
        import resource, sys
        from pathlib import Path
        from pipeline.outbox import Outbox
        from tests.pipeline.test_outbox import ids, message
        outbox = Outbox(Path(sys.argv[1]), max_bytes=64 << 20)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
        for i in range(1000):
            outbox.put([message("caption", f"caption-{i}", size=4000), message("event", f"{i}")])
        events = [name for name in ids(outbox.pending(5000)) if name.isdigit()]
        assert events == [str(i) for i in range(1000)]
        assert outbox.trouble, outbox.trouble
        print(outbox.trouble)
    """
    assert "kept in memory" in _run(program, str(tmp_path / "outbox.db"))


def _run(program: str, *arguments: str) -> str:
    """Run a program in a process of its own; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", dedent(program), *arguments],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_start_in_a_folder_that_may_not_be_written_is_told_and_goes_on(tmp_path: Path) -> None:
    """Two starts, and none gives a number of the same origin to another message."""
    path = tmp_path / "sealed" / "outbox.db"
    killed = Outbox(tmp_path / "outbox.db", max_bytes=ROOM)
    killed.put([message("event", "a")], states={"gate/fire": "on"})
    as_killed(tmp_path / "outbox.db", path.parent)
    killed.close()
    for part in path.parent.iterdir():
        part.chmod(0o444)
    path.parent.chmod(0o555)
    program = """
        import os, sys
        from pathlib import Path
        from pipeline.outbox import Outbox
        from tests.pipeline.test_outbox import message
        if os.geteuid() == 0:  # who may write everywhere
            os.setuid(65534)
        outbox = Outbox(Path(sys.argv[1]), max_bytes=1 << 20)
        assert "memory" in outbox.trouble
        assert outbox.load_states() == {"gate/fire": "on"}
        outbox.put([message("event", "b")])
        old = outbox.pending(10)
        outbox.delivered([one.row for one in old])
        new = outbox.pending(10)
        assert [(one.message.id, one.seq) for one in (*old, *new)] == [("a", 1), ("b", 2)]
        print(old[0].origin, new[0].origin)
        sys.stdout.flush()
        os._exit(0)
    """
    if os.geteuid() == 0:
        for folder in (tmp_path, *tmp_path.parents):
            if folder == Path(gettempdir()):
                break
            folder.chmod(folder.stat().st_mode | 0o055)
    origins = [
        [line for line in _run(program, str(path)).splitlines() if "outbox_" not in line]
        for _ in range(2)
    ]
    (old, new), (old_again, new_again) = (lines[-1].split() for lines in origins)
    assert old == old_again == killed.origin
    assert len({old, new, new_again}) == 3
    path.parent.chmod(0o755)


def test_its_files_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    path.write_bytes(b"<html>" * 1000)
    path.chmod(0o644)
    (tmp_path / "outbox.db.corrupt-7").write_bytes(b"left by the version before")
    outbox = Outbox(path, max_bytes=ROOM)
    outbox.put([message()])
    found = {one.name: one.stat().st_mode & 0o777 for one in tmp_path.iterdir()}
    assert set(found) >= {"outbox.db", "outbox.db-wal", "outbox.db.corrupt-1"}
    assert set(found.values()) == {0o600}
    outbox.close()


def test_whether_a_disk_has_room_is_asked_of_the_disk(tmp_path: Path) -> None:
    assert outbox_file.has_room(tmp_path, 1 << 16)
    assert not outbox_file.has_room(tmp_path, 1 << 60)
    assert not outbox_file.has_room(tmp_path / "nowhere", 1)
    assert list(tmp_path.iterdir()) == []


class AnyHistoryOfADisk(AnyHistory):
    """The same, while the disk fills up and is emptied again; it is well before an end."""

    @rule()
    def fill(self) -> None:
        if not self.outbox.trouble:
            fill_disk(self.outbox)
            while not self.outbox.trouble:
                self.put(kinds=[("gate", "event")] * 5, states={"q": "1"})

    @rule()
    def empty(self) -> None:
        empty_disk(self.outbox)
        self.clock.seconds += LOOK_EVERY_S
        self.outbox.wait(0.0)
        assert self.outbox.trouble == ""

    @rule()
    def restart(self) -> None:
        self.empty()
        super().restart()

    @rule()
    def kill(self) -> None:
        self.empty()
        super().kill()


AnyHistoryOfADisk.TestCase.settings = settings(settings(), max_examples=20, stateful_step_count=20)
test_any_history_of_a_disk = AnyHistoryOfADisk.TestCase
